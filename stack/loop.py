"""One whole closed loop: a real MCP server behind the gateway, exporter, Prometheus, Alertmanager, receiver."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from fleet.inventory import Address, Enforced, Transport
from fleet.loading import MAX_SOCKET_PATH_BYTES
from fleet.server_settings import SettingValue
from stack import derived, tools
from stack.derived import Manner, Pace, Places
from stack.peers import PrometheusApi, ReceiverApi
from stack.ports import LOOPBACK, free_ports
from stack.processes import NotReadyError, Processes, Program, poll, wait_ready

PROJECT: Final = tools.PROJECT
RUN: Final = PROJECT / "run"
SERVER: Final = "example"
"""The name of the example server in examples/fleet.yml."""

READY_SECONDS: Final = 30.0
STDIO_CLIENTS: Final = 3
CROWD: Final = 30
"""Abandoned sessions: twice the critical number."""

PARTS: Final = ("exporter", "gateway", "alertmanager", "prometheus", "receiver")
"""What a loop starts, in this order; the gateway starts the MCP server itself."""

_SOCKET_NAME_BYTES: Final = len(f"/{SERVER}-4194304.sock")


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How one loop differs from the usual one.

    Attributes:
        label: what its folder under ``run/`` is called.
        mode: ``automatic`` or ``suggest``.
        pace: how much faster than in production.
        without: the parts that are not started.
        limits: keys of ``receiver.limits`` that replace the scaled ones.
        addresses: fixed addresses by part (and ``server``); the others are free loopback ports.
        transport: how clients reach the server; over stdio each of them starts a gateway of its own.
        settings: what stands in the server's TOML from the beginning, by dotted name (``mcp.cache_ttl_ms``).
        enforce: the limits that the gateway enforces.
        entry: keys of the server's entry in fleet.yml that replace the example's.
        keep: leave the folder with logs and configuration behind when it ends.
        within: where that folder is made; None is run/ of the project.
    """

    label: str = "loop"
    mode: str = "automatic"
    pace: Pace = field(default_factory=Pace)
    without: frozenset[str] = frozenset()
    limits: Mapping[str, object] = field(default_factory=dict)
    addresses: Mapping[str, Address] = field(default_factory=dict)
    transport: Transport = Transport.HTTP
    settings: Mapping[str, SettingValue | str] = field(default_factory=dict)
    enforce: frozenset[Enforced] = frozenset()
    entry: Mapping[str, object] = field(default_factory=dict)
    keep: bool = False
    within: Path | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """What is started, in this order."""
        unused = {"gateway"} if self.transport is Transport.STDIO else set()
        return tuple(part for part in PARTS if part not in self.without | unused)


