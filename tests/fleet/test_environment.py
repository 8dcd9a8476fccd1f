"""The operators' variables: what each value means, and that an unknown one stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fleet import logs
from fleet.environment import complaints, log_level, metrics_enabled


@pytest.fixture
def loggers() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    packages = [logging.getLogger(name) for name in (*logs.OWN_PACKAGES, "aiohttp.access")]
    before = root.level, root.handlers[:], [package.level for package in packages]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for package, level in zip(packages, before[2], strict=True):
        package.setLevel(level)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("error", logging.ERROR), ("warn", logging.WARNING), ("warning", logging.WARNING), ("info", logging.INFO),
        ("DEBUG", logging.DEBUG), (" trace ", logging.DEBUG), ("", logging.INFO), ("verbose", logging.INFO),
    ],
)  # fmt: skip
def test_each_level_of_the_servers_is_one_of_ours(value: str, level: int) -> None:
    assert log_level({"MCP_DEBUG_LEVEL": value}) == level


def test_a_programs_own_level_holds_until_the_environment_says_another() -> None:
    assert log_level({}, logging.WARNING) == logging.WARNING
    assert log_level({"MCP_DEBUG_LEVEL": "info"}, logging.WARNING) == logging.INFO


@pytest.mark.parametrize(
    ("value", "enabled"),
    [
        ("true", True), ("1", True), ("yes", True), ("On", True), ("", True), ("maybe", True),
        ("false", False), ("0", False), ("No", False), (" off ", False),
    ],
)  # fmt: skip
def test_metrics_are_switched_off_by_a_clear_no_only(value: str, enabled: bool) -> None:
    assert metrics_enabled({"ENABLE_PROMETHEUS_METRICS": value}) is enabled


def test_nothing_set_is_everything_on() -> None:
    assert metrics_enabled({})
    assert log_level({}) == logging.INFO
    assert complaints({}) == ()


def test_unknown_values_are_named_with_what_is_known() -> None:
    said = complaints({"MCP_DEBUG_LEVEL": "verbose", "ENABLE_PROMETHEUS_METRICS": "maybe", "NODE_ENV": "what"})
    nothing = "which means nothing here: write one of"
    assert said == (
        f"MCP_DEBUG_LEVEL is 'verbose', {nothing} error, warn, warning, info, debug, trace",
        f"ENABLE_PROMETHEUS_METRICS is 'maybe', {nothing} true, 1, yes, on, false, 0, no, off",
    )
    assert complaints({"MCP_DEBUG_LEVEL": "debug", "ENABLE_PROMETHEUS_METRICS": "false"}) == ()


@pytest.mark.usefixtures("loggers")
def test_debug_is_about_our_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(environ={"MCP_DEBUG_LEVEL": "debug"})
    logging.getLogger("exporter.scheduler").debug("ours")
    logging.getLogger("asyncio").debug("theirs")
    said = capsys.readouterr().err
    assert "msg=ours" in said
    assert "theirs" not in said


@pytest.mark.usefixtures("loggers")
def test_error_silences_what_is_less(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(environ={"MCP_DEBUG_LEVEL": "error"})
    logging.getLogger("receiver.engine").warning("less")
    logging.getLogger("asyncio").warning("less")
    logging.getLogger("receiver.engine").error("enough")
    said = capsys.readouterr().err
    assert "less" not in said
    assert "msg=enough" in said


@pytest.mark.usefixtures("loggers")
def test_an_unknown_level_is_said_once_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(environ={"MCP_DEBUG_LEVEL": "verbose"})
    said = capsys.readouterr().err
    assert said.count("MCP_DEBUG_LEVEL is 'verbose', which means nothing here") == 1
