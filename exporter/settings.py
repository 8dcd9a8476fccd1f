"""What this program needs to know before it opens a port: from fleet.yml and its command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from fleet.doors import Door, is_loopback
from fleet.environment import metrics_enabled
from fleet.errors import ConfigError, Problem
from fleet.inventory import Address, Fleet
from fleet.tokens import read_token


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen and who may push.

    Attributes:
        listen: host and port; port 0 lets the system choose one.
        door: the names and tokens under which telemetry is taken.
        state_file: where totals are kept over restarts.
        receive_seconds: longest wait for a pushed body (10: a gateway pushes each second and gives up itself).
        metrics_enabled: False when the operators' environment switches ``/metrics`` off.
        web_config_file: TLS and users of the listener, or None.
        environ: what filled the variables of fleet.yml.
        probe_allow_any: whether ``/probe`` asks servers that fleet.yml does not name.
        stop_seconds: longest time for stopping (8: below the 10 s after which process managers kill).
    """

    listen: Address
    door: Door
    state_file: Path
    receive_seconds: float = 10.0
    stop_seconds: float = 8.0
    metrics_enabled: bool = True
    web_config_file: Path | None = None
    probe_allow_any: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def settings_of(
    fleet: Fleet,
    listen: Address | None,
    environ: Mapping[str, str] = MappingProxyType({}),
    web_config_file: Path | None = None,
    probe_allow_any: bool = False,
) -> Settings:
    """The settings; what the command line says, ``listen`` and ``web_config_file``, wins over fleet.yml.

    Raises:
        ConfigError: the token file is unusable, or there is none although others than this machine can connect.
    """
    chosen = fleet.exporter.listen if listen is None else listen
    file = fleet.exporter.telemetry_token_file
    key = "exporter.telemetry_token_file"
    if file is None and not is_loopback(chosen.host):
        problem = Problem(
            str(fleet.file), 0, key, f"is missing: the exporter listens on {chosen}, which is not loopback",
            "Name a file with a token, or listen on 127.0.0.1",
        )  # fmt: skip
        raise ConfigError((problem,))
    tokens = () if file is None else (read_token(file, key),)
    door = Door.of(chosen.host, fleet.exporter.url, tokens)
    return Settings(
        chosen,
        door,
        fleet.exporter.state_file,
        metrics_enabled=metrics_enabled(environ),
        web_config_file=web_config_file or fleet.exporter.web_config_file,
        probe_allow_any=probe_allow_any,
        environ=environ,
    )


def parse_address(text: str) -> Address:
    """``HOST:PORT``, ``[V6]:PORT`` or ``:PORT`` (all interfaces).

    Raises:
        ValueError: it is none of these; the message says so.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
        raise ValueError(f"{text!r} is no address; write HOST:PORT such as 127.0.0.1:9847")
    return Address(bare or "0.0.0.0", int(port))  # noqa: S104 - asked for by leaving the host out