class Loop:
    """An async context manager: everything runs and answers inside the block, nothing is left after it.

    Raises:
        NotReadyError: on entry, a part did not start; the message carries the end of its log.
        fleet.errors.ConfigError, stack.tools.ToolMissingError: on entry.
    """

    def __init__(self, options: LoopOptions = LoopOptions()) -> None:
        self.options = options
        self.keep = options.keep
        self.folder = (options.within or RUN) / f"{options.label}-{secrets.token_hex(3)}"
        self.addresses = _addresses(options.addresses)
        self.prometheus = PrometheusApi(self.addresses["prometheus"])
        self.token = secrets.token_urlsafe(24)
        self.receiver = ReceiverApi(self.addresses["receiver"], self.token)
        self.fault_file = self.folder / "fault"
        self._short: Path | None = None
        self._stack = contextlib.AsyncExitStack()
        self.processes = Processes(self.folder)
        self._starters: Mapping[str, Callable[[], Coroutine[Any, Any, Program]]] = {
            "exporter": lambda: self._start_own("exporter", ["--config", self.fleet_file]),
            "gateway": lambda: self._start_own("gateway", ["http", "--config", self.fleet_file]),
            "alertmanager": self._start_alertmanager,
            "prometheus": self._start_prometheus,
            "receiver": lambda: self._start_own("receiver", ["--config", self.fleet_file]),
        }

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as undo:
            self.folder.mkdir(parents=True)
            undo.push(self._remove_folders)
            self._write_configuration()
            await undo.enter_async_context(self.processes)
            for part in self.options.parts:
                await self._starters[part]()
            for part in self.options.parts:
                await self.ready(part)
            if "gateway" in self.options.parts:
                await self._server_listens()
            self._stack = undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def fleet_file(self) -> Path:
        """The generated fleet.yml."""
        return self.folder / "fleet.yml"

    @property
    def server_config(self) -> Path:
        """The example server's own TOML."""
        return self.folder / "server.toml"

    @property
    def mcp_url(self) -> str:
        """Where clients reach the example server through the gateway."""
        return f"{self.addresses['gateway'].url}/servers/{SERVER}/mcp"

    def program(self, part: str) -> Program:
        """A running (or ended) part, or ``traffic``."""
        return self.processes[part]

    async def start(self, part: str) -> None:
        """Start a part that was left out, stopped or killed, and wait until it answers; a gateway with its server."""
        await self._starters[part]()
        await self.ready(part)
        if part == "gateway":
            await self._server_listens()

    async def stop(self, part: str) -> None:
        """Stop a part as an operator would."""
        await self.processes[part].stop()

    async def kill(self, part: str) -> None:
        """kill -9 a part and its group."""
        await self.processes[part].kill()

    async def ready(self, part: str) -> None:
        """Wait until a part says that it is ready."""
        path = "/-/healthy" if part == "gateway" else "/-/ready"
        await wait_ready(self.processes[part], self.addresses[part], path, READY_SECONDS)

    def switch_on(self, fault: str) -> None:
        """Let the example server fall ill; it consumes the file within 0.2 s and remembers nothing on disk."""
        written = self.fault_file.with_suffix(".new")
        written.write_text(fault, encoding="utf-8")
        written.replace(self.fault_file)

    async def start_traffic(self, rate: float = 20.0, concurrency: int = 64, mode: str = "both") -> None:
        """Start the example client, which calls through the gateway until ``stop_traffic`` or the end."""
        arguments = ["--rate", str(rate), "--concurrency", str(concurrency), "--mode", mode]
        if self.options.transport is Transport.STDIO:
            gateway = [sys.executable, "-m", "gateway", "stdio", SERVER, "--config", str(self.fleet_file)]
            arguments += ["--clients", str(STDIO_CLIENTS), "--stdio", *gateway]
        else:
            arguments.append(self.mcp_url)
        argv: list[str | Path] = [sys.executable, PROJECT / "examples" / "client.py", *arguments]
        await self.processes.start("traffic", argv, PROJECT)

    async def start_crowd(self, sessions: int = CROWD) -> None:
        """Open legacy sessions through the gateway that nobody will end."""
        argv: list[str | Path] = [sys.executable, PROJECT / "examples" / "crowd.py", self.mcp_url]
        await self.processes.run_to_end("crowd", [*argv, "--sessions", str(sessions)], PROJECT)

    async def stop_traffic(self) -> str:
        """Stop the example client and return its line of counts for each era."""
        traffic = self.processes["traffic"]
        await traffic.stop()
        return "\n".join(line for line in traffic.last_lines().splitlines() if " calls=" in line)

    def _write_configuration(self) -> None:
        server_config = derived.server_config_of(
            _shipped("examples/server.toml"), self.options.pace, self.options.settings
        )
        self.server_config.write_text(server_config, encoding="utf-8")
        for name, token in (("token", self.token), ("telemetry-token", secrets.token_urlsafe(24))):
            file = self.folder / name
            file.touch(mode=0o600)
            file.write_text(token, encoding="utf-8")
        pace = self.options.pace
        rules = {
            self.folder / file.name: derived.rules_of(file.read_text(encoding="utf-8"), pace)
            for file in sorted((PROJECT / "rules").glob("*.rules.yml"))
        }
        texts = rules | {
            self.fleet_file: derived.fleet_of(
                _shipped("examples/fleet.yml"),
                self._places(),
                pace,
                self._manner(),
            ),
            self.folder / "prometheus.yml": derived.prometheus_of(
                _shipped("deploy/prometheus.yml"), _jobs(self.addresses), [str(file) for file in rules], pace
            ),
            self.folder / "alertmanager.yml": derived.alertmanager_of(
                _shipped("deploy/alertmanager.yml"), self.addresses["receiver"], str(self.folder / "token"), pace
            ),
        }
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")

    def _manner(self) -> Manner:
        options = self.options
        return Manner(options.mode, options.limits, options.transport, options.enforce, options.entry)

    def _places(self) -> Places:
        return Places(
            **{part: self.addresses[part] for part in (*PARTS, "server")},
            python=sys.executable,
            server_script=str(PROJECT / "examples" / "server.py"),
            server_config=str(self.server_config),
            fault_file=str(self.fault_file),
            control_dir=str(self._control_dir()),
            journal=str(self.folder / "journal.db"),
            state_file=str(self.folder / "exporter.state"),
            webhook_token_file=str(self.folder / "token"),
            telemetry_token_file=str(self.folder / "telemetry-token"),
        )

    def _control_dir(self) -> Path:
        inside = self.folder / "control"
        if len(str(inside).encode()) + _SOCKET_NAME_BYTES <= MAX_SOCKET_PATH_BYTES:
            return inside
        # A deep clone: a unix socket's address would not hold the path. Removed with the rest at the end.
        self._short = Path(tempfile.mkdtemp(prefix="mcp-medic-"))
        return self._short / "control"

    def _remove_folders(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
        # The message of a part that did not start points at its log.
        if not self.keep and not isinstance(error, NotReadyError):
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _start_own(self, package: str, arguments: list[str | Path]) -> Program:
        return await self.processes.start(package, [sys.executable, "-m", package, *arguments], PROJECT)

    async def _start_prometheus(self) -> Program:
        arguments = [
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.addresses['prometheus']}",
            "--log.level=warn",
        ]
        if self.options.pace.factor != 1:
            arguments.append(f"--rules.alert.resend-delay={self.options.pace.scrape_duration}")
        return await self.processes.start("prometheus", [tools.find("prometheus"), *arguments], self.folder)

    async def _start_alertmanager(self) -> Program:
        arguments = [
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={self.addresses['alertmanager']}",
            # Given empty, or it opens 0.0.0.0:9094.
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        return await self.processes.start("alertmanager", [tools.find("alertmanager"), *arguments], self.folder)

    async def _server_listens(self) -> None:
        gateway, address = self.processes["gateway"], self.addresses["server"]

        async def accepts() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1):
                return True
            return not gateway.running

        if not await poll(accepts, READY_SECONDS, every=0.1) or not gateway.running:
            raise NotReadyError(
                f"the MCP server that the gateway starts does not listen on {address}; the log {gateway.log} ends "
                f"with\n{gateway.last_lines()}"
            )


def _addresses(fixed: Mapping[str, Address]) -> dict[str, Address]:
    parts = (*PARTS, "server")
    ports = free_ports(len(parts))
    return {part: fixed.get(part, Address(LOOPBACK, port)) for part, port in zip(parts, ports, strict=True)}


def _jobs(addresses: Mapping[str, Address]) -> dict[str, Address]:
    return {
        "mcp-exporter": addresses["exporter"],
        "mcp-receiver": addresses["receiver"],
        "alertmanager": addresses["alertmanager"],
        "prometheus": addresses["prometheus"],
    }


def _shipped(path: str) -> str:
    return (PROJECT / path).read_text(encoding="utf-8")
