"""A Redis that is down, stalls, refuses, or is none: said once, and the last count stays with its age."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest

from exporter.sources.redis_census import RETRY_SECONDS
from tests.exporter.redis_counting import SESSIONS, Counting, fill
from tests.redis_servers import PASSWORD, RedisServer, start_redis


async def test_down_is_said_once_and_up_again_too(
    tmp_path: Path, short_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_redis(short_folder)
    fill(server.client(), sessions=4)
    async with Counting(tmp_path, server.url, {"a": (SESSIONS, None), "b": (SESSIONS, None)}) as counting:
        assert await counting.counted("a") == (4, None)
        server.stop()
        for _ in range(3):
            assert await counting.census.count_once() == RETRY_SECONDS
        for name in ("a", "b"):
            assert counting.problem(name).startswith(f"127.0.0.1:{server.port}: it cannot be reached: ")
            assert counting.reading(name).sessions == 4
        assert [record.message for record in caplog.records if "redis" in record.message] == ["redis failed"]
        again = start_redis(short_folder, port=server.port)
        try:
            assert await counting.counted("b") == (0, None)
        finally:
            again.stop()
        said = [record.message for record in caplog.records if record.levelno >= logging.INFO]
        assert [text for text in said if "works again" in text] == ["redis works again"]


async def test_a_redis_that_stalls_is_given_up(tmp_path: Path) -> None:
    """A listener that takes the connection and the command, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with Counting(tmp_path, f"redis://127.0.0.1:{port}", answer_seconds=0.2) as counting:
            await counting.census.count_once()
            assert counting.problem() == f"127.0.0.1:{port}: no answer within 0.2 s"


async def test_a_redis_that_stops_in_the_middle_of_a_scan(tmp_path: Path, redis_server: RedisServer) -> None:
    fill(redis_server.client(), sessions=3000)
    async with Counting(tmp_path, redis_server.url, answer_seconds=0.3) as counting:
        assert await counting.counted() == (3000, 0)
        with redis_server.client() as client:
            client.execute_command("CLIENT PAUSE", 60_000, "ALL")
            await counting.census.count_once()
            assert counting.problem().endswith("no answer within 0.3 s")
            assert counting.reading().sessions == 3000


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_wrong_password_is_named_and_never_shown(
    tmp_path: Path, short_folder: Path, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    server = start_redis(short_folder, password=PASSWORD)
    try:
        fill(server.client(), sessions=2)
        user = f":{password}@" if password else ""
        async with Counting(tmp_path, f"redis://{user}127.0.0.1:{server.port}") as counting:
            await counting.census.count_once()
            assert counting.problem() == (
                f"127.0.0.1:{server.port}: it refuses the user or the password. Mend them in redis.url"
            )
        async with Counting(tmp_path, server.url) as counting:
            assert await counting.counted() == (2, 0)
        assert PASSWORD not in caplog.text
        assert "wrong" not in caplog.text
    finally:
        server.stop()


async def test_a_user_who_may_not_scan_is_told_what_to_allow(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL SETUSER medic on >secret ~* +ping +info")
        async with Counting(tmp_path, f"redis://medic:secret@127.0.0.1:{redis_server.port}") as counting:
            await counting.census.count_once()
            assert "Allow the user +scan, +info, +ttl and +ping" in counting.problem()
            assert "secret" not in counting.problem()
            client.execute_command("ACL SETUSER medic +scan +ttl")
            assert await counting.counted() == (0, 0)


async def test_something_else_listens_there(tmp_path: Path) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        async with Counting(tmp_path, f"redis://127.0.0.1:{listening.getsockname()[1]}") as counting:
            await counting.census.count_once()
            assert counting.problem()
        thread.join()
