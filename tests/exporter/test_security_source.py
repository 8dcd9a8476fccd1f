from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter import metrics
from exporter.facts import ServerFacts
from exporter.readings import SecurityReading, SourceName
from exporter.series import security as series
from exporter.sources import security
from exporter.sources.source import SourceError
from exporter.vitals import vitals
from fleet.inventory import Server
from fleet.security import Check
from tests.exporter.fleets import codex

SOUND = """
[mcp]
enable_compression = true

[security]
audit_logging = true
sensitive_data_detection = true

[security.approval_workflows]
auto_approve_full_access = false
"""
OF_THE_TOML = {
    Check.AUDIT_LOGGING, Check.SENSITIVE_DATA_DETECTION, Check.APPROVAL_WORKFLOWS, Check.FULL_ACCESS_APPROVAL,
    Check.COMPRESSION,
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "codex.toml"
    file.write_text(SOUND)
    return file


@pytest.fixture
def auth_file(tmp_path: Path) -> Path:
    auth_file = tmp_path / "auth.json"
    auth_file.touch(mode=0o600)
    return auth_file


@pytest.fixture
def server(tmp_path: Path, file: Path, auth_file: Path) -> Server:
    return codex(tmp_path, f", config_file: {file.name}, auth_file: {auth_file.name}")


def knowing(reading: SecurityReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.SECURITY: reading})


def failing(reading: SecurityReading) -> set[Check]:
    return {check for check, passes in reading.checks.items() if not passes}


def test_a_sound_server_passes_every_check_that_files_answer(server: Server) -> None:
    assert security.read(server, ServerFacts(), 3.0).checks == dict.fromkeys({*OF_THE_TOML, Check.AUTH_FILE}, True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o777])
def test_an_auth_file_that_others_may_read_fails_and_passes_once_mended(
    server: Server, auth_file: Path, mode: int
) -> None:
    auth_file.chmod(mode)
    first = security.read(server, ServerFacts(), 3.0)
    assert failing(first) == {Check.AUTH_FILE}
    auth_file.chmod(0o600)
    assert failing(security.read(server, knowing(first), 4.0)) == set()


def test_an_auth_file_that_is_missing_or_a_folder_fails(server: Server, auth_file: Path) -> None:
    auth_file.unlink()
    assert failing(security.read(server, ServerFacts(), 3.0)) == {Check.AUTH_FILE}
    auth_file.mkdir(mode=0o700)
    assert failing(security.read(server, ServerFacts(), 3.0)) == {Check.AUTH_FILE}


def test_an_auth_file_that_cannot_be_looked_at_is_no_verdict(server: Server, auth_file: Path) -> None:
    auth_file.unlink()
    auth_file.symlink_to(auth_file)
    with pytest.raises(SourceError, match=r"auth\.json: cannot be looked at: .*symbolic links") as raised:
        security.read(server, ServerFacts(), 3.0)
    assert isinstance(raised.value.partial, SecurityReading)
    assert set(raised.value.partial.checks) == OF_THE_TOML


def test_a_change_of_the_toml_is_seen_and_an_unchanged_one_is_not_read_again(server: Server, file: Path) -> None:
    first = security.read(server, ServerFacts(), 3.0)
    marked = SecurityReading(3.0, first.stamp, {**first.checks, Check.COMPRESSION: False})
    assert failing(security.read(server, knowing(marked), 4.0)) == {Check.COMPRESSION}
    file.write_text(SOUND.replace("auto_approve_full_access = false", "auto_approve_full_access = true"))
    os.utime(file, ns=(0, 0))
    assert failing(security.read(server, knowing(marked), 5.0)) == {Check.FULL_ACCESS_APPROVAL}


@pytest.mark.parametrize("content", ["[mcp\n", "[security]\naudit_logging = 1\n", None])
def test_a_broken_toml_takes_only_its_own_checks(server: Server, file: Path, content: str | None) -> None:
    first = security.read(server, ServerFacts(), 3.0)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(SourceError, match=r"codex\.toml") as raised:
        security.read(server, knowing(first), 4.0)
    partial = raised.value.partial
    assert isinstance(partial, SecurityReading)
    assert partial.checks == {Check.AUTH_FILE: True}
    file.write_text(SOUND)
    assert set(security.read(server, knowing(partial), 5.0).checks) == {*OF_THE_TOML, Check.AUTH_FILE}


def test_a_gateways_audit_log_counts_as_one(tmp_path: Path, file: Path) -> None:
    file.write_text(SOUND.replace("audit_logging = true", ""))
    assert failing(security.read(codex(tmp_path, f", config_file: {file.name}"), ServerFacts(), 3.0)) == {
        Check.AUDIT_LOGGING
    }
    audited = codex(tmp_path, f", config_file: {file.name}, audit_log: audit.log")
    assert failing(security.read(audited, ServerFacts(), 3.0)) == set()


def test_wanted_with_a_file_to_look_at_only(tmp_path: Path, server: Server) -> None:
    assert security.wanted(server, ServerFacts(), 0.0)
    assert security.wanted(codex(tmp_path, ", auth_file: auth.json"), ServerFacts(), 0.0)
    assert not security.wanted(codex(tmp_path), ServerFacts(), 0.0)


def test_session_keys_without_an_end_fail_and_nobody_counting_says_nothing() -> None:
    check = metrics.SECURITY_CHECK.series(Check.SESSION_EXPIRY)
    assert series.samples(None, None) == {}
    assert series.samples(None, 0) == {check: 1.0}
    assert series.samples(None, 3) == {check: 0.0}


def test_checks_are_series_and_none_stands_before_the_first_look(server: Server) -> None:
    def shown(known: ServerFacts) -> dict[tuple[str, ...], float]:
        found = vitals(server, known, 3.0).samples
        return {s.labels: value for s, value in found.items() if s.family == metrics.SECURITY_CHECK.name}

    assert shown(ServerFacts()) == {}
    looked = shown(knowing(SecurityReading(3.0, None, {Check.AUTH_FILE: True, Check.COMPRESSION: False})))
    assert looked == {("auth_file",): 1.0, ("compression",): 0.0}
