"""What answers is not what was asked for: each command says so in a sentence, and what it can say without."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.reading import asked_alerts, asked_criteria, asked_metrics, asked_performance, asked_review, asked_security
from console.reading.incidents import listed
from fleet.errors import PermanentError
from tests.console.conftest import Desks
from tests.console.past import DAY

STRANGE: list[Any] = [
    {},
    [],
    "text",
    {"status": "success"},
    {"status": "success", "data": None},
    {"status": "success", "data": {"result": [1, None]}},
    {"status": "success", "data": {"result": [{"metric": 1, "value": [1, "x"]}]}},
    {"status": "success", "data": {"result": [{"metric": {}, "value": [1, "soon"], "values": [[1]]}]}},
    {"status": "success", "data": {"groups": [{}]}},
    {"incidents": [{"id": 1}], "incident": {}, "events": 3},
    {"incidents": None},
    [1, {"labels": None}],
]


@asynccontextmanager
async def answering(body: Any) -> AsyncIterator[str]:
    """The URL of something that gives one answer to every question."""

    async def same(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps(body), content_type="application/json")

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", same)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("body", STRANGE, ids=lambda body: json.dumps(body)[:60])
async def test_each_command_says_what_it_cannot(body: Any, desks: Desks) -> None:
    async with answering(body) as url:
        desk = await desks(url, url, url)
        reports = [
            await asked_performance.performance(desk, None, trend=True),
            await asked_metrics.metrics(desk, None, DAY, detailed=True, planning=True),
            await asked_alerts.alerts(desk, None),
            await asked_alerts.history(desk, None, DAY),
            await asked_criteria.report(desk, None),
            await asked_review.review(desk, None, 7 * DAY),
            await asked_security.security(desk, None),
        ]
    for report in reports:
        assert report.unreachable
        assert {gap.address for gap in report.unreachable} == {url}


@pytest.mark.parametrize("body", STRANGE, ids=lambda body: json.dumps(body)[:60])
async def test_incidents_of_something_else_are_refused(body: Any, desks: Desks) -> None:
    async with answering(body) as url:
        desk = await desks(receiver=url)
        with pytest.raises(PermanentError, match="the receiver at"):
            listed(await desk.receiver.incidents())
        with pytest.raises(PermanentError, match="the receiver at"):
            await desk.receiver.incident("codex-1")
