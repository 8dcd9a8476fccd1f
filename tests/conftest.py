"""What every test stands on, and what a run says at its end: how many tests spoke to real parts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.redis_servers import RedisServer, start_redis
from tests.spread import Spread, Yielding, place_of

# No test asserts a time, hypothesis' deadline included: CI's two cores are shared.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

REAL_PARTS: Final = {
    "prometheus": "a real Prometheus",
    "alertmanager": "a real Alertmanager",
    "redis": "a real Redis",
    "mcp_server": "a real MCP server (official SDK)",
    "end_to_end": "the whole closed loop",
}
"""Marker to what a test that carries it spoke to."""

_SPOKE_TO: Final = "spoke_to"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets, which pytest's own often is not."""
    with tempfile.TemporaryDirectory(prefix="medic-") as folder:
        yield Path(folder)


@pytest.fixture
def redis_server(short_folder: Path) -> Iterator[RedisServer]:
    """A real Redis of this test alone: nothing in it, nothing written to disk."""
    server = start_redis(short_folder)
    yield server
    server.stop()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Yielding())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread | None:
    return Spread(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid))
    for item in items:
        if "redis_server" in getattr(item, "fixturenames", ()):
            item.add_marker("redis")
        markers = {marker.name for marker in item.iter_markers()}
        # A property travels with the report from a worker process; names of tests and folders would be keywords too.
        item.user_properties.append((_SPOKE_TO, sorted(markers & REAL_PARTS.keys())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Only a test whose body ran to an end spoke to anything: not one that was skipped or broke while set up.
    bodies = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    terminalreporter.section("real parts")
    for marker, part in REAL_PARTS.items():
        spoke = [report for report in bodies if marker in _spoke_to(report)]
        failed = sum(report.failed for report in spoke)
        note = f", {failed} of them failed" if failed else ""
        terminalreporter.write_line(f"{len(spoke):>4} tests spoke to {part}{note}")


def _spoke_to(report: pytest.TestReport) -> list[str]:
    return next((value for name, value in report.user_properties if name == _SPOKE_TO and isinstance(value, list)), [])
