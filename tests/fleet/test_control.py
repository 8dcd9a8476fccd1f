"""Status, cache reset, idle sessions and rolling restarts over many control sockets: real sockets, real HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import Server
from fleet.lifecycle import control, gateway
from fleet.lifecycle.control import end_idle_sessions, reset_cache, status, worst
from fleet.lifecycle.outcome import Outcome
from fleet.loading import load_fleet


@dataclass
class Instance:
    """One gateway's control socket; ``seen`` is shared, so that it shows the order."""

    number: int
    seen: list[str]
    status: Any = field(default_factory=lambda: {"up": 1})
    answer: Any = field(default_factory=lambda: {"outcome": "succeeded", "detail": "done", "ended_at": 5})

    async def handle(self, incoming: web.Request) -> web.StreamResponse:
        self.seen.append(f"{incoming.path} {self.number}")
        return web.json_response(self.status if incoming.method == "GET" else self.answer)


Serve = Callable[[Instance], Awaitable[Instance]]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    file = tmp_path / "fleet.yml"
    file.write_text("servers: [{name: codex, transport: stdio, command: [x]}]")
    return next(iter(load_fleet(file, {}).servers.values()))


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(instance: Instance) -> Instance:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", instance.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.UnixSite(runner, str(tmp_path / f"codex-{instance.number}.sock")).start()
        return instance

    yield start
    for runner in runners:
        await runner.cleanup()


def dead_socket(folder: Path, number: int) -> Path:
    path = folder / f"codex-{number}.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


async def test_every_living_gateway_tells_its_status(server: Server, tmp_path: Path, serve: Serve) -> None:
    dead = dead_socket(tmp_path, 7)
    await serve(Instance(8, [], status={"up": 0, "cache": {"entries": 2}}))
    await serve(Instance(9, [], status=[1]))
    assert await status(server, tmp_path) == [
        {"up": 0, "cache": {"entries": 2}, "instance": "codex-8"},
        {"error": "the gateway answered 200 with JSON that is no object", "instance": "codex-9"},
    ]
    assert not dead.exists()


async def test_a_file_that_is_no_socket_is_not_removed(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "codex-1.sock"
    file.symlink_to(tmp_path / "nowhere")
    assert await status(server, tmp_path) == []
    assert file.is_symlink()


@pytest.mark.parametrize("act", [reset_cache, end_idle_sessions])
async def test_an_act_reaches_every_instance(server: Server, tmp_path: Path, serve: Serve, act: Any) -> None:
    seen: list[str] = []
    dead_socket(tmp_path, 7)
    await serve(Instance(8, seen))
    await serve(Instance(9, seen, answer={"error": "no cache here"}))
    done = await act(server, tmp_path)
    assert (done.outcome, done.detail) == (Outcome.FAILED, "codex-8: done; codex-9: no cache here")
    path = {reset_cache: "/-/cache/reset", end_idle_sessions: "/-/sessions/end-idle"}[act]
    assert seen == [f"{path} 8", f"{path} 9"]


async def test_without_a_gateway_nothing_can_be_reset(server: Server, tmp_path: Path) -> None:
    dead_socket(tmp_path, 7)
    done = await reset_cache(server, tmp_path)
    assert (done.outcome, done.detail) == (Outcome.FAILED, f"no gateway serves codex: no socket in {tmp_path}")


@pytest.mark.parametrize(
    "sick",
    [{"up": 0}, {"up": 1, "hung": True}, {"up": 1, "resident_memory_bytes": 512_000_000}, "no object"],
    ids=["down", "hung", "too large", "without an answer"],
)
async def test_only_the_sick_instance_is_restarted(server: Server, tmp_path: Path, serve: Serve, sick: Any) -> None:
    seen: list[str] = []
    await serve(Instance(7, seen))
    await serve(Instance(8, seen, status=sick))
    await serve(Instance(9, seen, status={"up": 1, "hung": False, "resident_memory_bytes": 511_999_999}))
    done = await gateway.restart(server, tmp_path, "act-1")
    assert (done.outcome, done.detail, done.ended_at) == (Outcome.SUCCEEDED, "done", 5)
    assert [one for one in seen if one.startswith("/-/restart")] == ["/-/restart 8"]


async def test_without_a_sick_one_all_are_restarted_in_order(server: Server, tmp_path: Path, serve: Serve) -> None:
    seen: list[str] = []
    dead_socket(tmp_path, 6)
    await serve(Instance(7, seen))
    await serve(Instance(8, seen, answer={"outcome": "failed", "detail": "did not start", "ended_at": 9}))
    await serve(Instance(9, seen))
    done = await gateway.restart(server, tmp_path, "act-1")
    assert done.outcome is Outcome.FAILED
    assert done.detail == "codex-7: done; codex-8: did not start; codex-9: done"
    assert done.ended_at == 9
    assert seen[3:] == ["/-/restart 7", "/-/restart 8", "/-/restart 9"]


async def test_verify_gathers_what_every_instance_knows(server: Server, tmp_path: Path, serve: Serve) -> None:
    one = await serve(Instance(7, [], status={"last_restart": {"id": "act-1", "outcome": "succeeded"}}))
    other = await serve(Instance(8, [], status={"last_restart": None}))
    assert (await gateway.verify(server, tmp_path, "act-1")).outcome is Outcome.SUCCEEDED
    assert (await gateway.verify(server, tmp_path, "act-2")).outcome is Outcome.NOT_DONE
    other.status = {"last_restart": {"id": "act-1", "outcome": None}}
    assert (await gateway.verify(server, tmp_path, "act-1")).outcome is Outcome.UNKNOWN
    other.status = "nonsense"
    assert (await gateway.verify(server, tmp_path, "act-2")).outcome is Outcome.UNKNOWN
    assert not [path for path in one.seen + other.seen if not path.startswith("/-/status")]


@given(st.lists(st.sampled_from(Outcome), min_size=1))
def test_the_whole_succeeded_only_when_every_part_did(outcomes: list[Outcome]) -> None:
    assert worst(outcomes) in outcomes
    assert (worst(outcomes) is Outcome.SUCCEEDED) == (set(outcomes) == {Outcome.SUCCEEDED})
    assert (worst(outcomes) is Outcome.FAILED) == (Outcome.FAILED in outcomes)


def test_single_parts_need_no_name() -> None:
    assert control.told([("codex-1", "done")]) == "done"


async def test_start_and_stop_reach_every_instance_and_one_that_refuses_is_told(
    server: Server, tmp_path: Path, serve: Serve
) -> None:
    seen: list[str] = []
    await serve(Instance(1, seen))
    await serve(Instance(2, seen, answer={"error": "another act is under way"}))
    done = await gateway.stop(server, tmp_path, "act-1")
    assert (done.outcome, done.detail) == (Outcome.FAILED, "codex-1: done; codex-2: another act is under way")
    done = await gateway.start(server, tmp_path, "act-2")
    assert done.outcome is Outcome.FAILED
    assert seen == ["/-/stop 1", "/-/stop 2", "/-/start 1", "/-/start 2"]
    assert done.ended_at is not None


async def test_nobody_to_start_is_a_sentence(server: Server, tmp_path: Path) -> None:
    done = await gateway.start(server, tmp_path, "act-1")
    assert (done.outcome, done.detail) == (Outcome.FAILED, f"no gateway serves codex: no socket in {tmp_path}")
