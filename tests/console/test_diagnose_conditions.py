"""``mcp-medic diagnose`` and ``health-check`` under real conditions that need no whole stack."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.diagnosing import monitoring_answers
from console.diagnosing.checks import Outcome
from console.diagnosing.diagnosis import Diagnosis, diagnosed
from console.diagnosing.facts import Facts
from console.diagnosing.health import Health, checked
from console.diagnosing.trees import Tree
from console.report import Word
from stack.ports import free_ports
from tests.console.conftest import Remembered
from tests.console.diagnosing import by_name, desk_of, fleet_file, stdio_entry
from tests.console.typed import typed

READY_SECONDS = 60.0


async def walked(file: Path, tree: Tree | None = None) -> Diagnosis:
    async with desk_of(file) as desk:
        return await diagnosed(desk, desk.server("codex"), tree)


@pytest.fixture
def stranger() -> Iterator[tuple[int, int]]:
    """The pid of another program, and the port that it has."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + READY_SECONDS
    while not any(each.laddr.port == port for each in psutil.Process(process.pid).net_connections()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process.pid, port
    process.kill()
    process.wait()


async def test_a_stranger_on_the_port_keeps_it_from_starting(tmp_path: Path, stranger: tuple[int, int]) -> None:
    pid, port = stranger
    entry = {
        "transport": "http", "url": f"http://127.0.0.1:{port}/mcp", "command": [sys.executable],
        "restart": {"via": "gateway"},
    }  # fmt: skip
    found = await walked(fleet_file(tmp_path, entry))
    assert (found.tree, found.steps[-1].question, found.command) == (Tree.STARTUP, "port", f"kill {pid}")
    assert f"{port} is taken by process {pid} (" in found.sentence


async def test_credentials_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.touch(0o644)
    file.chmod(0o644)
    found = await walked(fleet_file(tmp_path, stdio_entry(auth_file=str(file))), Tree.STARTUP)
    assert (found.steps[-1].question, found.command, found.ill) == ("auth_file", f"chmod 600 {file}", True)


async def test_credentials_that_are_missing(tmp_path: Path) -> None:
    found = await walked(fleet_file(tmp_path, stdio_entry("dies", auth_file=str(tmp_path / "auth.json"))))
    assert (found.steps[-1].question, found.command) == ("auth_file", f"ls -la {tmp_path}")


async def test_broken_toml_is_opened_at_its_line_or_restored_where_an_earlier_one_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "codex.toml"
    config.write_text("[mcp]\nbatch_size = = 3\n")
    file = fleet_file(tmp_path, stdio_entry(config_file=str(config)))
    found = await walked(file, Tree.STARTUP)
    assert (found.steps[-1].question, found.command) == ("config", f"${{EDITOR:-vi}} +2 {config}")
    (tmp_path / "codex.toml.backups").mkdir()
    (tmp_path / "codex.toml.backups" / "a.toml").write_text("[mcp]\n")
    assert (await walked(file, Tree.STARTUP)).command == f"mcp-medic restore codex --config {file}"


async def test_a_missing_runtime(tmp_path: Path) -> None:
    found = await walked(fleet_file(tmp_path, {"transport": "stdio", "command": ["no-such-runtime"]}))
    assert (found.tree, found.steps[-1].question) == (Tree.STARTUP, "runtime")
    assert "no-such-runtime is not found on PATH" in found.sentence


async def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    found = await walked(fleet_file(tmp_path, stdio_entry("dies")))
    assert (found.tree, found.steps[-1].question) == (Tree.STARTUP, "speaks")
    assert "exited with status 3" in found.sentence
    assert "no database" in found.sentence
    assert "hunter2" not in str(found)
    assert found.command.startswith("mcp-medic test codex --config ")


async def test_a_dead_redis(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    redis = {"url": f"redis://:hunter2@127.0.0.1:{port}/0"}
    found = await walked(fleet_file(tmp_path, stdio_entry(), redis=redis), Tree.STARTUP)
    assert (found.steps[-1].question, f"127.0.0.1:{port}" in found.sentence) == ("redis", True)
    assert "hunter2" not in str(found)
    assert [gap.service for gap in found.unreachable] == ["Redis"]


async def test_the_last_lines_of_a_log_stand_beside_what_does_not_run(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    log = tmp_path / "codex.log"
    log.write_text('{"level":"error","message":"EADDRINUSE","api_key":"hunter2"}\n')
    entry = {
        "transport": "http", "url": f"http://127.0.0.1:{port}/mcp", "logs": [{"path": str(log), "format": "json"}],
    }  # fmt: skip
    found = await walked(fleet_file(tmp_path, entry))
    runs = next(step for step in found.steps if step.question == "runs")
    assert "EADDRINUSE" in runs.saw
    assert "hunter2" not in str(found)
    assert found.command == f"ss -ltnp 'sport = :{port}'"


@pytest.fixture
async def healthy() -> AsyncIterator[str]:
    """Something that answers as an exporter that is well."""

    async def well(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    application = web.Application()
    for path in ("/-/healthy", "/-/ready"):
        application.router.add_get(path, well)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.prometheus
async def test_a_prometheus_that_scrapes_nothing_of_ours(tmp_path: Path, remembering: Remembered, healthy: str) -> None:
    file = fleet_file(tmp_path, stdio_entry(), prometheus={"url": remembering.url}, exporter={"url": healthy})
    found = await walked(file)
    assert (found.tree, found.steps[-1].question) == (Tree.MONITORING, "targets")
    assert "no target of the job" in found.sentence
    told = await typed("health-check", "--json", "--config", file)
    health = msgspec.json.decode(told.out, type=Health)
    programs = by_name(health.programs)
    assert told.code == 3
    assert programs["exporter"].outcome is Outcome.PASSED
    assert programs["Prometheus targets"].outcome is Outcome.FAILED
    assert programs["rules"].outcome is Outcome.PASSED  # it has them, though nothing to judge by them
    assert {gap.service for gap in health.unreachable} == {"Alertmanager", "the receiver"}


async def test_everything_away_is_named_with_its_address(tmp_path: Path) -> None:
    file = fleet_file(tmp_path, stdio_entry("dies"))
    told = await typed("health-check", "--config", file, columns=40)
    (address,) = {word for word in file.read_text().split('"') if word.startswith("http://")}
    assert told.code == 3
    assert max(map(len, told.out.splitlines())) <= 40
    shown = "".join(told.out.split())
    for service in ("theexporter", "Prometheus", "Alertmanager", "thereceiver"):
        assert f"{service}at{address}cannotbereached:Connectionrefused" in shown


async def test_broken_toml_is_told_among_the_servers_checks(tmp_path: Path) -> None:
    (tmp_path / "codex.toml").write_text("= 1\n")
    file = fleet_file(tmp_path, stdio_entry("dies", config_file="codex.toml"))
    async with desk_of(file) as desk:
        health = await checked(desk, desk.servers(None))
    (server,) = health.servers
    assert (server.word, by_name(server.checks)["config syntax"].outcome) == (Word.CRITICAL, Outcome.FAILED)


async def test_who_cannot_ask_says_what_can_be_said_and_ends_with_3(tmp_path: Path) -> None:
    told = await typed("diagnose", "codex", "--config", fleet_file(tmp_path, stdio_entry()))
    assert (told.code, told.err) == (3, "")
    assert "nobody publishes figures" in told.out
    assert "type: mcp-exporter --config" in told.out


CODEX = {"server": "codex"}


@dataclass
class Measured:
    """A fake of Prometheus' API: by a part of the query, the samples that it has."""

    up: float = 1.0
    figures: dict[str, float] = field(default_factory=dict)
    tools: dict[str, dict[str, float]] = field(default_factory=dict)
    changes: float = 0.0
    predicted: float = 0.0

    async def query(self, request: web.Request) -> web.Response:
        text = str((await request.post())["query"])
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in self._samples(text)]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    def _samples(self, query: str) -> list[tuple[dict[str, str], float]]:
        if "offset" in query:
            return []
        if query.startswith("{__name__"):
            known = {"mcp:evidence_error_ratio": 500.0, "mcp:evidence_response_time": 500.0, **self.figures}
            return [({"__name__": name, **CODEX}, value) for name, value in known.items()]
        for series, tools in self.tools.items():
            if query.startswith(series):
                return [({"gen_ai_tool_name": tool, **CODEX}, value) for tool, value in tools.items()]
        figures = {
            "timestamp(": 1.0,
            "mcp_server_up{": self.up,
            "changes(mcp_server_config_hash": self.changes,
            "mcp_server_config_change_timestamp": time.time() - 60,
            "mcp:memory_predicted_bytes": self.predicted,
        }
        return [(CODEX, value) for part, value in figures.items() if part in query]


ERRORS = {"mcp:signal_error_ratio": 0.5}
SLOW = {"mcp:signal_response_time": 9.0}
MEMORY = {"mcp:signal_memory": 600e6}
P95 = "mcp:tool_response_time_p95_seconds"
FAILING = "mcp:tool_error_ratio"

WALKS: list[tuple[str, Measured, str, str]] = [
    ("one tool fails", Measured(figures=ERRORS, tools={FAILING: {"検索": 0.9, "b": 0.0}}), "one tool", "metrics"),
    ("every tool fails", Measured(figures=ERRORS, tools={FAILING: {"a": 0.9, "b": 0.4}}), "whichever", "restart"),
    ("its file was changed", Measured(figures=ERRORS, changes=1.0), "configuration was changed", "${EDITOR:-vi}"),
    ("it leaks", Measured(figures=MEMORY, predicted=900e6), "leaks", "restart"),
    ("it is large", Measured(figures=MEMORY, predicted=590e6), "stays there", "recommendations"),
    ("calls wait", Measured(figures={**SLOW, "mcp:signal_queue": 4.0}), "wait for a place", "high-load"),
    ("one tool is slow", Measured(figures=SLOW, tools={P95: {"a": 9.0, "b": 0.1}}), "one tool", "metrics"),
    ("all are slow", Measured(figures=SLOW, tools={P95: {"a": 9.0, "b": 8.0}}), "whichever", "restart"),
    ("its breaker is open", Measured(figures={"mcp:signal_circuit_breaker": 1.0}), "circuit breaker", "restart"),
    ("many sessions", Measured(figures={"mcp:signal_sessions": 14.0}), "more sessions", "high-load"),
    ("it is dear", Measured(figures={"mcp:signal_cost": 5.0}), "budget", "recommendations"),
    ("it is down", Measured(up=0.0), "measured as broken", "test"),
]


@pytest.mark.parametrize(("measured", "said", "command"), [walk[1:] for walk in WALKS], ids=[walk[0] for walk in WALKS])
async def test_figures_lead_to_the_cause(tmp_path: Path, measured: Measured, said: str, command: str) -> None:
    (tmp_path / "codex.toml").write_text("[mcp]\n")
    application = web.Application()
    application.router.add_post("/api/v1/query", measured.query)
    async with TestServer(application, host="127.0.0.1") as server:
        entry = stdio_entry(config_file="codex.toml")
        file = fleet_file(tmp_path, entry, prometheus={"url": f"http://127.0.0.1:{server.port}"})
        found = await walked(file, Tree.DEGRADATION)
    assert said in found.sentence
    assert command in found.command
    assert (found.ill, found.unreachable) == (True, ())


async def test_figures_within_their_levels_are_no_illness(tmp_path: Path) -> None:
    measured = Measured(figures={"mcp:signal_memory": 1e6, "mcp:signal_error_ratio": 0.0})
    application = web.Application()
    application.router.add_post("/api/v1/query", measured.query)
    async with TestServer(application, host="127.0.0.1") as server:
        found = await walked(
            fleet_file(tmp_path, stdio_entry(), prometheus={"url": str(server.make_url("")).rstrip("/")})
        )
    assert (found.tree, found.ill, found.command.split()[:2]) == (Tree.DEGRADATION, False, ["mcp-medic", "performance"])
    assert next(step for step in found.steps if step.question == "memory").saw.startswith("memory 1 MB, its level")


async def test_a_log_that_is_not_there_is_a_silent_one(tmp_path: Path) -> None:
    entry = stdio_entry(logs=[{"path": str(tmp_path / "gone.log"), "format": "json"}])
    async with desk_of(fleet_file(tmp_path, entry)) as desk:
        facts = Facts(desk, desk.server("codex"))
        found = await monitoring_answers.logs(facts)
        assert (found.said, found.command) == ("no", f"ls -la {tmp_path}")
        (tmp_path / "gone.log").write_text("x\n")
        assert (await monitoring_answers.logs(Facts(desk, desk.server("codex")))).said == "yes"
