"""What people and their tools ask for: the page, health, /config, /sd."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from exporter.app import Running, running
from exporter.discovery import groups
from exporter.effective import effective
from exporter.facts import Gauges, Held, HeldSource, PushResult, ServerFacts, SourceState
from exporter.health import ailments, awaited_reads
from exporter.landing import POLICY, Row, ago, page, rows
from exporter.quantities import Totals
from exporter.readings import Era, ProbeReading, ProcessReading, SourceName
from exporter.settings import Settings, settings_of
from exporter.snapshot import Facts
from fleet.control_client import request
from fleet.inventory import Address, ServerName, Transport
from fleet.loading import load_fleet
from fleet.telemetry import encode
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import PROJECT, ToolMissingError, find
from tests.exporter.fleets import CODEX, make_fleet, operations
from tests.exporter.fleets import body as push_body
from tests.exporter.test_probe_source import faked

SECRETS = {
    "SERVER_TOKEN": "tok-1",
    "REDIS_PASSWORD": "red-2",
    "MY_PASSWORD": "pass-3",
    "DATABASE_URL": "postgres://me:data-4@db/x",
    "PLAIN_ENV": "env-value-5",
}
SECRET_FLEET = """\
redis: {url: "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/0"}
exporter: {listen: 127.0.0.1:9847, telemetry_token_file: token}
receiver: {authentication: {bearer_token_files: [token]}}
servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
    command: [node, server.js, --token, argv-6, --api-key=argv-7, --db, "${DATABASE_URL}", --verbose, "${SERVER_TOKEN}"]
    env: {NODE_ENV: production-8, API_KEY: "${PLAIN_ENV}"}
    restart: {via: command, argv: [restart, "--password=argv-9"]}
    probe: {tool: echo, arguments: {key: arg-10, deep: {inner: [arg-11]}}}
    tool_metrics: [{tool: m, arguments: {a: arg-12}, map: {mcp_server_sessions: s}}]
    sessions: {redis_pattern: "mcp:session:*"}
    audit_log: {path: audit.log, arguments: true}
    logs: [{path: app.log, format: json, fields: {tool: "${MY_PASSWORD}"}}]
  - {name: piped, transport: stdio, command: [cat]}
