"""``deploy`` of the example server behind the real gateway: a good one, and every way in which one can go wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
from pathlib import Path

import pytest

from console.deploying.gates import Phase, Step
from console.deploying.reports import Result
from stack.loop import SERVER
from stack.peers import metrics_text
from stack.processes import poll
from tests.console.deploying_world import Ward, python
from tests.console.spoken import spoken

pytestmark = [
    pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server,
    pytest.mark.timeout(900),
]  # fmt: skip

LONGEST_SECONDS = 90.0
ALLERGY = {"server.allergic_to": "mcp.enable_request_batching", "mcp.enable_request_batching": True}


async def test_a_deployment_goes_well_or_leaves_everything_as_it_was() -> None:
    async with Ward() as ward:
        await a_good_one(ward)
        await a_broken_configuration(ward)
        await a_build_that_fails(ward)
        await a_port_that_is_taken(ward)
        await a_tool_that_answers_wrongly(ward)
        await a_first_answer_that_is_late(ward)
        await a_console_that_is_killed(ward)
        await a_person_who_presses_ctrl_c(ward)
        await a_pause_that_a_person_had_set(ward)
        await without_prometheus(ward)
        await without_a_receiver(ward)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def as_before(ward: Ward, before: str) -> None:
    """The old configuration to the byte, the old server at work, nobody waiting for anything."""
    assert digest(ward.server_config) == before
    assert await ward.answers()
    assert not await ward.paused()
    assert not ward.note.exists()


async def a_good_one(ward: Ward) -> None:
    old = ward.server_config.read_bytes()
    new = ward.new({"mcp.cache_ttl_ms": 1000})
    ward.let(build=[python("print('built')")], test=python("print('tested')"))
    done = await ward.deploy("--config-from", new)
    report = done.report
    assert (done.code, report.result, report.unreachable) == (0, Result.DONE, ()), report
    assert [run.phase for run in report.phases] == list(Phase)
    assert all(run.passed and run.seconds > 0 for run in report.phases)
    assert report.first_response_seconds is not None
    assert ward.server_config.read_bytes() == new.read_bytes()
    assert report.replaced is not None
    assert (ward.copies / Path(report.replaced).name).read_bytes() == old
    assert "+cache_ttl_ms = 1000" in report.diff
    log = ward.copies / f"{SERVER}.deployment.log"
    assert ("built" in log.read_text(), "tested" in log.read_text()) == (True, True)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert not [each for each in ward.copies.iterdir() if "-new" in each.name]
    await as_before(ward, digest(new))
    # The receiver shows the times.
    assert report.posted
    shown = await metrics_text(ward.addresses["receiver"])
    for run in report.phases:
        labels = f'{{phase="{run.phase}",server="{SERVER}"}}'
        (line,) = [each for each in shown.splitlines() if each.startswith(f"mcp_remediation_deploy_seconds{labels}")]
        assert float(line.split()[-1]) == pytest.approx(run.seconds)


async def a_broken_configuration(ward: Ward) -> None:
    before = digest(ward.server_config)
    broken = ward.folder / "broken.toml"
    broken.write_text("[mcp]\ncache_ttl_ms = = 3\n")
    done = await ward.deploy("--config-from", broken)
    assert (done.code, done.report.result, done.report.changed) == (1, Result.ROLLED_BACK, False)
    assert f"{broken}:2" in done.report.detail
    broken.write_text("[monitoring]\nalert_thresholds_memory_usage_mb = 10\n")  # fleet.yml warns at 160 MB
    done = await ward.deploy("--config-from", broken)
    assert (done.code, done.report.changed) == (1, False)
    assert "the levels of resident_memory_bytes cross" in done.report.detail
    await as_before(ward, before)


async def a_build_that_fails(ward: Ward) -> None:
    before = digest(ward.server_config)
    ward.let(build=[python("print('token=hunter2'); raise SystemExit(7)"), python("raise SystemExit(8)")])
    done = await ward.deploy("--config-from", ward.new({"mcp.cache_ttl_ms": 2000}))
    report = done.report
    assert (done.code, report.result, report.changed, report.posted) == (1, Result.ROLLED_BACK, False, True)
    assert "it exited with status 7" in report.detail
    assert [run.phase for run in report.phases] == [Phase.CHECKS]
    assert any("token=" in line for line in report.output)
    assert "hunter2" not in str(report)
    assert "hunter2" not in done.err
    log = ward.copies / f"{SERVER}.deployment.log"
    assert (report.output_file, "token=hunter2" in log.read_text()) == (str(log), True)
    ward.let()
    await as_before(ward, before)


async def a_port_that_is_taken(ward: Ward) -> None:
    before = digest(ward.server_config)
    taken = ward.addresses["exporter"].port
    done = await ward.deploy("--config-from", ward.new({"server.needs_port": taken}), "--without-monitoring")
    report = done.report
    assert (done.code, report.result, report.changed) == (1, Result.ROLLED_BACK, True)
    assert "start: exited with status 1 before it listened" in report.detail
    assert report.detail.endswith("the old one answers again")
    assert [check.name for check in report.way_back] == ["stop", "configuration", "start", "first answer", "automation"]
    await as_before(ward, before)


async def a_tool_that_answers_wrongly(ward: Ward) -> None:
    before = digest(ward.server_config)
    done = await ward.deploy("--config-from", ward.new(ALLERGY), "--without-monitoring")
    assert (done.code, done.report.result) == (1, Result.ROLLED_BACK)
    assert "tool lookup: it answered with an error: " in done.report.detail
    assert [run.phase for run in done.report.phases] == [Phase.CHECKS, Phase.START, Phase.INTEGRATION]
    ward.let(checks=[{"tool": "lookup", "arguments": {"title": "Dune"}, "expect": {"result": "nowhere"}}])
    done = await ward.deploy("--without-monitoring")
    assert (done.code, done.report.result, done.report.replaced) == (1, Result.ROLLED_BACK, None)
    assert 'at result instead of "nowhere"' in done.report.detail
    ward.let()
    await as_before(ward, before)


async def a_first_answer_that_is_late(ward: Ward) -> None:
    before = digest(ward.server_config)
    ward.let(first_response_seconds=1.5)
    done = await ward.deploy("--config-from", ward.new({"server.starts_in_seconds": 1.6}), "--without-monitoring")
    assert (done.code, done.report.result) == (1, Result.ROLLED_BACK)
    assert "s after the order to start, and 1.5 s are allowed" in done.report.detail
    assert done.report.first_response_seconds is not None
    assert done.report.first_response_seconds > 1.6
    ward.let()
    await as_before(ward, before)


def is_starting(ward: Ward) -> bool:
    note = ward.noted()
    return note is not None and Step.START in note.course.begun


async def a_console_that_is_killed(ward: Ward) -> None:
    before = digest(ward.server_config)
    leave = ward.folder / "leave-1"
    new = ward.new({"server.starts_after": str(leave)})
    async with ward.under_way("--config-from", new, until=lambda: is_starting(ward)) as process:
        code, status = await ward.status()
        assert (code, status.unfinished, status.process) == (0, True, process.pid)
        told = await spoken("deploy", SERVER, "--config", ward.fleet_file, "--yes")
        assert (told.code, f"under way: process {process.pid}" in told.err) == (1, True)
        process.kill()
        await process.wait()
    code, status = await ward.status()
    assert (code, status.unfinished, status.process) == (1, True, None)
    assert status.begun[-1] is Step.START
    assert status.ahead == (Step.STOP_NEW, Step.PUT_BACK, Step.START_OLD, Step.GREET_OLD, Step.RESUME)
    assert status.command == f"mcp-medic deploy {SERVER} --roll-back"
    assert digest(ward.server_config) != before
    assert await ward.paused()
    leave.touch()
    done = await ward.deploy("--roll-back")
    assert (done.code, done.report.result, done.report.phases) == (0, Result.ROLLED_BACK, ()), done.report
    await as_before(ward, before)
    assert (await ward.status())[1].unfinished is False


async def a_person_who_presses_ctrl_c(ward: Ward) -> None:
    before = digest(ward.server_config)
    leave = ward.folder / "leave-2"
    new = ward.new({"server.starts_after": str(leave)})
    async with ward.under_way("--config-from", new, until=lambda: is_starting(ward)) as process:
        os.kill(process.pid, signal.SIGINT)
        leave.touch()
        assert process.stdout is not None
        said = (await process.stdout.read()).decode()
        assert await process.wait() == 130
    assert "going back to what was before" in said
    assert "the old one answers again" in said
    assert "Traceback" not in said
    await as_before(ward, before)


async def a_pause_that_a_person_had_set(ward: Ward) -> None:
    await ward.pause()
    done = await ward.deploy("--without-monitoring")
    assert (done.code, done.report.result) == (0, Result.DONE)
    assert any("was paused before, and stays so" in remark for remark in done.report.remarks)
    assert await ward.paused()
    await ward.pause("resume")


async def without_prometheus(ward: Ward) -> None:
    before = digest(ward.server_config)
    await ward.stop("prometheus")
    done = await ward.deploy("--config-from", ward.new({"mcp.cache_ttl_ms": 3000}))
    assert (done.code, done.report.result, done.report.changed) == (3, Result.ROLLED_BACK, False)
    assert [gap.service for gap in done.report.unreachable] == ["Prometheus"]
    await as_before(ward, before)


async def without_a_receiver(ward: Ward) -> None:
    await ward.stop("receiver")
    new = ward.new({"mcp.cache_ttl_ms": 4000})
    done = await ward.deploy("--config-from", new, "--without-monitoring")
    assert (done.code, done.report.result, done.report.posted) == (0, Result.DONE, False), done.report
    assert any(ward.addresses["receiver"].url in remark for remark in done.report.remarks)
    assert ward.server_config.read_bytes() == new.read_bytes()
    assert await ward.answers()

    async def alone() -> bool:
        return not ward.note.exists()

    assert await poll(alone, LONGEST_SECONDS)
