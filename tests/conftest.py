"""What every test stands on, and what a run says at its end: how many tests spoke to real parts."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, settings

# No test asserts a time, hypothesis' deadline included: CI's two cores are shared.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

REAL_PARTS: Final = {
    "prometheus": "a real Prometheus",
    "alertmanager": "a real Alertmanager",
    "mcp_server": "a real MCP server (official SDK)",
    "end_to_end": "the whole closed loop",
}
"""Marker to what a test that carries it spoke to."""

_MARKERS: pytest.StashKey[dict[str, frozenset[str]]] = pytest.StashKey()


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[_MARKERS] = {
        item.nodeid: frozenset(marker.name for marker in item.iter_markers()) for item in session.items
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    markers = config.stash.get(_MARKERS, {})
    # Only a test whose body ran to an end spoke to anything: not one that was skipped or broke while set up.
    bodies = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    terminalreporter.section("real parts")
    for marker, part in REAL_PARTS.items():
        spoke = [report for report in bodies if marker in markers.get(report.nodeid, ())]
        failed = sum(report.failed for report in spoke)
        note = f", {failed} of them failed" if failed else ""
        terminalreporter.write_line(f"{len(spoke):>4} tests spoke to {part}{note}")
