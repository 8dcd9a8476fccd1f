"""``deploy`` where no stack is needed: notes, a server over stdio, one with a pid file, what stands in its way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from console.deploying import programs
from console.deploying.gates import Phase, Step, planned
from console.deploying.note import Note, Notebook
from console.deploying.reports import Deployed, Result, Status
from console.diagnosing import ports
from console.diagnosing.checks import Outcome
from console.views.deploying import deploying
from fleet.errors import PermanentError
from stack.ports import is_free
from stack.processes import poll
from tests.console.deploying_alone import book_of, deploy, new, reported, telling
from tests.console.diagnosing import ENVIRON, by_name, fleet_file, stdio_entry
from tests.console.spoken import spoken
from tests.console.typed import LONGEST_SECONDS, PROJECT


async def test_a_server_with_a_pid_file_is_deployed_and_taken_back(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        config = tmp_path / "codex.toml"
        first = new(tmp_path, "two")
        code, report = await reported(file, "--config-from", first)
        assert (code, report.result) == (0, Result.DONE), report
        assert config.read_bytes() == first.read_bytes()
        pid = (tmp_path / "pid").read_text()
        for wrong in (new(tmp_path, "three"), new(tmp_path, "two", "refuses = true\n")):
            tried = wrong.read_bytes()
            code, report = await reported(file, "--config-from", wrong)
            assert (code, report.result, report.changed) == (1, Result.ROLLED_BACK, True), report
            assert report.detail.endswith("the old one answers again")
            assert config.read_text() == '[server]\nsays = "two"  # a new one\n'
            # What was tried is kept too: somebody has to find out what was wrong with it.
            kept = [each.read_bytes() for each in (tmp_path / "codex.toml.backups").glob("*-tried.toml")]
            assert tried in kept
        assert (tmp_path / "pid").read_text() != pid
        assert book_of(file).read() is None


async def test_a_method_that_only_restarts_is_enough(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        assert (await reported(file, "--config-from", new(tmp_path, "two")))[0] == 0
        document = json.loads(file.read_text())
        (entry,) = document["servers"]
        entry["restart"] = {"via": "command", "argv": [sys.executable, "-c", "open('restarted', 'a').write('x')"]}
        file.write_text(json.dumps(document))
        code, report = await reported(file, "--config-from", new(tmp_path, "two", "more = 1\n"))
        assert (code, report.result) == (0, Result.DONE), report
        assert (tmp_path / "restarted").read_text() == "x"
        code, report = await reported(file, "--config-from", new(tmp_path, "four"))
        assert (code, report.result) == (1, Result.ROLLED_BACK)
        assert 'its JSON is "four" at says instead of "two"' in report.detail
        assert (tmp_path / "restarted").read_text() == "xxx"
        assert by_name(report.way_back)["stop"].outcome is Outcome.SKIPPED
        assert "more = 1" in (tmp_path / "codex.toml").read_text()


@pytest.mark.parametrize(("expect", "result"), [("no handle", Result.DONE), ("a handle", Result.ROLLED_BACK)])
async def test_a_stdio_server_that_no_client_runs(tmp_path: Path, expect: str, result: Result) -> None:
    entry = stdio_entry(deploy={"checks": [{"tool": "ping", "expect": expect}], "first_response_seconds": 60})
    code, report = await reported(fleet_file(tmp_path, entry))
    assert (code, report.result) == (int(result is not Result.DONE), result), report
    start = by_name(report.phases[1].checks)
    assert (start["stop"].outcome, start["stop"].saw) == (Outcome.SKIPPED, "no client runs it now")
    assert start["first answer"].outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"restart": None, "command": None}, "fleet.yml names none for codex"),
        ({"auth_file": "/nonexistent/auth.json"}, "No such file"),
        ({"command": ["no-such-runtime"]}, "no-such-runtime is not found on PATH"),
        ({"deploy": {"test": ["no-such-program"]}}, "no-such-program cannot be run"),
        ({"restart": {"via": "gateway"}, "process": None}, "none serves it now"),
    ],
)
async def test_what_is_missing_stops_it_before_anything_is_changed(
    tmp_path: Path, keys: Mapping[str, object], said: str
) -> None:
    with telling(tmp_path, **keys) as file:
        code, report = await reported(file, "--config-from", new(tmp_path, "two"))
    assert (code, report.result, report.changed) == (1, Result.ROLLED_BACK, False)
    assert said in report.detail
    assert report.detail.endswith("; nothing was changed")
    assert "old one" in (tmp_path / "codex.toml").read_text()
    assert [run.phase for run in report.phases] == [Phase.CHECKS]


@contextmanager
def stranger(port: str) -> Iterator[int]:
    """The pid of another program that listens there."""
    listens = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", listens], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


async def test_a_stranger_on_the_port_stops_it(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        url = json.loads(file.read_text())["servers"][0]["url"]
        port = url.rpartition(":")[2].partition("/")[0]
        with stranger(port) as pid:
            code, report = await reported(file)
    assert (code, report.changed) == (1, False)
    assert f"port: {port} is taken by process {pid}" in report.detail


async def test_a_new_toml_for_a_server_without_one_is_refused(tmp_path: Path) -> None:
    code, report = await reported(fleet_file(tmp_path, stdio_entry()), "--config-from", new(tmp_path, "two"))
    assert (code, report.changed) == (1, False)
    assert "fleet.yml names no config_file for codex" in report.detail


async def test_without_prometheus_it_ends_with_3_and_names_it(tmp_path: Path) -> None:
    file = fleet_file(tmp_path, stdio_entry())
    told = await spoken("deploy", "codex", "--yes", "--json", "--config", file)
    report = msgspec.json.decode(told.out, type=Deployed)
    assert (told.code, report.changed, [gap.service for gap in report.unreachable]) == (3, False, ["Prometheus"])


async def test_nobody_is_here_to_say_yes(tmp_path: Path) -> None:
    file = fleet_file(tmp_path, stdio_entry())
    told = await spoken("deploy", "codex", "--config", file)
    assert (told.code, told.out) == (2, "")
    assert "Stop codex and start it again? Its clients wait" in told.err
    told = await spoken("deploy", "codex", "--status", "--json", "--config", file)
    assert (told.code, told.json["unfinished"]) == (0, False)


def left(file: Path, **keys: object) -> Notebook:
    """A note as a deployment leaves it that was killed when it had replaced the configuration."""
    book = book_of(file)
    course = planned(configures=True, stops=True, watches=False)
    for step in (Step.CHECK, Step.PAUSE, Step.STOP, Step.CONFIGURE):
        course = course.beginning(step).ending(step, well=True)
    note = Note(server="codex", stamp="deploy-x", began_at=1e9, course=course, digest="0" * 64)
    with book.alone():
        book.write(msgspec.structs.replace(note, **keys))
    return book


async def test_a_configuration_that_cannot_be_put_back_keeps_the_note(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        book = left(file)
        code, report = await reported(file, "--roll-back")
        assert (code, report.result) == (1, Result.FAILED)
        assert "no copy deploy-x.toml was kept" in report.detail
        # The server is started all the same: an old configuration is no reason to serve nobody.
        assert by_name(report.way_back)["first answer"].outcome is Outcome.PASSED
        told = await spoken("deploy", "codex", "--status", "--json", "--config", file)
        status = msgspec.json.decode(told.out, type=Status)
        assert (told.code, status.unfinished, Step.PUT_BACK in status.ahead) == (1, True, True)
        # Nor is a new one begun on top of it.
        code, report = await reported(file, "--config-from", new(tmp_path, "two"))
        assert (code, report.result, report.phases) == (1, Result.FAILED, ())
        book.forget()
        assert (await reported(file, "--config-from", new(tmp_path, "two")))[0] == 0


async def test_the_next_deployment_ends_the_one_that_was_killed(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        config = tmp_path / "codex.toml"
        old = config.read_bytes()
        assert (await reported(file, "--config-from", new(tmp_path, "two")))[0] == 0
        (kept,) = (tmp_path / "codex.toml.backups").glob("deploy-*.toml")
        left(file, stamp=kept.stem, digest=hashlib.sha256(old).hexdigest())
        code, report = await reported(file)
        assert (code, report.result) == (1, Result.ROLLED_BACK)  # the old one does not say "two"
        assert config.read_bytes() == old
        assert any("an unfinished deployment of 2001-09-09" in remark for remark in report.remarks)


async def test_a_note_that_is_none_is_named(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        book = book_of(file)
        book.folder.mkdir()
        book.file.write_text("{")
        told = await deploy(file)
        assert (told.code, told.out) == (1, "")
        assert f"{book.file} is no note of a deployment" in told.err


async def test_a_note_that_cannot_be_written_lets_nothing_begin(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        book = book_of(file)
        book.file.with_suffix(".tmp").mkdir(parents=True)
        code, report = await reported(file, "--config-from", new(tmp_path, "two"))
    assert (code, report.result, report.changed) == (1, Result.ROLLED_BACK, False)
    assert f"note: {book.file} cannot be written" in report.detail
    assert "old one" in (tmp_path / "codex.toml").read_text()


def test_every_step_has_words_for_people() -> None:
    report = Status(server="codex", unfinished=True, begun=tuple(Step), ahead=tuple(Step))
    with (console := Console(width=200)).capture() as shown:
        console.print(deploying(report))
    assert "start the new one" in shown.get()
    assert "_" not in shown.get()


def test_one_at_a_time(tmp_path: Path) -> None:
    book = Notebook(tmp_path / "notes", "codex")
    assert book.holder() is None
    with book.alone():
        assert book.holder() == os.getpid()
        with pytest.raises(PermanentError, match=f"is under way: process {os.getpid()}"), book.alone():
            pass
    assert book.holder() is None


async def test_a_command_is_bounded_in_time_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, log = secrets.token_hex(8), tmp_path / "log"
    around = programs.Surroundings(tmp_path, ENVIRON, within=1.0)
    sleeping = [sys.executable, "-c", f"import time; print('here', flush=True); time.sleep(300)  # {mark}"]
    check = await programs.check("build", sleeping, around, log)
    assert (check.outcome, check.saw) == (Outcome.FAILED, "it did not end within 1 s and was killed")
    assert not runs(mark)
    monkeypatch.setattr(programs, "MAX_OUTPUT_BYTES", 1000)
    endless = [sys.executable, "-c", "while True: print('x' * 99, flush=True)"]
    check = await programs.check("test", endless, programs.Surroundings(tmp_path, ENVIRON), log)
    assert (check.outcome, check.saw) == (Outcome.FAILED, "it wrote more than 1000 bytes and was killed")


def runs(mark: str) -> bool:
    """Whether a process has ``mark`` in its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in file.read_bytes():
                return True
    return False


