"""Programs that servers depend on start whatever stands in one server's own TOML; fleet.yml's mistakes end them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleet.backups import digest_of, folder_of
from fleet.config_change import put_back, read_raw
from fleet.errors import ConfigError, PermanentError, Problem
from fleet.inventory import Fleet, ServerName
from fleet.loading import load_fleet, load_to_serve
from fleet.server_config import MAX_BYTES, Tuning
from fleet.signals import Severity
from fleet.thresholds import TABLE, crossing

GOOD = "[mcp]\ncache_ttl_ms = 5000\n[monitoring]\nalert_thresholds_error_rate = 0.2\n"


def written(folder: Path, *tomls: str, own: str = "", more: str = "") -> Path:
    """A fleet with a server for each TOML by name, which stands beside it."""
    entries = [
        f"  - {{name: server{number}, transport: http, url: http://127.0.0.1:1/mcp, config_file: {toml}{own}}}\n"
        for number, toml in enumerate(tomls)
    ]
    file = folder / "fleet.yml"
    file.write_text(f"{more}servers:\n" + "".join(entries))
    return file


def errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was logged: the servers and the problem."""
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    return [(vars(record)["servers"], vars(record)["problem"]) for record in caplog.records]


def mistakes(file: Path) -> tuple[Problem, ...]:
    """What a strict reading says."""
    try:
        load_fleet(file, {})
    except ConfigError as error:
        return error.problems
    return ()


def served(fleet: Fleet, number: int = 0) -> tuple[Tuning, bool]:
    """How a server is steered, and whether its file was read."""
    config = fleet.servers[ServerName(f"server{number}")].config
    assert config is not None
    return config.tuning, not config.problems


def test_a_broken_file_costs_its_own_server_its_settings_and_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text("[mcp]\ncache_ttl_ms = \n")
    (tmp_path / "mistyped.toml").write_text("[mcp]\ncache_ttl_ms = 'soon'\nenable_response_caching = 1\n")
    file = written(tmp_path, "good.toml", "bad.toml", "mistyped.toml", "missing.toml", "bad.toml")
    fleet = load_to_serve(file, {})
    assert [served(fleet, number)[1] for number in range(5)] == [True, False, False, False, False]
    assert served(fleet)[0].cache_ttl_seconds == 5
    assert all(served(fleet, number)[0] == Tuning() for number in range(1, 5))
    assert fleet.servers[ServerName("server0")].thresholds["error_ratio"][Severity.CRITICAL] == 0.2
    assert fleet.servers[ServerName("server1")].thresholds == TABLE
    number = "mcp.cache_ttl_ms: must be a positive number of milliseconds (seen: 'soon'). Write such as 30000"
    flag = "mcp.enable_response_caching: must be true or false (seen: 1). Write true or false without quotes"
    places = [
        ("server1,server4", "bad.toml:2: is not TOML: Invalid value, column 16. Mend the syntax there"),
        ("server3", "missing.toml: cannot be read: No such file or directory. Check config_file and its permissions"),
        ("server2", f"mistyped.toml:2: {number}"),
        ("server2", f"mistyped.toml:3: {flag}"),
    ]
    assert [(whose, problem.removeprefix(f"{tmp_path}/")) for whose, problem in errors(caplog)] == places
    assert {str(problem) for problem in mistakes(file)} == {problem for _, problem in errors(caplog)}


