"""Hostile words wherever an alert can carry words: nothing is executed, interpreted or rendered, here or at a peer.

The alerts are real enough to be treated: a restart by a command, evidence, queries, a journal, logs, metrics, answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
import yarl
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from bench import webhook_parts as parts
from fleet.logs import Logfmt
from fleet.signals import SignalName
from receiver.answers import MAX_BODY_BYTES
from receiver.app import running
from receiver.settings import read_settings, with_timing
from tests.receiver.shell.peers import serve
from tests.receiver.shell.world import TOKEN, Client, World, alert, client_of, until, until_true, webhook

ERRORS: Final = SignalName.ERROR_RATIO
MARK: Final = "xq7"
"""Stands in every hostile word, so that it is found wherever one leaked."""

WORDS: Final = {
    "shell": f"$(touch {MARK}) `touch {MARK}`; touch {MARK} | touch {MARK} && touch {MARK} > {MARK}",
    "an option": f"--{MARK}=1",
    "template": f"{{{{ .{MARK} }}}} {{% include '{MARK}' %}} ${{{MARK}}} %({MARK})s {{{MARK}}}",
    "path": f"../../../../tmp/{MARK}",
    "absolute path": f"/tmp/{MARK}",
    "promql": f'alpha"}} or vector(1) or {MARK}{{a="',
    "a regular expression": f".*|{MARK}",
    "sql": f"'); DROP TABLE journal; --{MARK}",
    "terminal": f"\x1b[2J\x1b]0;{MARK}\x07\x9b31m\x7f\r\n\x00{MARK}",
    "turned round": f"\u202e{MARK}\u2028\u2066",
    "html": f"<script>{MARK}()</script><img src=x onerror={MARK}>\"'&",
    "header": f"alpha\r\nX-{MARK}: 1\r\n\r\n",
    "logfmt": f'" level=error msg="{MARK}',
    "long": MARK + "A" * 30_000,
}


@dataclass
class Scene:
    """A receiver whose servers are restarted by a command that writes down how it was called."""

    client: Client
    world: World
    folder: Path
    logged: io.StringIO

    def called(self) -> list[str]:
        """The command lines so far, one argument a line, and the environments."""
        return [file.read_text() for file in sorted(self.folder.glob("called.*"))]


_COMMAND: Final = """#!/bin/sh
here="${0%/*}"
{ printf '%s\\n' "$0" "$@"; env; } > "$here/called.$$"
"""


@pytest.fixture
async def scene(world: World, session: aiohttp.ClientSession) -> AsyncIterator[Scene]:
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/mcp", _answers)
        around = parts.Around(world.prometheus.url, f"{await serve(app, stack)}/mcp", world.alertmanager.url)
        command = world.folder / "command"
        command.write_text(_COMMAND)
        ladders = {"error_ratio": ["evidence", "restart", "escalate"]}
        restart = ["/bin/sh", str(command)]
        file = parts.write_fleet(world.folder, around, ["alpha", "beta"], restart, limits=world.limits, ladders=ladders)
        (world.folder / "token").write_text(TOKEN)
        logged = io.StringIO()
        handler = logging.StreamHandler(logged)
        handler.setFormatter(Logfmt())
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        timing = replace(world.timing, verify_deadline_seconds=0.5)
        receiver = await stack.enter_async_context(running(with_timing(read_settings(file, {}), timing)))
        yield Scene(client_of(session, receiver), world, world.folder, logged)


async def _answers(_request: web.Request) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})


def hostile(word: str) -> bytes:
    """Alerts that are treated and alerts that are not, with the word wherever there is room for one."""
    treated = alert("alpha", ERRORS, name=word)
    treated["labels"] |= {word: word, "job": word, "__name__": word}
    treated |= {"annotations": {word: word}, "startsAt": word, "generatorURL": word, "fingerprint": word}
    others = []
    for label in ("server", "signal", "severity", "alertname"):
        other = alert("beta", ERRORS)
        other["labels"][label] = word
        others.append({**other, "fingerprint": f"{label} {word}"})
    message = json.loads(webhook(treated, *others))
    message |= {"groupKey": word, "receiver": word, "externalURL": word, "groupLabels": {word: word}, word: [word]}
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


WRITTEN: Final = {"journal.db-wal", "journal.db-shm", "control/alpha.restart", "control/beta.restart"}


def files(folder: Path) -> set[str]:
    """Every file below, by its name, and what a path of a word would have made elsewhere."""
    elsewhere = {str(file) for file in (Path(f"/tmp/{MARK}"), Path(MARK), folder.parent / MARK) if file.exists()}
    below = {str(file.relative_to(folder)) for file in folder.rglob("*") if not file.name.startswith("called.")}
    return below | elsewhere


@pytest.mark.parametrize("kind", WORDS)
async def test_nothing_of_an_alert_is_more_than_a_word(scene: Scene, kind: str) -> None:
    before = files(scene.folder)
    scene.world.fall_ill("alpha", ERRORS)
    assert await scene.client.post(io.BytesIO(hostile(WORDS[kind]))) == (200, {"result": "unknown_server"})
    await until_true(lambda: len(scene.called()) >= 1)

    async def judged() -> bool:
        return any(act["verdict"] for one in await scene.client.incidents() for act in one["acts"])

    scene.world.recover("alpha")
    await until(judged)
    [called] = [text for text in scene.called() if "alpha" in text]
    assert called.splitlines()[:2] == [str(scene.folder / "command"), "alpha"]
    assert MARK not in "".join(scene.called())
    assert scene.world.prometheus.queries
    assert not any(MARK in query for query in scene.world.prometheus.queries)
    assert files(scene.folder) - before <= WRITTEN
    _check_log(scene.logged.getvalue())
    await _check_answers(scene.client)
    assert await asyncio.to_thread(longest_entry, scene.folder / "journal.db") < 10_000


def longest_entry(file: Path) -> int:
    """Bytes; the table is still there."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
        return int(reader.execute("SELECT max(length(body)) FROM journal").fetchone()[0])


