"""``recommendations`` and ``--config-tuning`` over a real Prometheus, and a production file that
changes where it is told to and nowhere else.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.cells import cell_len

from console.advice.overview import Optimized, Suggestions
from console.advice.recommendation import Recommendations
from console.advice.tuning import Tunings
from fleet.config_change import put_back
from tests.console.conftest import NOBODY
from tests.console.past import DAY, Past, remembered
from tests.console.spoken import spoken
from tests.console.typed import typed

pytestmark = pytest.mark.prometheus

TOOL = "ツール検索"
PRODUCTION = (Path(__file__).parent / "data" / "production.toml").read_text(encoding="utf-8")
TOML = re.sub(
    "(?m)^cost_budget_usd_per_hour.*$", "cost_budget_usd_per_hour = 2.9         # $70/月 ÷ 24時間 = $2.9/時間",
    PRODUCTION.replace('log_level_performance = "warn"', 'log_level_performance = "debug"'),
)  # fmt: skip
CHANGED = {
    "max_concurrent_sessions = 15       # 並列処理": "max_concurrent_sessions = 20       # 並列処理",
    "cache_ttl_ms = 300000              # 5分": "cache_ttl_ms = 600000              # 5分",
    'log_level_performance = "debug"': 'log_level_performance = "info"',
}
STEP = 1800


def lived() -> Past:
    """Eight days until a minute ago: 300 calls and 100 look-ups each half hour, of which 40 hit; crowded by day."""
    last = int(time.time()) - 60
    moments = range(last - 8 * DAY, last + 1, STEP)
    past: Past = {}
    for number, at in enumerate(moments):
        sessions = 14.0 if number % 3 else 6.0
        figures = {
            "mcp:signal_down": 1.0, "mcp:signal_sessions": sessions, "mcp:signal_memory": (100 + 10 * sessions) * 1e6,
            "mcp:signal_response_time": 1.0, "mcp:response_time_p50_seconds": 0.4,
            "mcp:response_time_p99_seconds": 20.0, "mcp:signal_queue": 0.0, "mcp_server_cache_entries": 120.0,
            "mcp_server_cache_requests_total": 100.0 * number, "mcp_server_cache_hits_total": 40.0 * number,
            "mcp_server_cache_evictions_total": 0.0,
        }  # fmt: skip
        for name, value in figures.items():
            past.setdefault(f'{name}{{server="codex"}}', []).append((at, value))
        labels = f'server="codex",mcp_method_name="tools/call",gen_ai_tool_name="{TOOL}",error_type=""'
        series = f"mcp_server_operation_duration_seconds_count{{{labels}}}"
        past.setdefault(series, []).append((at, 300.0 * number))
        past.setdefault('mcp_exporter_source_success{server="codex",source="telemetry"}', []).append((at, 1.0))
    return past


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with remembered(lived(), tmp_path_factory.mktemp("lived")) as url:
        yield url


@dataclass
class Ward:
    """The console's files; one server with the production file."""

    folder: Path
    prometheus: str

    @property
    def toml(self) -> Path:
        return self.folder / "codex.toml"

    def changed(self, seconds_ago: float) -> None:
        at = time.time() - seconds_ago
        os.utime(self.toml, (at, at))

    def kept(self, backup: str) -> str:
        return Path(backup).read_text(encoding="utf-8")

    def write(self, receiver: str = NOBODY, prometheus: str = "") -> Path:
        if not self.toml.exists():
            self.toml.write_text(TOML, encoding="utf-8")
            self.changed(seconds_ago=30 * DAY)
        file = self.folder / "fleet.yml"
        server = {
            "name": "codex", "transport": "http", "url": "http://127.0.0.1:3001/mcp", "config_file": "codex.toml",
            "cache": {"tools": [TOOL]}, "process": {"port": 3001}, "enforce": ["sessions"],
            "restart": {"via": "command", "argv": ["true"]}, "probe": {"tool": TOOL},
        }  # fmt: skip
        document = {
            "prometheus": {"url": prometheus or self.prometheus}, "alertmanager": {"url": NOBODY},
            "receiver": {"url": receiver}, "servers": [server],
        }  # fmt: skip
        file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        return file


