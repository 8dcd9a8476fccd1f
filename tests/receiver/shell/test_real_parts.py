"""What the receiver asks and takes in, against a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import Address, ServerName
from fleet.lifecycle.outcome import Outcome
from fleet.signals import BY_NAME, Severity, SignalName
from receiver import verify
from receiver.actions.act import ActContext
from receiver.actions.table import ACTIONS
from receiver.charting import Charting
from receiver.events import ActId, ActIntended, IncidentId
from receiver.incident import Incident, SignalState
from receiver.page import figures
from receiver.prometheus import Prometheus
from stack import tools
from stack.ports import free_ports
from stack.processes import Processes, wait_ready
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import TOKEN, World, until, until_true

READY = 30.0
ERRORS = SignalName.ERROR_RATIO
DOWN = {SignalName.DOWN: SignalState(SignalName.DOWN, Severity.CRITICAL, {}, 0.0, 0.0, 0.0)}
_CALL = 'server="{server}",mcp_method_name="tools/call"'


class Scraped:
    """A target: each scrape shows two calls more of alpha, one of them failed, and a refusal more of beta."""

    def __init__(self) -> None:
        self.scrapes = 0

    async def metrics(self, _request: web.Request) -> web.Response:
        self.scrapes += 1
        calls, errors = 2 * self.scrapes, self.scrapes
        alpha = _CALL.format(server="alpha")
        lines = [
            'mcp_server_up{server="alpha"} 1',
            'mcp_server_up{server="beta"} 0',
            'mcp_server_resident_memory_max_bytes{server="alpha"} 123456789',
            'mcp_server_sessions{server="alpha"} 3',
            f'mcp_server_errors_total{{{alpha},error_type="tool_error"}} {errors}',
            f'mcp_server_operation_duration_seconds_count{{{alpha},error_type=""}} {calls - errors}',
            f'mcp_server_operation_duration_seconds_count{{{alpha},error_type="tool_error"}} {errors}',
            f'mcp_server_operation_duration_seconds_bucket{{{alpha},error_type="",le="2.0"}} 0',
            f'mcp_server_operation_duration_seconds_bucket{{{alpha},error_type="",le="3.0"}} {calls - errors}',
            f'mcp_server_operation_duration_seconds_bucket{{{alpha},error_type="",le="+Inf"}} {calls - errors}',
            f'mcp_server_cache_requests_total{{server="alpha"}} {4 * self.scrapes}',
            f'mcp_server_cache_hits_total{{server="alpha"}} {self.scrapes}',
            f'mcp_server_refused_total{{server="beta",reason="breaker"}} {self.scrapes}',
        ]
        return web.Response(text="\n".join(lines) + "\n")


_RULES = """
groups:
  - name: test
    rules:
      - {alert: McpServerDown, expr: mcp_server_up == 0, labels: {severity: critical, signal: down}}
      - {alert: McpWatchdog, expr: mcp_server_up == 1, labels: {severity: info}}