"""
HIDDEN = (
    *("tok-1", "red-2", "pass-3", "data-4", "env-value-5", "argv-6", "argv-7", "production-8", "argv-9"),
    *("arg-10", "arg-11", "arg-12", "the-token-itself"),
)


def secret_fleet(folder: Path) -> Path:
    (folder / "token").write_text("the-token-itself\n")
    file = folder / "fleet.yml"
    file.write_text(SECRET_FLEET)
    return file


def test_config_shows_everything_but_secrets(tmp_path: Path) -> None:
    text = effective(load_fleet(secret_fleet(tmp_path), SECRETS), SECRETS)
    for secret in HIDDEN:
        assert secret not in text
    shown = yaml.safe_load(text)
    assert shown["redis"] == {"url": "<secret>"}
    assert shown["exporter"]["listen"] == "127.0.0.1:9847"
    server = shown["servers"][0]
    assert server["name"] == "codex"
    assert server["env"] == {"NODE_ENV": "<secret>", "API_KEY": "<secret>"}
    assert server["command"][:5] == ["node", "server.js", "--token", "<secret>", "--api-key=<secret>"]
    assert server["audit_log"] == {"path": str(tmp_path / "audit.log"), "arguments": True}
    assert server["sessions"] == {"redis_pattern": "mcp:session:*"}
    assert server["thresholds"]["response_time_seconds"] == {"warning": 3.0, "critical": 5.0}, "defaults are shown too"
    assert shown["servers"][1] == {**shown["servers"][1], "name": "piped", "transport": "stdio", "command": ["cat"]}


@given(st.text("abcdefghijklmnop-", min_size=6, max_size=20))
def test_no_value_of_an_environment_is_ever_shown(tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
    secret = f"zz{secret}"
    environ = {"SOME_TOKEN": secret}
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(
        "servers: [{name: codex, transport: http, url: 'http://127.0.0.1:1/mcp', env: {A: '${SOME_TOKEN}'},"
        " command: ['x${SOME_TOKEN}y', '${SOME_TOKEN}'], working_directory: '/${SOME_TOKEN}',"
        " restart: {via: gateway}}]"
    )
    assert secret not in effective(load_fleet(file, environ), environ)


@pytest.fixture
async def running_secrets(tmp_path: Path) -> AsyncIterator[Running]:
    fleet = load_fleet(secret_fleet(tmp_path), SECRETS)
    settings = settings_of(fleet, Address("127.0.0.1", 0), SECRETS)
    settings = replace(settings, door=replace(settings.door, tokens=()))
    async with running(replace(fleet, redis_url=""), settings, sources=()) as exporter:
        yield exporter


async def test_nothing_that_is_served_shows_a_secret(running_secrets: Running) -> None:
    async with ClientSession(running_secrets.address.url) as client:
        for path in ("/config", "/", "/sd", "/metrics", "/-/ready", "/probe?target=codex&debug=true"):
            async with client.get(path) as answer:
                assert answer.status == 200
                text = await answer.text()
            assert not [secret for secret in HIDDEN if secret in text], path
        async with client.get("/config") as answer:
            assert answer.content_type == "text/plain"
            assert answer.headers["Cache-Control"] == "no-store"
            assert yaml.safe_load(await answer.text())["servers"][0]["name"] == "codex"


def test_a_group_for_each_server_that_has_a_url(tmp_path: Path) -> None:
    fleet = load_fleet(secret_fleet(tmp_path), SECRETS)
    assert groups(fleet.servers.values(), "https://exporter.example:9847") == [
        {
            "targets": ["exporter.example:9847"],
            "labels": {
                "__scheme__": "https",
                "__metrics_path__": "/probe",
                "__param_target": "codex",
                "server": "codex",
                "__meta_mcp_medic_url": "http://127.0.0.1:3001/mcp",
                "__meta_mcp_medic_transport": "http",
                "__meta_mcp_medic_probe": "true",
            },
        }
    ]


@pytest.mark.prometheus
async def test_a_real_prometheus_discovers_and_probes_as_documented(tmp_path: Path) -> None:
    try:
        prometheus = find("prometheus")
    except ToolMissingError as error:
        pytest.skip(str(error))
    documented = (PROJECT / "docs" / "exporter-web.md").read_text()
    example = documented.split("<!-- scrape config -->")[1].split("```")[1].removeprefix("yaml\n")
    async with faked() as (_, url):
        file = tmp_path / "fleet.yml"
        file.write_text(
            f"servers: [{{name: codex, transport: http, url: '{url}'}},"
            " {name: gone, transport: http, url: 'http://127.0.0.1:1/mcp'}]"
        )
        fleet = load_fleet(file, {})
        async with running(fleet, settings_of(fleet, Address("127.0.0.1", 0)), sources=()) as exporter:
            written = yaml.safe_load(example.replace("127.0.0.1:9847", str(exporter.address)))
            for job in written["scrape_configs"]:
                job["scrape_interval"], job["scrape_timeout"] = "500ms", "500ms"
            (tmp_path / "prometheus.yml").write_text(json.dumps(written))
            address = Address(LOOPBACK, free_ports(1)[0])
            argv: list[str | Path] = [
                prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ]  # fmt: skip
            async with Processes(tmp_path) as processes:
                program = await processes.start("prometheus", argv, tmp_path)
                await wait_ready(program, address, "/-/ready", 60)

                async def probed() -> bool:
                    query = "/api/v1/query?query=mcp_probe_success%7Bphase%3D%22all%22%7D"
                    found = json.loads((await request(address, "GET", query)).body)["data"]["result"]
                    values = {each["metric"].get("server"): float(each["value"][1]) for each in found}
                    return values == {"codex": 1.0, "gone": 0.0}

                assert await poll(probed, 60)


async def test_healthy_fails_when_a_task_died(exporter: Running) -> None:
    async with ClientSession(exporter.address.url) as client:
        async with client.get("/-/healthy") as answer:
            assert (answer.status, await answer.text()) == (200, "healthy\n")
        for task in exporter.tasks._eternal.copy():
            if task.get_name() == "exporter:process:codex":
                task.cancel()
        async with client.get("/-/healthy") as answer:
            assert answer.status == 503
            assert await answer.text() == "unhealthy: the task exporter:process:codex ended\n"
        async with client.get("/") as answer:
            assert "the task exporter:process:codex ended" in await answer.text()


async def test_healthy_fails_while_the_store_is_stuck(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def hang(*_: object) -> None:
        goes_on.wait(60)

    monkeypatch.setattr("exporter.keeper.WRITE_SECONDS", 0.05)
    monkeypatch.setattr("exporter.state.StateFile.save", hang)
    async with (
        running(make_fleet(tmp_path), settings, sources=()) as exporter,
        ClientSession(exporter.address.url) as client,
    ):
        headers = {"Content-Type": "application/json"}
        pushed = encode(push_body(operations=[operations(1)]))
        async with client.post("/telemetry/v1/servers/codex", data=pushed, headers=headers) as answer:
            assert answer.status == 204
        async with client.get("/metrics") as answer:
            assert answer.status == 200, "figures are shown all the same"
        async with client.get("/-/healthy") as answer:
            assert answer.status == 503
            assert "the state file takes no write" in await answer.text()
        goes_on.set()
        async with asyncio.timeout(20):
            while True:
                async with client.get("/-/healthy") as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.02)


def test_what_ails_the_program() -> None:
    assert list(ailments((), store_stuck=False, rendering_stuck=False)) == []
    assert len(list(ailments(("a", "b"), store_stuck=True, rendering_stuck=True))) == 4


def test_what_is_awaited_is_said_in_few_words() -> None:
    awaited = [(ServerName(f"s{n}"), SourceName.PROCESS) for n in range(7)]
    said = awaited_reads(awaited)
    assert said == (
        "some sources have not run yet: process of s0, process of s1, process of s2, process of s3, process of s4"
        " and 2 more"
    )


class Page(HTMLParser):
    """What a browser makes of it: elements, links, text; complains about what is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert not {"src", "onload", "onclick", "onerror"} & found.keys()
        if tag == "a":
            self.links.append(str(found["href"]))

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_links_to_what_there_is(exporter: Running) -> None:
    async with ClientSession(exporter.address.url) as client:
        async with client.get("/") as answer:
            assert answer.content_type == "text/html"
            assert answer.headers["Content-Security-Policy"] == POLICY
            shown = Page(await answer.text())
        assert {"/metrics", "/sd", "/config", "/-/healthy", "/-/ready"} <= set(shown.links)
        assert "/probe?target=codex&debug=true" in shown.links
        assert "last scrapenever" in shown.text
        for link in shown.links:
            async with client.get(link) as answer:
                assert answer.status in {200, 503}
        async with client.get("/") as answer:
            assert "last scrape0 s ago" in Page(await answer.text()).text