@pytest.fixture
def ward(tmp_path: Path, prometheus: str) -> Ward:
    return Ward(tmp_path, prometheus)


@asynccontextmanager
async def receiving(incident: str | None = None, debug_until: float | None = None) -> AsyncIterator[str]:
    """A receiver that knows codex."""

    async def servers(_: web.Request) -> web.Response:
        return web.json_response({"servers": [{"name": "codex", "incident": incident, "debug_until": debug_until}]})

    application = web.Application()
    application.add_routes([web.get("/api/v1/servers", servers)])
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


def asked_again(prometheus: str, query: str) -> float:
    """What Prometheus says to the query that stands beside a figure."""
    data = urllib.parse.urlencode({"query": query}).encode()
    with urllib.request.urlopen(f"{prometheus}/api/v1/query", data, timeout=60) as answer:
        (sample,) = json.load(answer)["data"]["result"]
    return float(sample["value"][1])


async def test_every_figure_is_what_its_query_says(ward: Ward) -> None:
    async with receiving() as url:
        told = await spoken("recommendations", "--json", "--config", ward.write(url))
    assert told.code == 0, told.err
    report = msgspec.json.decode(told.out, type=Recommendations)
    (codex,) = report.servers
    rules = {one.rule: one for one in codex.recommendations}
    assert rules.keys() == {
        "more_sessions", "cache_expires", "budget_month_is_not_hour", "no_backup", "debug_logs",
    }  # fmt: skip
    figures = [
        one for each in codex.recommendations for one in each.evidence if one.source.startswith(("sum", "max", "q"))
    ]
    assert len(figures) >= 8
    for one in figures:
        assert one.value is not None
        assert math.isclose(asked_again(ward.prometheus, one.source), one.value, rel_tol=0.02), one
    looked = {one.name: one.value for one in rules["cache_expires"].evidence}
    assert looked["cache look-ups"] == pytest.approx(7 * 48 * 100, rel=0.02)
    assert looked["cache hits"] == pytest.approx(7 * 48 * 40, rel=0.02)
    # 40 hits on 60 misses become 80 on 60: 4 of 7.
    assert "about 57.1 % would hit" in rules["cache_expires"].effect
    assert {one.rule for one in codex.recommendations if one.changes} == {
        "more_sessions", "cache_expires", "debug_logs",
    }  # fmt: skip


async def test_the_diff_names_only_what_changes_and_nothing_is_written(ward: Ward) -> None:
    async with receiving() as url:
        told = await spoken("recommendations", "--config-tuning", "--json", "--config", ward.write(url))
    assert told.code == 0, told.err
    (codex,) = msgspec.json.decode(told.out, type=Tunings).servers
    assert changed(codex.diff) == CHANGED
    assert {one.setting for one in codex.settings} == {
        "mcp.max_concurrent_sessions", "mcp.cache_ttl_ms", "logging.log_level_performance",
    }  # fmt: skip
    assert (codex.written, codex.backup) == (False, None)
    assert codex.command.startswith("mcp-medic recommendations codex --config-tuning --apply --config ")
    assert "sk-not-for-any-terminal" not in told.out
    assert ward.toml.read_text(encoding="utf-8") == TOML
    assert not (ward.folder / "codex.toml.backups").exists()


