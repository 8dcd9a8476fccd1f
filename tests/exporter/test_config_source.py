from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.facts import ServerFacts
from exporter.metrics import CONFIG_PROFILE
from exporter.readings import ConfigReading, SourceName
from exporter.sources import config
from exporter.sources.source import SourceError
from exporter.vitals import vitals
from fleet.inventory import Server
from fleet.signals import Severity
from tests.exporter.fleets import codex

TOML = """
[mcp]
enable_response_caching = true
batch_size = 5
name = "text is no value"

[security.approval_workflows]
auto_approve_full_access = false
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "codex.toml"
    file.write_text(TOML)
    return file


@pytest.fixture
def server(tmp_path: Path, file: Path) -> Server:
    return codex(tmp_path, f", config_file: {file.name}")


def knowing(reading: ConfigReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.CONFIG: reading})


def test_numbers_and_booleans_by_section(server: Server) -> None:
    assert config.read(server, ServerFacts(), 3.0).values == {
        ("mcp", "enable_response_caching"): 1.0,
        ("mcp", "batch_size"): 5.0,
        ("security.approval_workflows", "auto_approve_full_access"): 0.0,
    }


def test_an_unchanged_file_is_not_read_again(server: Server, file: Path) -> None:
    first = config.read(server, ServerFacts(), 3.0)
    marked = replace(first, values={("mark", "mark"): 1.0})
    again = config.read(server, knowing(marked), 4.0)
    assert again == replace(marked, measured_at=4.0)
    os.utime(file, ns=(0, 0))
    assert config.read(server, knowing(marked), 5.0).values == first.values


def test_a_file_replaced_at_once_is_read_again(server: Server, file: Path) -> None:
    first = config.read(server, ServerFacts(), 3.0)
    status = file.stat()
    other = file.with_suffix(".new")
    other.write_text(TOML.replace("batch_size = 5", "batch_size = 6"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert config.read(server, knowing(first), 4.0).values["mcp", "batch_size"] == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[mcp\n", r"codex\.toml:1: is not TOML"),
        ("[mcp]\nsession_timeout_ms = 'soon'\n", r"codex\.toml:2: mcp\.session_timeout_ms: must be a positive number"),
        (None, r"codex\.toml: cannot be read: No such file"),
    ],
)
def test_a_bad_file_fails_with_its_place(server: Server, file: Path, content: str | None, message: str) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(SourceError, match=message):
        config.read(server, ServerFacts(), 3.0)


def test_the_hash_changes_with_every_byte_and_a_float_holds_it(server: Server, file: Path) -> None:
    first = config.read(server, ServerFacts(), 3.0)
    file.write_text(TOML + "# a remark\n")
    changed = config.read(server, knowing(first), 4.0)
    assert changed.digest != first.digest
    file.write_text(TOML)
    assert config.read(server, knowing(changed), 5.0).digest == first.digest
    assert int(float(first.digest)) == first.digest > 0


def test_the_last_change_is_the_files(server: Server, file: Path) -> None:
    os.utime(file, ns=(0, 1_700_000_000_500_000_000))
    assert config.read(server, ServerFacts(), 3.0).changed_at == 1_700_000_000.5


def test_profiles_that_the_file_holds_are_named(server: Server, file: Path) -> None:
    emergency = "[mcp]\nenable_response_caching = false\nenable_request_batching = false\n"
    file.write_text(f"{emergency}[performance]\nenable_circuit_breaker = false\n")
    reading = config.read(server, ServerFacts(), 3.0)
    assert reading.profiles == {"emergency"}
    samples = vitals(server, knowing(reading), 3.0).samples
    shown = {series.labels[0]: value for series, value in samples.items() if series.family == CONFIG_PROFILE.name}
    assert shown == {"emergency": 1.0, "high_load": 0.0, "low_load": 0.0}


def test_values_are_bounded(server: Server, file: Path) -> None:
    file.write_text("[mcp]\n" + "".join(f"key{number} = {number}\n" for number in range(2 * config.MAX_VALUES)))
    assert len(config.read(server, ServerFacts(), 3.0).values) == config.MAX_VALUES


LEVELS = "[monitoring]\nalert_thresholds_error_rate = 0.08\nalert_thresholds_memory_usage_mb = 700\n"


def test_levels_follow_the_file_and_yield_to_the_servers_entry(tmp_path: Path, file: Path) -> None:
    own = ", thresholds: {resident_memory_bytes: {critical: 600e6}}"
    server = codex(tmp_path, f", config_file: {file.name}{own}")
    first = config.read(server, ServerFacts(), 3.0)
    assert first.thresholds == server.thresholds
    file.write_text(LEVELS)
    changed = config.read(server, knowing(first), 4.0).thresholds
    assert changed["error_ratio"] == {Severity.WARNING: 0.02, Severity.CRITICAL: 0.08}
    assert changed["resident_memory_bytes"] == {Severity.WARNING: 400e6, Severity.CRITICAL: 600e6}
    assert changed["sessions"] == server.thresholds["sessions"]


def test_levels_that_cross_fail_with_their_name(server: Server, file: Path) -> None:
    file.write_text("[monitoring]\nalert_thresholds_error_rate = 0.01\n")
    with pytest.raises(SourceError, match=r"the levels of error_ratio cross \(warning 0\.02, critical 0\.01\)"):
        config.read(server, ServerFacts(), 3.0)


def test_wanted_only_with_a_file(tmp_path: Path, server: Server) -> None:
    assert config.wanted(server, ServerFacts(), 0.0)
    assert not config.wanted(codex(tmp_path), ServerFacts(), 0.0)