def facts(folder: Path, **known: ServerFacts) -> Facts:
    fleet = make_fleet(folder, servers=tuple(known))
    servers = {ServerName(name): found for name, found in known.items()}
    return Facts(100.0, fleet.servers, servers, dict.fromkeys(PushResult, 0))


def test_who_is_ill_stands_first(tmp_path: Path) -> None:
    probe = ProbeReading(90.0, 0, "discover: refused", Era.MODERN, {})
    pushed = HeldSource(Totals(), Gauges(up=0), 99.0)
    found = rows(
        facts(
            tmp_path,
            alright=ServerFacts(readings={SourceName.PROCESS: ProcessReading(40.0, 40.0, (), {})},
                                states={SourceName.PROCESS: SourceState(0.1)}),
            failing=ServerFacts(states={SourceName.LOG: SourceState(0.1, "cannot be read")}),
            hung=ServerFacts(held=Held(sources={"a": pushed})),
            broken=ServerFacts(readings={SourceName.PROBE: probe}, states={SourceName.PROBE: SourceState(0.1)}),
        )
    )  # fmt: skip
    assert [row.name for row in found] == ["broken", "hung", "failing", "alright"]
    assert [row.up for row in found] == [False, False, True, True]
    assert [row.age for row in found] == [10.0, None, None, 60.0]
    assert found[0].reason == "discover: refused"
    assert found[1].reason
    shown = Page(page(found, 75.0, "1.0")).text
    for said in ("servers4", "up2", "down2", "sources with problems1", "last scrape1 min ago", "cannot be read"):
        assert said in shown


EVIL = "<script>alert('&\"x\"')</script>"


@given(st.text(max_size=60) | st.just(EVIL))
def test_whatever_is_said_is_only_text(said: str) -> None:
    row = Row("codex", Transport.HTTP, False, said, 1.0, (("log", 2.0, said), (said, None, "")))
    shown = Page(page([row], None, said, [said]))
    assert "script" not in shown.tags
    assert {"table", "dl", "nav"} <= set(shown.tags)


def test_an_empty_fleet_is_said() -> None:
    assert "No server is configured" in page([], None, "1.0")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_times(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_settings_from_the_file_and_the_flag(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, exporter=", web_config_file: web.yml")
    assert settings_of(fleet, None).web_config_file == tmp_path / "web.yml"
    chosen: Settings = settings_of(fleet, None, {}, Path("other.yml"))
    assert chosen.web_config_file == Path("other.yml")
    assert not chosen.probe_allow_any
    assert CODEX in fleet.servers