async def test_apply_writes_just_the_diff_and_its_backup_takes_it_back(ward: Ward) -> None:
    async with receiving() as url:
        config = ward.write(url)
        tuned = ("recommendations", "codex", "--config-tuning", "--json", "--config", config)
        told = await spoken(*tuned, "--apply", "--yes")
        assert told.code == 0, told.err
        (codex,) = msgspec.json.decode(told.out, type=Tunings).servers
        after = ward.toml.read_text(encoding="utf-8")
        assert after == replaced(TOML)
        assert codex.written
        assert codex.backup is not None
        assert ward.kept(codex.backup) == TOML
        assert f"mcp-medic restore codex --backup {Path(codex.backup).name}" in codex.take_back
        assert codex.in_force.startswith("mcp-medic restart codex")
        again = await spoken(*tuned)
        (codex,) = msgspec.json.decode(again.out, type=Tunings).servers
        # What was measured before the change does not speak against it.
        assert (codex.settings, codex.diff) == ((), "")
    put_back(ward.toml, Path(told.json["servers"][0]["backup"]).name, stamp="back")
    assert ward.toml.read_bytes() == TOML.encode()


async def test_only_what_was_measured_since_the_last_change_counts(ward: Ward) -> None:
    async with receiving() as url:
        config = ward.write(url)
        ward.changed(seconds_ago=2 * DAY)
        told = await spoken("recommendations", "--json", "--config", config)
        shown = await spoken("recommendations", "--config", config)
    (codex,) = msgspec.json.decode(told.out, type=Recommendations).servers
    assert codex.judged_seconds == pytest.approx(2 * DAY, abs=120)
    rules = {one.rule: one for one in codex.recommendations}
    looked = {one.name: one.value for one in rules["cache_expires"].evidence}
    assert looked["cache look-ups"] == pytest.approx(2 * 48 * 100, rel=0.05)
    assert "only: its TOML was changed then" in shown.out


async def test_apply_asks_first_and_only_with_its_diff(ward: Ward) -> None:
    config = ward.write()
    for arguments, said in (
        (["--config-tuning", "--apply"], "Nobody is here to be asked: say --yes"),
        (["--apply", "--yes"], "say both"),
    ):
        told = await spoken("recommendations", *arguments, "--config", config)
        assert (told.code, told.out) == (2, "")
        assert said in " ".join(told.err.split())
    assert ward.toml.read_text(encoding="utf-8") == TOML


async def test_a_server_under_treatment_is_left_to_its_treatment(ward: Ward) -> None:
    async with receiving(incident="codex-7") as url:
        told = await spoken("recommendations", "--config-tuning", "--apply", "--yes", "--config", ward.write(url))
        driven = await spoken("optimize", "--benchmark", "--config", ward.write(url))
    assert (told.code, told.out) == (1, "")
    assert "codex is under treatment (codex-7)" in told.err
    assert (driven.code, driven.out) == (1, "")
    assert "part of what its verdict measures" in " ".join(driven.err.split())
    assert ward.toml.read_text(encoding="utf-8") == TOML


async def test_nothing_is_written_past_a_receiver_that_is_mute_or_refuses(ward: Ward, mute: str) -> None:
    async def refusing(_: web.Request) -> web.Response:
        return web.json_response({"error": "a bearer token is needed"}, status=401)

    apply = ("recommendations", "--config-tuning", "--apply", "--yes", "--config")
    told = await spoken(*apply, ward.write(mute))
    assert (told.code, told.out) == (1, "")
    assert "Somebody listens there: nothing is written past it" in " ".join(told.err.split())
    application = web.Application()
    application.add_routes([web.get("/api/v1/servers", refusing)])
    async with TestServer(application, host="127.0.0.1") as server:
        told = await spoken(*apply, ward.write(f"http://127.0.0.1:{server.port}"))
    assert (told.code, told.out) == (1, "")
    assert "a bearer token is needed (401)" in " ".join(told.err.split())
    assert ward.toml.read_text(encoding="utf-8") == TOML


async def test_where_no_receiver_runs_nobody_has_to_be_asked(ward: Ward) -> None:
    told = await spoken("recommendations", "--config-tuning", "--apply", "--yes", "--json", "--config", ward.write())
    (codex,) = msgspec.json.decode(told.out, type=Tunings).servers
    assert (told.code, codex.written) == (3, True)
    # Only whether debug-mode raised the levels nobody can say.
    assert [one["missing"] for one in told.json["unreachable"]] == ["whether debug-mode is on"]


