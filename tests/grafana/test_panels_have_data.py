"""Every panel's query asked of a real Prometheus that runs the rules over series of every published family."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.metrics import FAMILIES, Family, Kind
from fleet.control_client import request
from fleet.inventory import Address
from grafana.generate import DASHBOARDS
from receiver.metrics import Metrics
from receiver.vocabulary import Verdict
from rules.generate import RULES_FILE, rendered
from rules.scale import scaled
from stack.peers import PrometheusApi
from stack.ports import free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import find

pytestmark = pytest.mark.prometheus

FACTOR: Final = 3600
"""An hour becomes the least that can be judged, a week three minutes: also what looks back far has data soon."""

VARIABLES: Final = {"$__rate_interval": "10s", "$server": ".*", "$job": ".*", "$instance": ".*", "$tool": ".*"}

LABEL_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "mcp_method_name": ("tools/call",),
    "gen_ai_tool_name": ("lookup",),
    "error_type": ("", "tool_error"),
    "severity": ("warning", "critical"),
    "state": ("closed", "half_open", "open"),
    "phase": ("initialize",),
    "key": ("enable_response_caching",),
}
"""Values that panels select by; any other label has the value ``some``."""


ILL: Final = frozenset({"mcp_server_up", "mcp_server_security_check"})
"""These are 0, so that a critical alert and a warning fire."""

OF_OTHERS: Final = """
mcp_baseline_cost_usd_per_hour{server="a"} 50000
mcp_baseline_response_time_seconds{server="a"} 1
mcp_remediation_deploy_seconds{server="a",phase="start"} 20
"""
"""What neither program publishes: a baseline, a deployment."""


def exporter_page(seconds: float) -> str:
    """An exposition in which every family of the exporter has series; counters grow by 10 a second."""
    lines = [line for family in FAMILIES for line in _series(family, round(seconds * 10))]
    failed = f'alertmanager_notifications_failed_total{{integration="webhook"}} {round(seconds)}'
    return "\n".join([*lines, failed]) + OF_OTHERS


def _series(family: Family, total: int) -> list[str]:
    names = (*(("server",) if family.per_server else ()), *family.labels)
    choices = [("a",) if name == "server" else LABEL_VALUES.get(name, ("some",)) for name in names]
    lines: list[str] = []
    for values in product(*choices):
        labels = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
        if family.kind is Kind.HISTOGRAM:
            comma = "," if labels else ""
            lines += [
                f'{family.name}_bucket{{{labels}{comma}le="{bound}"}} {total}' for bound in (*family.bounds, "+Inf")
            ]
            lines += [f"{family.name}_count{{{labels}}} {total}", f"{family.name}_sum{{{labels}}} {total}"]
        elif family.kind is Kind.COUNTER:
            lines.append(f"{family.name}{{{labels}}} {total}")
        else:
            lines.append(f"{family.name}{{{labels}}} {0 if family.name in ILL else 1}")
    return lines


def count_everything(metrics: Metrics) -> None:
    """Let each of the receiver's counters grow."""
    metrics.webhooks.labels("accepted").inc()
    metrics.actions.labels("a", "restart", "succeeded").inc()
    metrics.denied.labels("cooldown").inc()
    for verdict in Verdict:
        metrics.verdicts.labels("error_ratio", verdict).inc()
    metrics.time_to_act.observe(3)
    metrics.time_to_heal.observe(30)
    metrics.reconciles.labels("changed").inc()
    metrics.escalations.labels("ladder_exhausted").inc()
    metrics.manual_actions.inc()
    metrics.worker_errors.inc()


def programs() -> web.Application:
    """The two programs' /metrics in one: /exporter and /receiver."""
    started = time.monotonic()
    metrics = Metrics(["a"], ["evidence", "restart"], ["waiting", "escalated"])

    async def exporter(_: web.Request) -> web.Response:
        return web.Response(text=exporter_page(time.monotonic() - started))

    async def receiver(_: web.Request) -> web.Response:
        count_everything(metrics)
        return web.Response(body=metrics.exposition({"a": "waiting"}), content_type="text/plain")

    application = web.Application()
    application.add_routes([web.get("/exporter", exporter), web.get("/receiver", receiver)])
    return application


def prometheus_configuration(targets: Address) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["fast.rules.yml"],
        "scrape_configs": [
            {
                "job_name": f"mcp-{name}",
                "metrics_path": f"/{name}",
                "static_configs": [{"targets": [str(targets)]}],
            }
            for name in ("exporter", "receiver")
        ],
    }


def queries() -> dict[str, str]:
    """Each query of each dashboard by where it stands, its variables filled in."""
    found: dict[str, str] = {}
    for file in DASHBOARDS.glob("*.json"):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                found[f"{dashboard['uid']}: {panel['title']} {target['refId']}"] = target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            found[f"annotation {annotation['name']}"] = annotation["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found[f"variable {variable['name']}"] = _selector(variable["definition"])
    for variable, value in VARIABLES.items():
        found = {place: expression.replace(variable, value) for place, expression in found.items()}
    assert not [expression for expression in found.values() if "$" in expression]
    return found


def _selector(definition: str) -> str:
    return definition.removeprefix("label_values(").rpartition(", ")[0]


def quick_rules() -> dict[str, Any]:
    """The shipped rules with their windows divided, each group evaluated once a second."""
    rules = scaled(yaml.safe_load(RULES_FILE.read_text(encoding="utf-8")), FACTOR, 1)
    return {"groups": [{**group, "interval": "1s"} for group in rules["groups"]]}


async def test_every_query_of_every_dashboard_yields_data(tmp_path: Path) -> None:
    (tmp_path / "fast.rules.yml").write_text(rendered(quick_rules()), encoding="utf-8")
    (port,) = free_ports(1)
    address = Address("127.0.0.1", port)
    async with TestServer(programs(), host="127.0.0.1") as server, Processes(tmp_path) as processes:
        configuration = prometheus_configuration(Address("127.0.0.1", server.port or 0))
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        prometheus = await processes.start(
            "prometheus",
            [
                find("prometheus"),
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            tmp_path,
        )
        await wait_ready(prometheus, address, "/-/ready", 30)
        missing = queries()
        # A wrong expression is an error of the query and ends the test at once; data needs its windows to fill.
        assert len(missing) > 150

        async def all_have_data() -> bool:
            for place, expression in list(missing.items()):
                if await PrometheusApi(address).query(expression):
                    del missing[place]
            return not missing

        assert await poll(all_have_data, within=120, every=1), sorted(missing)
        health = json.loads((await request(address, "GET", "/api/v1/rules", timeout=5)).body)
        unwell = [r["name"] for g in health["data"]["groups"] for r in g["rules"] if r["health"] != "ok"]
        assert not unwell