@pytest.mark.parametrize("columns", [40, 80])
async def test_it_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    checks = [{"tool": "ツール検索", "expect": {"本": ["図書館"]}}]
    file = fleet_file(tmp_path, stdio_entry(deploy={"checks": checks, "first_response_seconds": 60}))
    told = await deploy(file, columns=columns)
    assert told.code == 1
    assert max(map(len, told.out.splitlines())) <= columns
    assert "\x1b" not in told.out + told.err
    assert "rolled back" in told.out
    shown = "".join(told.out.split())
    assert "toolツール検索" in shown
    assert "integration: calling its tools" in told.err


async def test_a_broken_configuration_is_never_gone_back_to(tmp_path: Path) -> None:
    with telling(tmp_path) as file:
        config = tmp_path / "codex.toml"
        config.write_text("[server\n")
        code, report = await reported(file, "--config-from", new(tmp_path, "three"))
        assert (code, report.result) == (1, Result.FAILED)
        assert "codex.toml was broken before: it is kept as deploy-" in report.detail
        assert 'says = "three"' in config.read_text()
        assert by_name(report.way_back)["first answer"].outcome is Outcome.PASSED
        # Nothing is left that would stand in the way of the next one.
        assert (await reported(file, "--config-from", new(tmp_path, "two")))[0] == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_terminal_that_is_closed_leaves_no_server_stopped(tmp_path: Path, number: signal.Signals) -> None:
    with telling(tmp_path, deploy={"first_response_seconds": 60}) as file:
        assert (await reported(file))[0] == 0
        slow = new(tmp_path, "two", "answers_in_seconds = 1.5\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "console", "deploy", "codex", "--yes", "--without-monitoring", "--config", file,
            "--config-from", slow, cwd=PROJECT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                while b"starting the new one" not in await process.stderr.readline():
                    pass
                process.stderr._transport.close()  # type: ignore[attr-defined]  # nobody reads it any more
                process.send_signal(number)
                assert await process.wait() == 130
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert "old one" in (tmp_path / "codex.toml").read_text()
        assert book_of(file).read() is None
        # It runs: nothing is to be started.
        told = await spoken("test", "codex", "--config", file, "--json")
        assert told.code == 0, told.out


async def test_a_new_one_that_nobody_noted_is_named_and_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """kill -9 after the new process was launched, before its pid was written."""
    with telling(tmp_path, deploy={"first_response_seconds": 60}) as file:
        assert (await reported(file))[0] == 0
        slow = new(tmp_path, "two", "answers_in_seconds = 1.5\n")
        book, port = book_of(file), ports.port_of(json.loads(file.read_text())["servers"][0]["url"])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "console", "deploy", "codex", "--yes", "--without-monitoring", "--config", file,
            "--config-from", slow, cwd=PROJECT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

        async def launched() -> bool:
            note = book.read()
            return note is not None and Step.START in note.course.begun and not is_free(port)

        assert await poll(launched, LONGEST_SECONDS, every=0.02)
        process.kill()
        await process.wait()
        noted = (tmp_path / "pid").exists()  # a machine that stood still in between
        code, report = await reported(file, "--roll-back")
        if not noted:
            check = by_name(report.way_back[:2])["port"]
            assert (code, report.result, check.outcome) == (1, Result.FAILED, Outcome.FAILED)
            os.kill(int(check.remedy.split()[1].rstrip(",")), signal.SIGKILL)
            code, report = await reported(file, "--roll-back")
        assert (code, report.result, book.read()) == (0, Result.ROLLED_BACK, None), report
        assert "old one" in (tmp_path / "codex.toml").read_text()
