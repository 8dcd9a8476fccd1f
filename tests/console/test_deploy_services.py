"""``deploy`` beside a receiver that is busy, paused, strange or shut, and a Prometheus that goes away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.deploying.reports import Deployed, Result
from tests.console.deploying_alone import new, reported, telling
from tests.console.diagnosing import fleet_file, stdio_entry
from tests.console.spoken import spoken


@dataclass
class Receiver:
    """A receiver's API: what it says of codex, one answer after the other, and what it is told."""

    states: list[dict[str, object]]
    known: bool = True
    refuses: int = 0
    changes: bool = True
    posts: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    async def servers(self, _: web.Request) -> web.Response:
        if self.refuses:
            return web.json_response({"error": "who are you?"}, status=self.refuses)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return web.json_response({"paused": False, "servers": [{"name": "codex", **state}] if self.known else []})

    async def post(self, request: web.Request) -> web.Response:
        self.posts.append(request.path.removeprefix("/api/v1/"))
        self.told = await request.json()
        return web.json_response({"changed": self.changes}, status=201 if "deployments" in request.path else 200)


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    application = web.Application()
    application.add_routes(routes)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


async def with_receiver(folder: Path, receiver: Receiver) -> tuple[int, Deployed]:
    routes = [web.get("/api/v1/servers", receiver.servers), web.post("/api/v1/{path:.+}", receiver.post)]
    async with serving(*routes) as url:
        entry = stdio_entry(deploy={"first_response_seconds": 60})
        return await reported(fleet_file(folder, entry, receiver={"url": url}))


async def test_an_act_of_the_receiver_is_waited_for(tmp_path: Path) -> None:
    acting = {"paused": False, "state": "acting"}
    receiver = Receiver([acting, acting, acting, {"paused": True, "state": "observing"}])
    code, report = await with_receiver(tmp_path, receiver)
    assert (code, report.result, report.posted) == (0, Result.DONE, True), report
    assert receiver.states == [{"paused": True, "state": "observing"}]
    assert receiver.posts == ["pause", "resume", "servers/codex/deployments"]
    assert receiver.told["outcome"] == "done"
    assert set(receiver.told["phases"]) == {"checks", "start", "integration"}


@pytest.mark.parametrize(
    ("receiver", "posts"),
    [
        (Receiver([{"paused": True, "state": None}]), []),
        # A person was faster by a moment.
        (Receiver([{"paused": False, "state": None}], changes=False), ["pause"]),
        (Receiver([{}], known=False), []),
    ],
)
async def test_a_pause_that_is_not_its_own_is_left_alone(tmp_path: Path, receiver: Receiver, posts: list[str]) -> None:
    code, report = await with_receiver(tmp_path, receiver)
    assert (code, report.result) == (0, Result.DONE), report
    assert receiver.posts == [*posts, "servers/codex/deployments"]


async def test_a_receiver_that_may_not_be_asked_would_treat_the_server_meanwhile(tmp_path: Path) -> None:
    code, report = await with_receiver(tmp_path, Receiver([{}], refuses=401))
    assert (code, report.result, report.changed) == (1, Result.ROLLED_BACK, False)
    assert "who are you? (401)" in report.detail


async def test_a_prometheus_that_goes_away_is_gone_back_from(tmp_path: Path) -> None:
    async def query(request: web.Request) -> web.Response:
        if "time()" in str((await request.post())["query"]):
            return web.Response(status=503)
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}})

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    async with serving(web.get("/-/ready", ready), web.post("/api/v1/query", query)) as url:
        with telling(tmp_path) as file:
            document = json.loads(file.read_text()) | {"prometheus": {"url": url}}
            file.write_text(json.dumps(document))
            new_one = new(tmp_path, "two")
            told = await spoken("deploy", "codex", "--yes", "--json", "--config", file, "--config-from", new_one)
    report = msgspec.json.decode(told.out, type=Deployed)
    assert (told.code, report.result, report.changed) == (3, Result.ROLLED_BACK, True), report
    assert [(gap.service, gap.missing) for gap in report.unreachable] == [("Prometheus", "whether monitoring sees it")]
    assert "old one" in (tmp_path / "codex.toml").read_text()
