"""What evidence holds beside the signals: the end of the logs, the breaker, the largest processes, counts."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import LogFormat, LogSource, ServerName
from fleet.lifecycle.outcome import Outcome
from fleet.redaction import redacted
from receiver.actions import processes
from receiver.actions.act import ActContext
from receiver.actions.log_tail import MAX_BYTES, MAX_LINE, harmless, tail, tails
from receiver.actions.table import ACTIONS
from receiver.events import ActId, ActIntended, IncidentId
from receiver.prometheus import Prometheus
from tests.receiver.shell.world import World

LINES = st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=30)


@given(st.binary(max_size=3000))
def test_no_line_commands_a_terminal(line: bytes) -> None:
    shown = harmless(line.replace(b"\n", b""))
    assert shown.isprintable()
    assert len(shown) <= MAX_LINE + len("...")


@given(lines=LINES, wanted=st.integers(1, 40), bound=st.integers(1, 2000), ends=st.booleans())
def test_the_last_whole_lines_within_the_bound(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], wanted: int, bound: int, ends: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "a.log"
    text = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    file.write_bytes(text)
    whole = text.split(b"\n")
    whole = whole[:-1] if whole[-1] == b"" else whole
    found = tail(file, wanted, bound).lines
    assert len(found) <= wanted
    if redacted(text) == text:
        assert list(found) == [harmless(line) for line in whole[len(whole) - len(found) :]]
    if len(text) <= bound:
        assert len(found) == min(wanted, len(whole))


def test_a_log_that_was_rotated_a_moment_ago_is_read_on(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    (tmp_path / "server.log.1").write_text("".join(f"old {number}\n" for number in range(200)))
    file.write_text("new\n")
    found = tail(file)
    assert len(found.lines) == 100
    assert (found.lines[0], found.lines[-2:]) == ("old 101", ("old 199", "new"))
    assert found.note == "the first 99 are of server.log.1"
    file.unlink()
    absent = tail(file)
    assert absent.lines[-1] == "old 199"
    assert absent.note.startswith("there is no such file: ")


def test_what_is_no_log_is_a_sentence_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    notes = {name: tail(tmp_path / name).note for name in ("pipe", "empty", "folder", "none")}
    assert notes == {
        "pipe": "it is no file that could be read from its end",
        "empty": "it is empty",
        "folder": "it cannot be read: Is a directory",
        "none": "there is no such file: nothing was written yet, or it was moved away",
    }


def test_many_large_logs_stay_within_the_bound(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.log" for number in range(5)]
    for file in files:
        file.write_text(("\x1b[31m" + "x" * 3000 + "\n") * 500)
    found = tails(files)
    assert len(found) == 3
    assert sum(len(line) for each in found for line in each.lines) <= MAX_BYTES
    assert all(line.startswith("\\x1b[31mxx") and line.endswith("...") for each in found for line in each.lines)


def test_no_credential_of_a_log_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\nIBADAN\n-----END PRIVATE KEY-----"
    long_before = "x" * (MAX_LINE - 15)
    (tmp_path / "server.log.1").write_text("Authorization: Bearer 0123456789abcdefghijkl\n")
    file.write_text(f"start\n{key}\npassword=hunter2 tool=echo\n{long_before} api_key=hunter2hunter2hunter2\n")
    found = tail(file).lines
    assert found[:4] == ("Authorization: <secret>", "start", "<secret>", "password=<secret> tool=echo")
    assert not [line for line in found if "hunter" in line or "0123" in line or "MII" in line]


async def test_the_largest_processes_of_a_tree_have_names_and_no_arguments() -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()', 'hunter2']).wait()"
    root = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE)
    try:
        end = time.monotonic() + 20
        while len(processes.largest([root.pid])) < 2:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        found = processes.largest([root.pid, root.pid])
        assert [each["pid"] for each in found if each["pid"] == root.pid] == [root.pid]
        sizes = [each["resident_memory_bytes"] for each in found]
        assert sizes == sorted(sizes, reverse=True)
        assert "hunter2" not in str(found)
    finally:
        assert root.stdin is not None
        root.stdin.close()  # the child reads its end
        await asyncio.wait_for(root.wait(), 20)
    assert processes.largest([root.pid, -1, 2**70]) == []


def test_a_pid_file_names_a_process_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert processes.named_by(file) == []
    for text, pids in (("12\n", [12]), ("x", []), ("", []), ("-1", []), ("9" * 40, []), ("é", [])):
        file.write_text(text)
        assert processes.named_by(file) == pids


@pytest.fixture
def context(world: World, session: aiohttp.ClientSession) -> ActContext:
    fleet = world.settings().fleet
    server = fleet.servers[ServerName("alpha")]
    (world.folder / "server.log").write_text("all is well\nTypeError: x is not a function\n")
    logs = (LogSource(world.folder / "server.log", LogFormat.JSON, {}),)
    intent = ActIntended(
        incident=IncidentId("alpha-1"), server="alpha", act=ActId("act-1"), action="evidence", signals=[]
    )
    prometheus = Prometheus(session, world.prometheus.url, time.time)
    return ActContext(replace(server, logs=logs), intent, fleet.gateway.control_dir, prometheus)


async def gathered(context: ActContext, *signals: str) -> set[str]:
    asked = replace(context, intent=msgspec.structs.replace(context.intent, signals=list(signals)))
    result = await ACTIONS["evidence"].perform(asked)
    assert result.outcome is Outcome.SUCCEEDED
    assert len(msgspec.json.encode(result.findings)) < 64 * 1024
    return set(result.findings) & {"logs", "breaker", "largest_processes", "sessions_limit", "cache_entries"}


async def test_each_signal_brings_what_belongs_to_it(world: World, context: ActContext) -> None:
    world.prometheus.totals = {
        "mcp_server_cache_entries": 7.0,
        "mcp_server_sessions_limit": 12.0,
        'mcp_server_circuit_breaker_state{state="half_open"': 1.0,
    }
    assert await gathered(context, "error_ratio") == {"logs", "breaker"}
    assert await gathered(context, "response_time", "sessions") == {"logs", "breaker", "sessions_limit"}
    assert await gathered(context, "circuit_breaker") == {"breaker"}
    assert await gathered(context, "memory") == {"largest_processes", "cache_entries"}
    assert await gathered(context, "cache_hit_ratio") == set()
    everything = {"logs", "breaker", "largest_processes", "sessions_limit", "cache_entries"}
    assert await gathered(context) == everything  # a person asked


async def test_the_log_and_the_breaker_as_they_are(world: World, context: ActContext) -> None:
    world.prometheus.totals = {'mcp_server_circuit_breaker_state{state="half_open"': 1.0}
    findings = (await ACTIONS["evidence"].perform(context)).findings
    assert findings["breaker"] == "half_open"
    path = str(world.folder / "server.log")
    assert findings["logs"] == [{"path": path, "lines": ["all is well", "TypeError: x is not a function"]}]
