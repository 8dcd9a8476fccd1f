"""Restart through a control socket: a real unix socket with a real HTTP server behind it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from fleet.control_client import request
from fleet.errors import PermanentError, UnreachableError
from fleet.inventory import Address, Server
from fleet.lifecycle.control import control_sockets
from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome
from fleet.loading import load_fleet

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    file = tmp_path / "fleet.yml"
    file.write_text(
        "servers:\n"
        "  - {name: codex, transport: http, url: 'http://127.0.0.1:1/mcp', command: [x], restart: {via: gateway}}\n"
    )
    return next(iter(load_fleet(file, {}).servers.values()))


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[[Handler], Awaitable[Path]]]:
    """Serve a handler on ``codex-1.sock`` in ``tmp_path``."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> Path:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        path = tmp_path / "codex-1.sock"
        await web.UnixSite(runner, str(path)).start()
        return path

    yield start
    for runner in runners:
        await runner.cleanup()


async def restart(server: Server, folder: Path) -> tuple[Outcome, str]:
    assert server.restart is not None
    result = await METHODS[server.restart.via].restart(server, folder, "act-1")
    return result.outcome, result.detail


async def verify(server: Server, folder: Path, act: str) -> Outcome:
    assert server.restart is not None
    return (await METHODS[server.restart.via].verify(server, folder, act)).outcome


async def test_the_id_is_sent_and_the_outcome_read(
    server: Server, tmp_path: Path, serve: Callable[[Handler], Awaitable[Path]]
) -> None:
    seen: list[tuple[str, str, object]] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        seen.append((incoming.method, incoming.path, await incoming.json()))
        return web.json_response({"id": "act-1", "outcome": "succeeded", "detail": "ready after 1.2 s", "ended_at": 5})

    await serve(handler)
    assert await restart(server, tmp_path) == (Outcome.SUCCEEDED, "ready after 1.2 s")
    assert seen == [("POST", "/-/restart", {"id": "act-1"})]


async def test_a_failed_restart_is_failed(
    server: Server, tmp_path: Path, serve: Callable[[Handler], Awaitable[Path]]
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "act-1", "outcome": "failed", "detail": "exited with status 3"}, status=500)

    await serve(handler)
    assert await restart(server, tmp_path) == (Outcome.FAILED, "exited with status 3")


async def test_an_answer_that_makes_no_sense_is_unknown(
    server: Server, tmp_path: Path, serve: Callable[[Handler], Awaitable[Path]]
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text="oops")

    await serve(handler)
    assert await restart(server, tmp_path) == (Outcome.UNKNOWN, "the gateway answered 200 without JSON")


async def test_without_a_gateway_the_restart_failed_and_says_so(server: Server, tmp_path: Path) -> None:
    outcome, detail = await restart(server, tmp_path)
    assert outcome is Outcome.FAILED
    assert detail == f"no gateway serves codex: no socket in {tmp_path}"


async def test_a_dead_socket_is_skipped(
    server: Server, tmp_path: Path, serve: Callable[[Handler], Awaitable[Path]]
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "codex-0.sock"))

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"outcome": "succeeded"})

    assert (await restart(server, tmp_path))[0] is Outcome.FAILED
    await serve(handler)
    assert (await restart(server, tmp_path))[0] is Outcome.SUCCEEDED


async def test_a_broken_connection_leaves_the_outcome_unknown(
    server: Server, tmp_path: Path, serve: Callable[[Handler], Awaitable[Path]]
) -> None:
    async def handler(incoming: web.Request) -> web.StreamResponse:
        assert incoming.transport is not None
        incoming.transport.abort()
        return web.Response()

    await serve(handler)
    assert (await restart(server, tmp_path))[0] is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("status", "act", "expected"),
    [
        ({"last_restart": {"id": "act-1", "outcome": "succeeded"}}, "act-1", Outcome.SUCCEEDED),
        ({"last_restart": {"id": "act-1", "outcome": "failed"}}, "act-1", Outcome.FAILED),
        ({"last_restart": {"id": "act-1", "outcome": None}}, "act-1", Outcome.UNKNOWN),
        ({"last_restart": {"id": "act-0", "outcome": "succeeded"}}, "act-1", Outcome.NOT_DONE),
        ({"last_restart": None}, "act-1", Outcome.NOT_DONE),
        ([], "act-1", Outcome.UNKNOWN),
    ],
)
async def test_verify_asks_and_never_acts(
    server: Server,
    tmp_path: Path,
    serve: Callable[[Handler], Awaitable[Path]],
    status: object,
    act: str,
    expected: Outcome,
) -> None:
    methods: list[str] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        methods.append(incoming.method)
        return web.Response(text=json.dumps(status))

    await serve(handler)
    assert await verify(server, tmp_path, act) is expected
    assert methods == ["GET"]


async def test_verify_without_a_gateway_is_unknown(server: Server, tmp_path: Path) -> None:
    assert await verify(server, tmp_path, "act-1") is Outcome.UNKNOWN


def test_only_sockets_of_this_server_are_found(tmp_path: Path) -> None:
    for name in ("codex-12.sock", "codex-7.sock", "codex-b-9.sock", "codexb-9.sock", "codex-x.sock", "codex.sock"):
        (tmp_path / name).touch()
    assert [path.name for path in control_sockets(tmp_path, "codex")] == ["codex-12.sock", "codex-7.sock"]


async def test_a_silent_peer_is_unreachable_in_time(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        target = Address("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(UnreachableError, match="did not answer GET / within"):
            await request(target, "GET", "/", timeout=0.05)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await request(tmp_path / "none.sock", "GET", "/")


async def test_a_peer_that_does_not_speak_http_is_named(tmp_path: Path) -> None:

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    peer = await asyncio.start_unix_server(speak, str(tmp_path / "x.sock"))
    async with peer:
        with pytest.raises(PermanentError, match=r"not HTTP/1\.1"):
            await request(tmp_path / "x.sock", "GET", "/")
