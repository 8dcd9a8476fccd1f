"""``mcp-medic check-config``: every error at once, then what is valid but surprising."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from console.notes import Note, notes
from fleet.errors import ConfigError, Problem
from fleet.loading import load_fleet
from fleet.password_files import read_users
from fleet.tokens import read_token
from fleet.web_config import WebConfig, read_web_config
from fleet.web_tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.inventory import Fleet


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check: ``problems`` make it fail, ``notes`` do not."""

    file: str
    servers: int
    problems: tuple[Problem, ...]
    notes: tuple[Note, ...]

    @property
    def valid(self) -> bool:
        """True when no problem was found."""
        return not self.problems


def check(file: Path, environ: Mapping[str, str]) -> Report:
    """Read ``file`` and everything that it names."""
    try:
        fleet = load_fleet(file, environ)
    except ConfigError as error:
        return Report(str(file), 0, error.problems, ())
    problems = (*_token_problems(fleet), *_user_problems(fleet), *_web_problems(fleet))
    return Report(str(file), len(fleet.servers), problems, tuple(notes(fleet)))


def _token_problems(fleet: Fleet) -> list[Problem]:
    files = [
        (path, f"receiver.authentication.bearer_token_files[{index}]")
        for index, path in enumerate(fleet.receiver.bearer_token_files)
    ]
    if fleet.exporter.telemetry_token_file is not None:
        files.append((fleet.exporter.telemetry_token_file, "exporter.telemetry_token_file"))
    found: list[Problem] = []
    for path, key_path in files:
        try:
            read_token(path, key_path)
        except ConfigError as error:
            found.extend(error.problems)
    return found


def _web_problems(fleet: Fleet) -> tuple[Problem, ...]:
    """Of the web configuration files; one that both programs share is told once."""
    found: list[Problem] = []
    for file in dict.fromkeys((fleet.exporter.web_config_file, fleet.receiver.web_config_file)):
        try:
            config = WebConfig() if file is None else read_web_config(file)
            if config.tls is not None:
                tls_context(config.tls)
        except ConfigError as error:
            found.extend(error.problems)
    return tuple(found)


def _user_problems(fleet: Fleet) -> tuple[Problem, ...]:
    try:
        if fleet.receiver.basic_auth_file is not None:
            read_users(fleet.receiver.basic_auth_file, "receiver.authentication.basic_auth_file")
    except ConfigError as error:
        return error.problems
    return ()


def as_text(report: Report) -> str:
    """The report for people, one line a finding."""
    lines = [str(problem) for problem in report.problems]
    lines += [f"{report.file}: {note.key_path}: note: {note.message}" for note in report.notes]
    count = len(report.problems)
    if count:
        lines.append(f"{report.file}: {count} error{'s' if count > 1 else ''}")
    else:
        lines.append(f"{report.file}: valid, {report.servers} server{'s' if report.servers != 1 else ''}")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """``{"file", "valid", "servers", "problems": [Problem], "notes": [Note]}``."""
    body = {
        "file": report.file,
        "valid": report.valid,
        "servers": report.servers,
        "problems": [asdict(problem) for problem in report.problems],
        "notes": [asdict(note) for note in report.notes],
    }
    return json.dumps(body, indent=2, ensure_ascii=False)