def test_what_fleet_yml_says_wrongly_stays_fatal_and_is_all_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.toml").write_text("[mcp\n")
    file = written(tmp_path, "bad.toml", own=", nonsense: 1, thresholds: {sessions: {warning: 20, critical: 15}}")
    with pytest.raises(ConfigError) as raised:
        load_to_serve(file, {})
    assert [problem.key_path for problem in raised.value.problems] == ["servers[0].nonsense"]
    (tmp_path / "bad.toml").write_text(GOOD)
    with pytest.raises(ConfigError) as raised:
        load_to_serve(file, {})
    assert [problem.key_path for problem in raised.value.problems] == [
        "servers[0].nonsense",
        "servers[0].thresholds.sessions",
    ]
    assert not caplog.records


def test_levels_that_only_the_servers_file_makes_cross_are_its_mistake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.toml").write_text("[mcp]\ncache_ttl_ms = 5000\n[monitoring]\nalert_thresholds_error_rate = 0.001\n")
    fleet = load_to_serve(written(tmp_path, "a.toml"), {})
    assert fleet.servers[ServerName("server0")].thresholds == TABLE
    assert served(fleet) == (Tuning(cache_ttl_seconds=5), True), "the rest of the file is well"
    ((whose, problem),) = errors(caplog)
    assert whose == "server0"
    assert problem.startswith(f"{tmp_path}/a.toml:4: monitoring.alert_thresholds_error_rate: makes the levels")


def test_a_level_that_goes_with_the_broken_file_does_not_hold_without_it(tmp_path: Path) -> None:
    """fleet.yml warns at 7 % because the TOML says that 20 % is critical."""
    file = written(tmp_path, "a.toml", own=", thresholds: {error_ratio: {warning: 0.07}, sessions: {warning: 3}}")
    (tmp_path / "a.toml").write_text(GOOD)
    levels = load_to_serve(file, {}).servers[ServerName("server0")].thresholds
    assert levels["error_ratio"] == {Severity.WARNING: 0.07, Severity.CRITICAL: 0.2}
    (tmp_path / "a.toml").write_text("[monitoring\n")
    levels = load_to_serve(file, {}).servers[ServerName("server0")].thresholds
    assert levels["error_ratio"] == TABLE["error_ratio"]
    assert levels["sessions"] == {Severity.WARNING: 3, Severity.CRITICAL: 15}


def test_what_is_no_file_of_settings_is_said_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "log.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    file = written(tmp_path, "pipe.toml", "folder.toml", "log.toml")
    assert load_to_serve(file, {}).servers
    said = [str(problem).removeprefix(f"{tmp_path}/").partition(". ")[0] for problem in mistakes(file)]
    assert said == [
        "pipe.toml: is a pipe",
        "folder.toml: cannot be read: Is a directory",
        f"log.toml: is larger than {MAX_BYTES} bytes",
    ]
    (tmp_path / "log.toml").write_bytes(b"#" * MAX_BYTES)
    assert len(mistakes(file)) == 2
    assert digest_of(tmp_path / "pipe.toml") == ""
    with pytest.raises(ConfigError, match="is a pipe"):
        read_raw(tmp_path / "pipe.toml", frozenset())
    copies = folder_of(tmp_path / "pipe.toml")
    copies.mkdir()
    (copies / "good.toml").write_text(GOOD)
    with pytest.raises(PermanentError, match="is no regular file"):
        put_back(tmp_path / "pipe.toml", "good.toml", stamp="act-1")


NUMBERS = st.integers() | st.floats() | st.integers(-(2**80), 2**80)
KEYS = st.sampled_from(["alert_thresholds_error_rate", "alert_thresholds_response_time_ms", "cost_budget_usd_per_hour",
                        "cost_alert_threshold", "alert_thresholds_cache_hit_rate"])  # fmt: skip
LINES = st.tuples(KEYS, NUMBERS).map(lambda pair: f"{pair[0]} = {pair[1]}")
TOMLS = st.binary(max_size=60) | st.lists(LINES, max_size=4).map(
    lambda lines: "\n".join(["[monitoring]", *lines]).encode()
)
LEVELS = st.sampled_from(["", ", thresholds: {error_ratio: {warning: 0.04}}", ", thresholds: {sessions: {warning: 2}}"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TOMLS, LEVELS)
@example(b"a = " + b"[" * 100_000, "")
@example(b"a" + b".a" * 5_000 + b" = 1", "")
@example(b"[mcp]\ncache_ttl_ms = " + b"9" * 5_000, "")
@example(b"[mcp]\ncache_ttl_ms = 0x" + b"f" * 5_000, "")
@example(b"[monitoring]\nalert_thresholds_error_rate = " + b"9" * 400, "")
@example(b"[mcp]\ncache_ttl_ms = '" + b"x" * 5_000 + b"'", "")
def test_no_content_of_a_servers_file_keeps_a_program_away(tmp_path: Path, toml: bytes, own: str) -> None:
    (tmp_path / "a.toml").write_bytes(toml)
    file = written(tmp_path, "a.toml", own=own)
    fleet = load_to_serve(file, {})
    assert not crossing(fleet.servers[ServerName("server0")].thresholds)
    problems = mistakes(file)
    assert {problem.file for problem in problems} <= {str(tmp_path / "a.toml")}
    assert all(len(str(problem)) < 600 + len(str(tmp_path)) for problem in problems)
    assert problems or served(fleet)[1]
