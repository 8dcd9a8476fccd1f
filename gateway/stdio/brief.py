"""What a stdio gateway needs of fleet.yml besides how to start its server. Pure; as JSON it is part of a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fleet.errors import sentence
from fleet.inventory import Enforced, Fleet, Price, Server
from fleet.server_config import Tuning
from gateway.stdio.recall import hidden, shown


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One stdio server, its control folder and its exporter.

    ``tuning`` and ``detects`` (sensitive data in results) are the TOML's when fleet.yml was read; ``starts_again``: a
    server that ends by itself is started again. ``audit_arguments``: into ``audit_log`` go the calls' arguments, too.
    ``config_problem``: what was said of a TOML that was broken then; no note holds such a brief.
    """

    server: str
    tuning: Tuning
    enforce: frozenset[Enforced]
    starts_again: bool
    config_file: str | None
    control_dir: str
    exporter_url: str
    telemetry_token_file: str | None
    prices: dict[str, Price] = {}
    detects: bool = False
    audit_log: str | None = None
    audit_arguments: bool = False
    config_problem: str = ""

    @property
    def enforces_sessions(self) -> bool:
        """Whether a client beyond the cap is refused."""
        return Enforced.SESSIONS in self.enforce

    @property
    def needs_seat(self) -> bool:
        """Whether the server may start only when it is known that there is room."""
        tuning = self.tuning
        capped = tuning.max_concurrent_sessions is not None or tuning.max_processes is not None
        return capped and self.enforces_sessions


def brief_of(fleet: Fleet, server: Server) -> Brief:
    """The part of a fleet that one stdio server needs."""
    token_file = fleet.exporter.telemetry_token_file
    return Brief(
        server=server.name,
        tuning=server.tuning,
        enforce=server.enforce,
        starts_again=server.restart is not None and server.restart.on_exit,
        config_file=None if server.config is None else str(server.config.file),
        control_dir=str(fleet.gateway.control_dir),
        exporter_url=fleet.exporter.url,
        telemetry_token_file=None if token_file is None else str(token_file),
        prices=dict(fleet.prices),
        detects=server.config is not None and server.config.security.sensitive_data_detection is True,
        audit_log=None if server.audit_log is None else str(server.audit_log.path),
        audit_arguments=server.audit_log is not None and server.audit_log.arguments,
        config_problem="" if server.config is None else sentence(server.config.problems),
    )


def as_note(brief: Brief, names: Sequence[str], environ: Mapping[str, str]) -> str:
    """The brief as JSON in which no value of a variable stands."""
    return msgspec.json.encode(
        _each_text(msgspec.to_builtins(brief), lambda text: hidden(text, names, environ))
    ).decode()


def from_note(text: str, environ: Mapping[str, str]) -> Brief:
    """The brief that ``as_note`` wrote, with the values of the same variables.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return msgspec.convert(_each_text(msgspec.json.decode(text), lambda each: shown(each, environ)), Brief)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_each_text(each, change) for each in value]
    if isinstance(value, dict):
        return {key: _each_text(each, change) for key, each in value.items()}
    return value


def path(text: str | None) -> Path | None:
    """A path of a brief."""
    return None if text is None else Path(text)
