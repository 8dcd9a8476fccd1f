"""The smaller parts that limits are made of: admission, places, idle sessions, a followed file."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import Enforced
from fleet.server_config import Tuning
from fleet.tasks import Tasks
from gateway.admission import IDEMPOTENT_READS, Admission
from gateway.jsonrpc import Era, Kind, Message
from gateway.places import Places
from gateway.sessions import Handle, Sessions, legacy_key, modern_key
from gateway.wheel import Wheel
from tests.gateway.peers import until

METHODS = st.sampled_from(["initialize", "tools/list", "tools/call", "ping", "resources/read", "x"])
MESSAGES = st.builds(Message, kind=st.sampled_from(Kind), method=METHODS, era=st.sampled_from(Era), id=st.just(b"1"))
COUNTS = st.integers(0, 5)


@given(
    st.lists(MESSAGES, max_size=3), st.none() | st.integers(1, 5), COUNTS, COUNTS, COUNTS,
    st.frozensets(st.sampled_from(Enforced)),
)  # fmt: skip
def test_only_a_legacy_initialize_meets_the_cap_and_only_reads_are_repeated(
    messages: list[Message], cap: int | None, active: int, opening: int, retries: int, enforce: frozenset[Enforced]
) -> None:
    tuning = Tuning(max_concurrent_sessions=cap, max_retries=retries, connection_pool_size=3)
    given = Admission(tuning, enforce)
    opens = any((each.kind, each.method, each.era) == (Kind.REQUEST, "initialize", Era.LEGACY) for each in messages)
    assert given.exceeds_sessions(messages, active, opening) == (opens and cap is not None and active + opening >= cap)
    repeated = given.retries(tuple(messages))
    if repeated:
        (only,) = messages
        assert only.method in IDEMPOTENT_READS
        assert repeated == retries
    assert "tools/call" not in IDEMPOTENT_READS
    assert given.session_limit == (cap if Enforced.SESSIONS in enforce else None)
    assert given.in_flight_limit == (3 if Enforced.SESSIONS in enforce else None)


# ---- places


async def test_calls_stand_in_line_and_go_in_their_order() -> None:
    limit = 1
    places, tasks, went = Places(lambda: limit), Tasks("test"), list[int]()
    assert await places.take(1.0)

    async def call(number: int) -> None:
        assert await places.take(20.0)
        went.append(number)

    for number in range(4):
        tasks.start_passing("call", call(number))
        await until(lambda number=number: places.waiting == number + 1)  # type: ignore[misc]
    places.give_back()
    await until(lambda: went == [0])
    limit = 3
    places.settle()
    await until(lambda: went == [0, 1, 2])
    assert not await places.take(0.01)
    for _ in range(3):
        places.give_back()
    await until(lambda: went == [0, 1, 2, 3])
    assert places.waiting == 0
    await tasks.stop()


async def test_who_leaves_the_line_takes_no_place() -> None:
    places, tasks = Places(lambda: 1), Tasks("test")
    assert await places.take(1.0)
    leaving = tasks.start_passing("leaving", places.take(20.0))
    granted = tasks.start_passing("granted", places.take(20.0))
    await until(lambda: places.waiting == 2)
    leaving.cancel()
    await until(lambda: places.waiting == 1)
    places.give_back()
    granted.cancel()  # in the same moment in which its turn comes
    await asyncio.wait({leaving, granted})
    assert granted.cancelled()
    assert await places.take(1.0), "the place is free again"


# ---- idle sessions


def test_a_stream_that_only_listens_does_not_keep_a_session_busy() -> None:
    sessions = Sessions(100.0)
    listening, calling, modern = legacy_key("a"), legacy_key("b"), modern_key(None, "p", b"")
    handle = Handle((("Mcp-Session-Id", "a"),))
    for key in (listening, calling, modern):
        sessions.enter(key, 0.0, handle if key == listening else None)
        sessions.leave(key, 0.0)
    sessions.enter(listening, 40.0, calls=False)
    sessions.enter(calling, 40.0)
    assert sessions.idle(49.0) == []
    assert {each.key: each.handle for each in sessions.idle(50.0)} == {listening: handle, modern: None}
    sessions.leave(calling, 60.0)
    assert calling not in {each.key for each in sessions.idle(100.0)}
    assert calling in {each.key for each in sessions.idle(110.0)}
    assert "'a'" not in repr(handle), "ids are credentials"


# ---- a followed file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "server.toml"
    found.write_text("[mcp]\nmax_concurrent_sessions = 1\n")
    return found


def test_only_a_change_is_taken_and_a_broken_file_is_named_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken: list[Tuning] = []
    wheel = Wheel(file, taken.append)
    assert wheel.look()
    assert not wheel.look()
    os.utime(file, ns=(1, 1))
    assert wheel.look()
    assert [each.max_concurrent_sessions for each in taken] == [1], "the same values are no change"
    file.write_text("[mcp]\nmax_concurrent_sessions = 'many'\n")
    with caplog.at_level(logging.ERROR):
        assert not wheel.look()
        assert not wheel.read()
    assert "max_concurrent_sessions" in wheel.problem
    assert len(caplog.records) == 1
    file.unlink()
    assert not wheel.look()
    assert "cannot be read" in wheel.problem
    file.write_text("[mcp]\nmax_concurrent_sessions = 2\n")
    assert wheel.look()
    assert wheel.problem == ""
    assert [each.max_concurrent_sessions for each in taken] == [1, 2]


def test_a_file_of_the_same_size_and_time_is_another_when_it_was_replaced(file: Path, tmp_path: Path) -> None:
    taken: list[Tuning] = []
    wheel = Wheel(file, taken.append)
    wheel.look()
    status, other = file.stat(), tmp_path / "other"
    other.write_text(file.read_text().replace("1", "9"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert wheel.look()
    assert taken[-1].max_concurrent_sessions == 9
