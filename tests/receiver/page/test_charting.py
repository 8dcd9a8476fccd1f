"""Whatever Prometheus answers, a page has a chart or a sentence in its place."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import ServerName
from fleet.signals import SIGNALS, Severity, SignalName
from receiver.charting import MAX_CHARTS, Charting, levels_of
from receiver.events import IncidentId
from receiver.incident import Incident, SignalState
from receiver.prometheus import MAX_ANSWER_BYTES, Prometheus
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import World

STATE = SignalState(SignalName.ERROR_RATIO, Severity.CRITICAL, {}, 0.0, 0.0, 0.0)


def incident(*names: SignalName) -> Incident:
    signals = {name: replace(STATE, name=name) for name in names}
    return Incident(id=IncidentId("alpha-1"), number=1, server="alpha", opened_at=time.time() - 60, signals=signals)


def series(*values: object) -> bytes:
    found = [{"metric": {}, "values": each} for each in values]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": found}}).encode()


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (b"", "without JSON"),
        (b"[]", "refused a query"),
        (b'{"status": "error", "error": "<b>no</b>"}', "<b>no</b>"),
        (series([[1, "1"]], [[1, "2"]]), "2 series came back"),
        (series([["x", "1"]]), "no series"),
        (series([1, 2]), "no series"),
        (series("x"), "no series"),
        (b'{"status": "success", "data": {"result": [{}]}}', "no series"),
        (b'{"status": "success", "data": {"result": [7]}}', "no series"),
        (series(), "no value of it"),
        (series([]), "no value of it"),
        (series([[1, "NaN"], [2, "+Inf"]]), "no value of it"),
        (b" " * (MAX_ANSWER_BYTES + 1), "more than"),
    ],
)
async def test_an_answer_that_is_no_line_is_a_sentence(
    world: World, session: aiohttp.ClientSession, body: bytes, trouble: str
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/api/v1/query_range", answer)
        app.router.add_post("/api/v1/query", answer)
        charting = Charting(Prometheus(session, await serve(app, stack), time.time), time.time)
        server = world.settings().fleet.servers[ServerName("alpha")]
        (chart,) = await charting.charts(incident(SignalName.ERROR_RATIO), server)
    assert trouble in chart.trouble


async def test_no_more_charts_than_a_person_can_look_at(world: World, session: aiohttp.ClientSession) -> None:
    server = world.settings().fleet.servers[ServerName("alpha")]
    charting = Charting(Prometheus(session, world.prometheus.url, time.time), time.time)
    drawn = await charting.charts(incident(*SignalName), server)
    assert len(drawn) == MAX_CHARTS
    asked = world.prometheus.asked_ranges
    assert asked == MAX_CHARTS
    await charting.charts(incident(*SignalName), server)
    assert world.prometheus.asked_ranges == asked, "a moment ago is now, however many look"


async def test_every_signal_has_its_levels(world: World) -> None:
    server = world.settings().fleet.servers[ServerName("alpha")]
    assert all(levels_of(signal, server.thresholds) for signal in SIGNALS)