def _check_log(text: str) -> None:
    lines = text.splitlines()
    assert lines
    assert all(line.startswith("ts=") for line in lines), "a word began a line of its own"
    assert text.replace("\n", "").isprintable(), "a terminal would be steered"


async def _check_answers(client: Client) -> None:
    _, text = await client.get("/metrics", token=None)
    families = [*text_string_to_metric_families(text)]
    assert len(families) > 10
    assert MARK not in text
    headers = {"Authorization": f"Bearer {TOKEN}"}
    (incident, *_) = await client.incidents()
    for path in ("/api/v1/incidents", f"/api/v1/incidents/{incident['id']}"):
        async with client.session.get(f"{client.address.url}{path}", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("application/json")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert not any(MARK in f"{name}{value}" for name, value in answer.headers.items())
            found = await answer.read()
            json.loads(found)
            assert not any(byte < 32 for byte in found), "a control character as it came"
            assert len(found) < 100_000


@pytest.mark.parametrize(
    "path", ["incidents/{}", "incidents/{}/approve", "servers/{}/actions/restart", "servers/alpha/actions/{}"]
)
@pytest.mark.parametrize("kind", ["path", "html", "promql", "terminal"])
async def test_a_hostile_path_is_found_nowhere(scene: Scene, path: str, kind: str) -> None:
    url = f"/api/v1/{path.format(quote(WORDS[kind], safe=''))}"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    method = "POST" if path.count("/") > 1 else "GET"
    async with scene.client.session.request(
        method, yarl.URL(f"{scene.client.address.url}{url}", encoded=True), headers=headers
    ) as answer:
        assert answer.status in {400, 404, 409}
        assert MARK.encode() not in await answer.read()
    assert scene.called() == []


async def test_a_name_of_a_megabyte_is_refused_or_cut(scene: Scene) -> None:
    one = alert("alpha", ERRORS, severity="warning", name="A" * (MAX_BODY_BYTES - 5000))
    # It stands in the fingerprint too.
    assert await scene.client.post(io.BytesIO(webhook(one))) == (200, {"result": "too_large"})
    one["fingerprint"] = "f"
    one["labels"]["B" * 1000] = "b"
    assert await scene.client.post(io.BytesIO(webhook(one))) == (200, {"result": "accepted"})
    (incident,) = await scene.client.incidents()
    assert [len(name) for each in incident["firing"] for name in each["alerts"]] == [200]
    assert await asyncio.to_thread(longest_entry, scene.folder / "journal.db") < 10_000


def test_every_word_is_found_where_it_leaks() -> None:
    """The checks can fail."""
    with pytest.raises(AssertionError):
        _check_log(f"ts=1 msg={WORDS['terminal']}\n")
    with pytest.raises(AssertionError):
        _check_log(f"ts=1 msg={WORDS['turned round']}\n")
    record: Any = logging.makeLogRecord({"msg": WORDS["terminal"], "server": WORDS["logfmt"]})
    _check_log(Logfmt().format(record) + "\n")
