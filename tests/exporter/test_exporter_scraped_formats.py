"""A real Prometheus reads the same from both formats, and the exemplars from OpenMetrics."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from exporter.app import Running
from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from fleet.telemetry import Exemplar, encode
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import find
from tests.exporter.fleets import body, operations

pytestmark = pytest.mark.prometheus
WITHIN = 60.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def plain(exporter: Running) -> AsyncIterator[TestServer]:
    """The exporter for those who know only the text format: this version of Prometheus always prefers OpenMetrics."""

    async def relay(_request: web.Request) -> web.Response:
        async with (
            ClientSession(exporter.address.url) as session,
            session.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"}) as answer,
        ):
            assert answer.content_type == "text/plain"
            return web.Response(body=await answer.read(), headers={"Content-Type": answer.headers["Content-Type"]})

    app = web.Application()
    app.add_routes([web.get("/metrics", relay)])
    server = TestServer(app)
    async with server:
        yield server


@pytest.fixture
async def prometheus(tmp_path: Path, exporter: Running, plain: TestServer) -> AsyncIterator[Address]:
    """A Prometheus that scrapes the exporter in both formats, with honest names for the two jobs."""
    targets = {"openmetrics": str(exporter.address), "plain": f"{plain.host}:{plain.port}"}
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target], "labels": {"instance": "exporter"}}]}
            for job, target in targets.items()
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
    address = Address(LOOPBACK, free_ports(1)[0])
    argv: list[str | Path] = [
        find("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        "--enable-feature=exemplar-storage", f"--web.listen-address={address}",
    ]  # fmt: skip
    async with Processes(tmp_path) as processes:
        program = await processes.start("prometheus", argv, tmp_path)
        await wait_ready(program, address, "/-/ready", WITHIN)
        yield address


async def queried(prometheus: Address, expression: str) -> list[dict[str, Any]]:
    """The samples of an instant query; none while it cannot be asked."""
    try:
        answer = await request(prometheus, "GET", f"/api/v1/query?query={quote(expression, safe='')}")
    except MedicError:
        return []
    found: list[dict[str, Any]] = json.loads(answer.body)["data"]["result"]
    return found


async def exemplars(prometheus: Address) -> list[tuple[str, str]]:
    """Trace id and bucket of every exemplar that the job ``openmetrics`` stored."""
    query = quote('mcp_server_operation_duration_seconds_bucket{job="openmetrics"}', safe="")
    now = time.time()
    answer = await request(
        prometheus, "GET", f"/api/v1/query_exemplars?query={query}&start={now - 600:.0f}&end={now + 600:.0f}"
    )
    return [
        (exemplar["labels"]["trace_id"], series["seriesLabels"]["le"])
        for series in json.loads(answer.body)["data"]
        for exemplar in series["exemplars"]
    ]


async def test_both_formats_are_the_same_to_prometheus(prometheus: Address, client: ClientSession) -> None:
    seen = Exemplar(value=0.3, trace_id=TRACE, at=round(time.time(), 3))
    pushed = body(operations=[operations(3, exemplars=[seen]), operations(1, error="tool_error")])
    path, headers = "/telemetry/v1/servers/codex", {"Content-Type": "application/json"}
    async with client.post(path, data=encode(pushed), headers=headers) as answer:
        assert answer.status == 204

    async def equal() -> bool:
        by_job: dict[str, dict[tuple[tuple[str, str], ...], str]] = {"openmetrics": {}, "plain": {}}
        for sample in await queried(prometheus, '{__name__=~"mcp_(server|threshold)_.*"}'):
            labels = dict(sample["metric"])
            by_job[labels.pop("job")][tuple(sorted(labels.items()))] = sample["value"][1]
        names = {dict(labels)["__name__"] for labels in by_job["plain"]}
        return "mcp_server_operation_duration_seconds_bucket" in names and by_job["openmetrics"] == by_job["plain"]

    assert await poll(equal, WITHIN)
    assert await queried(prometheus, "up == 0") == []

    async def stored() -> bool:
        return await exemplars(prometheus) != []

    assert await poll(stored, WITHIN)
    assert set(await exemplars(prometheus)) == {(TRACE, "0.5")}
