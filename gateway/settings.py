"""What the command line and the environment say: the only place of this program that reads either."""

from __future__ import annotations

import argparse
import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.doors import host_of
from fleet.inventory import Address


class Command(enum.StrEnum):
    """What this program may be asked to do."""

    HTTP = "http"
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class Settings:
    """One invocation.

    Attributes:
        command: ``http`` relays Streamable HTTP, ``stdio`` stands as one server's command.
        config: fleet.yml (``--config``, else ``MCP_MEDIC_CONFIG``, else ``fleet.yml``).
        listen: the shared listener, None for the one of fleet.yml.
        environ: the environment that children get.
        server: the name that ``stdio`` was given, else empty.
    """

    command: Command
    config: Path
    listen: Address | None
    environ: Mapping[str, str]
    server: str = ""


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read ``arguments`` (default: the process's own). Wrong use prints a usage line and exits with 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    environ = dict(os.environ)
    config = Path(given.config or environ.get("MCP_MEDIC_CONFIG") or "fleet.yml")
    listen: str | None = getattr(given, "listen", None)
    address = None if listen is None else _address(listen)
    if listen is not None and address is None:
        parser.error(f"--listen must be HOST:PORT, such as 127.0.0.1:9846 (seen: {listen})")
    return Settings(Command(given.command), config, address, environ, getattr(given, "server", ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-gateway", description="Relay MCP traffic unchanged, and measure every operation in it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    http = commands.add_parser("http", help="relay Streamable HTTP for the http servers of fleet.yml")
    http.add_argument("--listen", metavar="HOST:PORT", help="the shared listener; default: gateway.listen of fleet.yml")
    stdio = commands.add_parser("stdio", help="stand as the command of a stdio server in a client's configuration")
    stdio.add_argument("server", metavar="SERVER")
    for command in (http, stdio):
        command.add_argument("--config", metavar="FILE", help="default: $MCP_MEDIC_CONFIG, else fleet.yml")
    return parser


def _address(text: str) -> Address | None:
    _, colon, port = text.rpartition(":")
    host = host_of(text)
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65535:
        return None
    return Address(host, int(port))