async def test_what_cannot_be_written_is_said(ward: Ward) -> None:
    async with receiving() as url:
        config = ward.write(url)
        (ward.folder / "codex.toml.backups").write_text("a file where the folder should be")
        told = await spoken("recommendations", "--config-tuning", "--apply", "--yes", "--config", config)
    assert told.code == 1
    assert "not written: " in told.out
    assert ward.toml.read_text(encoding="utf-8") == TOML


async def test_logs_that_debug_mode_raised_are_left_to_it(ward: Ward) -> None:
    async with receiving(debug_until=time.time() + 900) as url:
        told = await spoken("recommendations", "--json", "--config", ward.write(url))
    assert "debug_logs" not in told.out


async def test_without_prometheus_what_stands_in_files_is_still_said(ward: Ward) -> None:
    async with receiving() as url:
        told = await spoken("recommendations", "--json", "--config", ward.write(url, NOBODY))
    assert told.code == 3
    report = msgspec.json.decode(told.out, type=Recommendations)
    assert [(one.service, one.address) for one in report.unreachable] == [("Prometheus", NOBODY)]
    (codex,) = report.servers
    assert {one.rule for one in codex.recommendations} == {
        "budget_month_is_not_hour", "debug_logs", "no_backup",
    }  # fmt: skip
    assert codex.history_seconds is None
    assert {one.reason for one in codex.not_judged} == {"nobody could be asked what was measured"}


async def test_without_a_receiver_the_levels_may_be_debug_modes(ward: Ward) -> None:
    told = await spoken("recommendations", "--json", "--config", ward.write())
    assert told.code == 3
    (gap,) = told.json["unreachable"]
    assert (gap["service"], gap["missing"]) == ("the receiver", "whether debug-mode is on")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize(
    "arguments", ["recommendations", "recommendations --config-tuning", "optimize", "optimize --suggestions"]
)
async def test_it_fits_its_terminal_without_colour(ward: Ward, arguments: str, columns: int) -> None:
    async with receiving() as url:
        told = await spoken(*arguments.split(), "--config", ward.write(url), columns=columns)
    assert told.code == 0, told.err
    assert "\x1b" not in told.out
    assert max(cell_len(line) for line in told.out.splitlines()) <= columns
    words = re.sub(r"\s", "", told.out)
    assert "codex" in words
    if arguments == "recommendations":
        assert "whatthefiguresreston" in words
        assert "mcp_server_cache_requests_total" in words


async def test_the_overall_check_and_its_suggestions(ward: Ward) -> None:
    async with receiving() as url:
        config = ward.write(url)
        check = msgspec.json.decode((await spoken("optimize", "--json", "--config", config)).out, type=Optimized)
        short = msgspec.json.decode(
            (await spoken("optimize", "--suggestions", "--json", "--config", config)).out, type=Suggestions
        )
    (codex,) = check.servers
    order = ["high", "medium", "low"]
    found = [one.gravity for one in short.suggestions]
    assert found == sorted(found, key=order.index)
    assert [found.count(each) for each in order] == [  # type: ignore[arg-type]
        codex.recommendations.high, codex.recommendations.medium, codex.recommendations.low,
    ]  # fmt: skip
    assert codex.first == short.suggestions[0].title
    assert codex.last_run is None


async def test_as_a_process_of_its_own(ward: Ward) -> None:
    async with receiving() as url:
        told = await typed("recommendations", "nobody", "--config", ward.write(url))
    assert (told.code, told.out) == (2, "")
    assert "names no server 'nobody'; it names codex" in told.err


def changed(diff: str) -> dict[str, str]:
    """The lines of a diff that were replaced, and by what."""
    lines = [line for line in diff.splitlines() if line[:3] not in {"---", "+++"}]
    gone = [line[1:] for line in lines if line.startswith("-")]
    new = [line[1:] for line in lines if line.startswith("+")]
    return dict(zip(gone, new, strict=True))


def replaced(text: str) -> str:
    for old, new in CHANGED.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text
