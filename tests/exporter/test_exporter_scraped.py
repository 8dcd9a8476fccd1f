"""A real Prometheus scrapes the exporter and sees what was pushed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from exporter.app import Running
from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from fleet.telemetry import Cache, Sessions, encode
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import find
from tests.exporter.fleets import body, operations

pytestmark = pytest.mark.prometheus
WITHIN = 60.0


@pytest.fixture
async def prometheus(tmp_path: Path, exporter: Running) -> AsyncIterator[Address]:
    """A Prometheus that scrapes ``exporter`` five times a second."""
    configuration = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "mcp-exporter", "static_configs": [{"targets": [str(exporter.address)]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
    address = Address(LOOPBACK, free_ports(1)[0])
    argv: list[str | Path] = [
        find("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    async with Processes(tmp_path) as processes:
        program = await processes.start("prometheus", argv, tmp_path)
        await wait_ready(program, address, "/-/ready", WITHIN)
        yield address


async def asked(prometheus: Address, expression: str) -> float | None:
    """The one value of an instant query; None when there is none yet."""
    try:
        answer = await request(prometheus, "GET", f"/api/v1/query?query={quote(expression, safe='')}")
    except MedicError:
        return None
    result = json.loads(answer.body)["data"]["result"]
    return float(result[0]["value"][1]) if len(result) == 1 else None


async def becomes(prometheus: Address, expression: str, value: float) -> bool:
    async def holds() -> bool:
        return await asked(prometheus, expression) == value

    return await poll(holds, WITHIN)


async def push(client: ClientSession, source: str, calls: int) -> None:
    pushed = body(
        source,
        operations=[operations(calls), operations(1, error="tool_error")],
        cache=Cache(requests=calls, hits=calls),
        sessions=Sessions(active=2),
    )
    path, headers = "/telemetry/v1/servers/codex", {"Content-Type": "application/json"}
    async with client.post(path, data=encode(pushed), headers=headers) as answer:
        assert answer.status == 204


async def test_prometheus_reads_every_series_and_sums_never_dip(
    prometheus: Address, exporter: Running, client: ClientSession
) -> None:
    assert await becomes(prometheus, "mcp_server_errors_total{server='codex',error_type='tool_error',"
                                     "mcp_method_name='tools/call'}", 0)  # fmt: skip
    for calls in (5, 6, 3, 9):
        # The push of 3 comes late: it was sent before the one of 6.
        await push(client, "a", calls)
        await push(client, "b", calls)
        assert await becomes(
            prometheus, "mcp_server_cache_requests_total{server='codex'}", 2 * (6 if calls == 3 else calls)
        )
    calls_ = "mcp_server_operation_duration_seconds_count{server='codex',error_type=''}"
    assert await becomes(prometheus, calls_, 18)
    assert await asked(prometheus, "resets(mcp_server_cache_requests_total{server='codex'}[5m])") == 0
    assert await asked(prometheus, "resets(mcp_server_operation_duration_seconds_count{error_type=''}[5m])") == 0
    assert await asked(prometheus, "mcp_server_errors_total{error_type='tool_error',mcp_method_name='tools/call',"
                                   "server='codex'}") == 2  # fmt: skip
    assert await asked(prometheus, "mcp_server_sessions") == 4
    assert await asked(prometheus, "mcp_threshold_error_ratio{server='codex',severity='critical'}") == 0.05
    assert await asked(prometheus, "count(mcp_server_up == 1)") == 2
    assert await asked(prometheus, "min_over_time(up{job='mcp-exporter'}[5m])") == 1
    assert await asked(prometheus, "scrape_samples_scraped - scrape_samples_post_metric_relabeling") == 0
    targets = json.loads((await request(prometheus, "GET", "/api/v1/targets")).body)["data"]["activeTargets"]
    assert [target["lastError"] for target in targets] == [""]