"""


@pytest.fixture
async def target() -> AsyncIterator[tuple[Scraped, str]]:
    async with contextlib.AsyncExitStack() as stack:
        scraped, app = Scraped(), web.Application()
        app.router.add_get("/metrics", scraped.metrics)
        yield scraped, (await serve(app, stack)).removeprefix("http://")


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with Processes(tmp_path) as started:
        yield started


@pytest.mark.prometheus
async def test_every_question_to_a_real_prometheus_has_the_right_answer(
    world: World,
    session: aiohttp.ClientSession,
    target: tuple[Scraped, str],
    processes: Processes,
    tmp_path: Path,
) -> None:
    scraped, listens = target
    (tmp_path / "test.rules.yml").write_text(_RULES)
    scrape = {"job_name": "mcp-exporter", "static_configs": [{"targets": [listens]}]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["test.rules.yml"],
        "scrape_configs": [scrape],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    address = Address("127.0.0.1", free_ports(1)[0])
    argv: list[str | Path] = [
        tools.find("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        f"--web.listen-address={address}", "--log.level=warn",
    ]  # fmt: skip
    program = await processes.start("prometheus", argv, tmp_path)
    await wait_ready(program, address, "/-/ready", READY)
    prometheus = Prometheus(session, address.url, time.time)
    await until_true(lambda: scraped.scrapes >= 7)

    assert abs(await prometheus.scrape_seconds("alpha") - 1.0) < 0.2
    expected = {
        SignalName.DOWN: 1.0,
        SignalName.ERROR_RATIO: 0.5,
        SignalName.MEMORY: 123456789.0,
        SignalName.RESPONSE_TIME: 2.95,
        SignalName.SESSIONS: 3.0,
        SignalName.CACHE_HIT_RATIO: 0.25,
    }
    for name, value in expected.items():
        measured = await verify.measure(prometheus, BY_NAME[name], "alpha", 5.0, time.time())
        assert measured.error == ""
        assert measured.value == pytest.approx(value), name
        assert measured.evidence is not None
        assert (measured.only_refusals, measured.suppressed) == (False, False)
    refusing = await verify.measure(prometheus, BY_NAME[ERRORS], "beta", 5.0, time.time())
    assert (refusing.value, refusing.only_refusals) == (None, True)

    async def beta_fires() -> list[str]:
        return await prometheus.firing_alerts("beta", SignalName)

    assert await until(beta_fires) == ["McpServerDown"]
    assert await prometheus.firing_alerts("alpha", SignalName) == []  # the watchdog speaks of no signal
    incident = Incident(id=IncidentId("beta-1"), number=1, server="beta", opened_at=0.0, signals=DOWN)
    assert await verify.alert_fires(prometheus, incident) is True
    assert await verify.alert_fires(prometheus, replace(incident, server="alpha")) is False

    server = world.settings().fleet.servers[ServerName("alpha")]
    intent = ActIntended(
        incident=IncidentId("alpha-1"), server="alpha", act=ActId("act-1"), action="evidence", signals=[]
    )
    context = ActContext(server, intent, world.folder / "control", prometheus)
    evidence = await ACTIONS["evidence"].perform(context)
    assert evidence.outcome is Outcome.SUCCEEDED
    assert "unanswered" not in evidence.findings
    assert evidence.findings["signals"]["down"] == 1.0

    signals = {name: replace(DOWN[SignalName.DOWN], name=name) for name in expected}
    drawn_of = replace(incident, server="alpha", opened_at=time.time() - 5.0, signals=signals)
    charts = await Charting(prometheus, time.time).charts(drawn_of, server)
    assert [(chart.name, chart.trouble, chart.last) for chart in charts] == [
        (name, "", figures.of_signal(name, value)) for name, value in expected.items()
    ]
    assert all(chart.paths for chart in charts)

    await program.stop()
    (chart,) = await Charting(prometheus, time.time).charts(incident, server)
    assert f"Prometheus at {address.url} cannot be reached" in chart.trouble
    assert await verify.alert_fires(prometheus, incident) is None
    gone = await verify.measure(prometheus, BY_NAME[ERRORS], "alpha", 5.0, time.time())
    assert gone.value is None
    assert f"Prometheus at {address.url} cannot be reached" in gone.error


async def alertmanager(processes: Processes, folder: Path, config: object, address: Address) -> str:
    """Start a real one and wait until it is ready; its URL."""
    file = folder / "alertmanager.yml"
    file.write_text(json.dumps(config))
    argv: list[str | Path] = [
        tools.find("alertmanager"), f"--config.file={file}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}", "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    await wait_ready(await processes.start("alertmanager", argv, folder), address, "/-/ready", READY)
    return address.url


def _posted(server: str, *, firing: bool = True) -> dict[str, object]:
    ends = datetime.now(UTC) + timedelta(minutes=5 if firing else -1)
    labels = {"alertname": "McpErrorRatioHigh", "server": server, "signal": ERRORS, "severity": "warning"}
    starts = datetime.now(UTC) - timedelta(minutes=10)
    return {"labels": labels, "startsAt": starts.isoformat(), "endsAt": ends.isoformat()}


@pytest.mark.alertmanager
async def test_a_real_alertmanager_delivers_is_read_and_its_silences_hold(
    world: World, start: Start, session: aiohttp.ClientSession, processes: Processes, tmp_path: Path
) -> None:
    address, listens = (Address("127.0.0.1", port) for port in free_ports(2))
    (tmp_path / "token").write_text(TOKEN)
    credentials = {"authorization": {"credentials_file": str(tmp_path / "token")}}
    webhook = {"url": f"{listens.url}/api/v1/alerts", "send_resolved": True, "http_config": credentials}
    route = {"receiver": "remediator", "group_by": ["server"], "group_wait": "0s", "group_interval": "1s"}
    config = {"route": route, "receivers": [{"name": "remediator", "webhook_configs": [webhook]}]}
    world.alertmanager.url = await alertmanager(processes, tmp_path, config, address)
    world.listen = str(listens)

    async def tell(path: str, body: object) -> None:
        async with session.post(f"{address.url}/api/v2/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    now = datetime.now(UTC)
    matcher = {"name": "server", "value": "beta", "isRegex": False, "isEqual": True}
    silence = {"matchers": [matcher], "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
               "createdBy": "a person", "comment": "being worked on"}  # fmt: skip
    await tell("silences", silence)
    await tell("alerts", [_posted("beta")])

    async with start() as client:  # beta is active, but silenced

        async def read_once() -> bool:
            return await client.metric('mcp_remediation_reconciles_total{result="unchanged"}') == 1

        await until(read_once)
        await tell("alerts", [_posted("alpha")])
        opened = await until(client.incidents)
        assert [one["server"] for one in opened] == ["alpha"]
        first = (await client.events(opened[0]["id"]))[0]
        assert first["via"] == "webhook"
        assert first["alerts"][0]["fingerprint"]
        await tell("alerts", [_posted("alpha", firing=False)])

        async def ended() -> bool:
            return not (await client.incidents())[0]["firing"]

        await until(ended)

        # Reconciling may have seen the end first; the delivery comes all the same.
        async def both_delivered() -> bool:
            return await client.metric('mcp_remediation_webhooks_total{result="accepted"}') == 2

        await until(both_delivered)
        assert [one["server"] for one in await client.incidents()] == ["alpha"]


@pytest.mark.alertmanager
async def test_what_a_real_alertmanager_holds_is_found_when_its_webhook_was_lost(
    world: World, start: Start, session: aiohttp.ClientSession, processes: Processes, tmp_path: Path
) -> None:
    address = Address("127.0.0.1", free_ports(1)[0])
    config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    world.alertmanager.url = await alertmanager(processes, tmp_path, config, address)
    world.timing = replace(world.timing, reconcile_seconds=0.2)
    async with start() as client:
        for firing in (True, False):
            async with session.post(f"{address.url}/api/v2/alerts", json=[_posted("beta", firing=firing)]) as answer:
                assert answer.status == 200

            async def told(firing: bool = firing) -> bool:
                found = await client.incidents()
                return bool(found) and bool(found[0]["firing"]) is firing

            await until(told)
        deliveries = [event for event in await client.events((await client.incidents())[0]["id"])
                      if event["kind"] == "delivered"]  # fmt: skip
        assert [event["via"] for event in deliveries] == ["reconcile", "reconcile"]
