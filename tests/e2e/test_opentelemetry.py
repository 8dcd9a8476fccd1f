"""A Prometheus that knows nothing of us but the rules, and servers that measure themselves with OpenTelemetry.

deploy/prometheus-otel.yml as it is, with other addresses and at a faster pace: one server is ill and scraped by
itself, the other is well and comes as if through a collector.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleet.inventory import Address
from stack import derived, tools
from stack.derived import Pace
from stack.peers import PrometheusApi
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready

pytest.importorskip("opentelemetry.exporter.prometheus", reason="opentelemetry-exporter-prometheus is not installed")
pytestmark = [pytest.mark.prometheus, pytest.mark.end_to_end, pytest.mark.mcp_server]

PACE = Pace(factor=30, scrape_seconds=1)
SERVER = Path(__file__).with_name("otel_server.py")
ILL, WELL = "my-mcp-server", "library"
EXPECTED = {
    ("McpResponseTimeHigh", ILL, "warning"), ("McpResponseTimeHigh", ILL, "critical"),
    ("McpErrorRatioHigh", ILL, "warning"), ("McpErrorRatioHigh", ILL, "critical"),
    ("McpWatchdog", "", "info"),
}  # fmt: skip


def written(folder: Path, jobs: dict[str, Address]) -> Path:
    """The shipped example and the shipped rules for this test."""
    shipped = (tools.PROJECT / "rules" / "mcp-medic.rules.yml").read_text(encoding="utf-8")
    rules = folder / "mcp-medic.rules.yml"
    rules.write_text(derived.rules_of(shipped, PACE), encoding="utf-8")
    example = (tools.PROJECT / "deploy" / "prometheus-otel.yml").read_text(encoding="utf-8")
    file = folder / "prometheus.yml"
    file.write_text(derived.prometheus_of(example, jobs, [str(rules)], PACE), encoding="utf-8")
    return file


async def firing(api: PrometheusApi) -> set[tuple[str, str, str]]:
    samples = await api.query('ALERTS{alertstate="firing"}')
    return {(labels["alertname"], labels.get("server", ""), labels["severity"]) for labels, _ in samples}


async def threshold(api: PrometheusApi, name: str, server: str) -> dict[str, float]:
    samples = await api.query(f'mcp:threshold_{name}{{server="{server}"}}')
    return {labels["severity"]: value for labels, value in samples}


@pytest.mark.timeout(240)
async def test_servers_that_report_by_opentelemetrys_names_are_judged_by_the_tables_defaults(tmp_path: Path) -> None:
    ill, well, address, nobody = (Address(LOOPBACK, port) for port in free_ports(4))
    jobs = {"my-mcp-server": ill, "otel-collector": well, "alertmanager": nobody}
    api = PrometheusApi(address)
    async with Processes(tmp_path) as processes:
        await processes.start("ill", [sys.executable, SERVER, str(ill.port), "of-the-ill", "--ill"], tmp_path)
        await processes.start("well", [sys.executable, SERVER, str(well.port), WELL], tmp_path)
        program = await processes.start(
            "prometheus",
            [
                tools.find("prometheus"), f"--config.file={written(tmp_path, jobs)}",
                f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}", "--log.level=error",
            ],
            tmp_path,
        )  # fmt: skip
        await wait_ready(program, address, "/-/ready", 60)
        seen: set[tuple[str, str, str]] = set()

        async def all_fire() -> bool:
            seen.update(await firing(api))
            return seen >= EXPECTED

        assert await poll(all_fire, 150, every=0.5), (seen, await api.query("mcp:evidence_response_time"))
        # And no other: not for the one that is well, and none of those for people.
        assert seen == EXPECTED
        (calls,) = [value for labels, value in await api.query("mcp:evidence_error_ratio") if labels["server"] == WELL]
        assert calls > 10
        for server in (ILL, WELL):
            assert await threshold(api, "response_time_seconds", server) == {"warning": 3, "critical": 5}
            assert await threshold(api, "error_ratio", server) == {"warning": 0.02, "critical": 0.05}
