"""Whatever is typed, and whatever a service writes, ends in words: no traceback, no escape for a terminal to obey."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.text import Text

from console import frame
from console.__main__ import main
from console.paper import moment
from console.report import Report
from tests.console.spoken import spoken
from tests.console.typed import PROJECT

NAMES = ["\x1b[31mred", "[/x]", "[bold]", "../../etc", "codex\n", "", "\udcff", "日本", "a" * 5000, "{server}"]
NOBODY = "http://127.0.0.1:9"


def taking(kind: type[click.ParamType[str]]) -> list[str]:
    return sorted(
        name
        for name, each in main.commands.items()
        if any(isinstance(one.type, kind) and isinstance(one, click.Argument) for one in each.params)
    )


def fleet(folder: Path, receiver: str = NOBODY) -> Path:
    (folder / "codex.toml").write_text("[mcp]\nbatch_size = 5\n")
    file = folder / "fleet.yml"
    file.write_text(
        f"prometheus: {{url: {NOBODY}}}\nalertmanager: {{url: {NOBODY}}}\nreceiver: {{url: {receiver}}}\n"
        "servers: [{name: codex, transport: http, url: 'http://127.0.0.1:9/mcp', config_file: codex.toml}]\n"
    )
    return file


@pytest.mark.parametrize("command", taking(frame.ServerType))
async def test_a_server_that_there_is_not_is_wrong_use(tmp_path: Path, command: str) -> None:
    for name in NAMES:
        told = await spoken(command, "--config", fleet(tmp_path), "--", name)
        assert (told.code, told.out) == (2, "")
        assert "it names codex" in " ".join(told.err.split())
        assert "\x1b" not in told.err


@pytest.mark.parametrize("command", ["incidents", "approve", "deny"])
async def test_an_incident_may_be_named_as_it_likes(tmp_path: Path, command: str) -> None:
    for name in NAMES:
        told = await spoken(command, "--config", fleet(tmp_path), "--", name)
        assert told.code == 3
        assert "the receiver at http://127.0.0.1:9 cannot be reached" in told.err


@pytest.mark.parametrize("flags", [("performance", "--watch"), ("restart", "codex", "--wait")])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
async def test_seconds_that_never_end_are_wrong_use(tmp_path: Path, flags: tuple[str, ...], seconds: str) -> None:
    told = await spoken(*flags, seconds, "--config", fleet(tmp_path))
    assert (told.code, told.out) == (2, "")


@pytest.mark.parametrize(
    "body", [[], {"servers": {}}, {"servers": [{}]}, {"servers": [{"name": "codex", "actions_by_hand": 7}]}, 7]
)
async def test_a_receiver_that_answers_something_else_is_named(tmp_path: Path, body: object) -> None:
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    application.router.add_get("/api/v1/servers", answer)
    async with TestServer(application, host="127.0.0.1") as server:
        told = await spoken("reset-cache", "--config", fleet(tmp_path, f"http://127.0.0.1:{server.port}"))
    assert told.code == 1
    assert "answered /api/v1/servers with something else than its API's" in told.err


@pytest.mark.parametrize(
    "found",
    [
        7, {}, {"labels": []}, {"labels": {"alertname": 5}},
        {"labels": {"alertname": "McpServerDown", "server": "codex"}, "startsAt": 5},
    ],
)  # fmt: skip
async def test_an_alertmanager_that_answers_something_else_is_named(tmp_path: Path, found: object) -> None:
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response([found])

    application.router.add_get("/api/v2/alerts", answer)
    async with TestServer(application, host="127.0.0.1") as server:
        file = fleet(tmp_path)
        file.write_text(
            file.read_text().replace(f"alertmanager: {{url: {NOBODY}", f"alertmanager: {{url: {server.make_url('')}")
        )
        told = await spoken("alerts", "--json", "--config", file)
    reasons = [gap["reason"] for gap in told.json["unreachable"] if gap["service"] == "Alertmanager"]
    assert told.code == 3
    assert [reason.partition(" answered ")[2] for reason in reasons] == [
        "/api/v2/alerts with something else than its API's"
    ]


async def test_a_refusal_with_escapes_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": "\x1b[2Jgone\x07"}, status=404)

    application.router.add_get("/api/v1/incidents", answer)
    async with TestServer(application, host="127.0.0.1") as server:
        told = await spoken("incidents", "--config", fleet(tmp_path, f"http://127.0.0.1:{server.port}"))
    assert told.code == 1
    assert "\\x1b[2Jgone" in told.err
    assert "\x1b" not in told.err


async def test_a_mistake_with_escapes_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text('"\\e[2Jservers": []\n')
    told = await spoken("check-config", "--config", file)
    assert told.code == 1
    assert "\x1b" not in told.err


def test_a_view_that_forgot_to_look_draws_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    frame._show(Report(), view=lambda _: Text("a\x1b[2Jb\u202ec\n第二行"), json_wanted=False, again=False)
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\n第二行\n"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_is_said(tmp_path: Path, flags: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "console", "performance", "--config", fleet(tmp_path), *flags],
            cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, timeout=90, check=False, text=True,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (
        1, "mcp-medic: the report cannot be written: No space left on device\n"
    )  # fmt: skip


def test_an_encoding_without_bars_costs_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(narrow, encoding="ascii"))
    frame.show_anything()
    frame._show(Report(), view=lambda _: Text("12 ▁"), json_wanted=False, again=False)
    assert b"12 " in narrow.getvalue()


@pytest.mark.parametrize("at", [1e300, -1.0, float("nan"), 253_402_300_800.0])
def test_a_moment_beyond_the_calendar_is_none(at: float) -> None:
    assert moment(at) == "-"
