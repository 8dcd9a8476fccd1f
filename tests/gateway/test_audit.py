"""The audit log: who called what and how it ended, on disk, without secrets; and what results hold."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import AuditLog as AuditSettings
from fleet.inventory import Price
from fleet.server_config import read_server_config
from gateway import audit_log
from gateway.app import Gateway
from gateway.audit import Audit
from gateway.audit_log import AuditLog
from gateway.exchange import Operation
from gateway.jsonrpc import peek
from gateway.liveness import USER_AGENT
from tests.gateway.peers import Exporter, fleet, listening, running, server, until

# ---- lines


KEY = b"k" * 32


def lines_of(*, arguments: bool = False) -> tuple[Audit, list[bytes]]:
    found: list[bytes] = []
    return Audit("demo", found.append, lambda: 1_700_000_000.25, key=KEY, arguments=arguments), found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.text(), st.text(), JSON, st.text(max_size=300), st.booleans(), st.sampled_from([None, 1, "\n"]))
def test_one_call_is_one_line_of_json_whatever_the_client_sends(
    method: str, tool: str, secret: str, given_arguments: Any, outcome: str, arguments: bool, indent: Any
) -> None:
    audit, found = lines_of(arguments=arguments)
    message = {"jsonrpc": "2.0", "id": secret, "method": method, "params": {"name": tool, "arguments": given_arguments}}
    body = json.dumps(message, indent=indent).encode()
    messages = peek(body).messages
    caller = audit.caller(f"Bearer {secret}", "", "127.0.0.1", messages, body)
    for each in messages:
        audit.ended(caller, Operation(each.method, each.tool, outcome, 0.5, id=each.id), outcome)
    assert len(found) == len(messages)
    for line in found:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        told = json.loads(line)
        assert told["outcome"] == (outcome or "ok")
        assert told["time"] == "2023-11-14T22:13:20.250+00:00"
        assert ("arguments" in told) is (arguments and method != "initialize")
        assert told.get("arguments", given_arguments) == given_arguments
        assert "Bearer" not in told["authorization"]


@given(st.binary(max_size=80))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    audit, _ = lines_of(arguments=True)
    audit.caller(None, "", "", peek(body).messages, body)
    audit.caller(None, "", "", peek(b'{"id":1,"method":"initialize"}').messages, body)


def test_a_legacy_client_is_known_by_its_session() -> None:
    audit, found = lines_of()
    hello = {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "inspector", "version": "2"}}}
    body = json.dumps(hello).encode()
    caller = audit.caller(None, "", "::1", peek(body).messages, body)
    caller.session = "s1"
    audit.ended(caller, Operation("initialize", "", "", 0.1, id=b"1"), "")
    later = audit.caller(None, "s1", "::1", (), b"")
    audit.ended(later, Operation("tools/call", "echo", "", 0.1, id=b'"x"'), "tool_error")
    assert [json.loads(line)["client"] for line in found] == ["inspector/2"] * 2
    assert json.loads(found[1])["id"] == "x"


def test_long_arguments_are_named_by_their_length() -> None:
    audit, found = lines_of(arguments=True)
    body = json.dumps(
        {"id": 1, "method": "tools/call", "params": {"name": "x", "arguments": {"a": "b" * 50_000}}}
    ).encode()
    audit.ended(
        audit.caller(None, "", "", peek(body).messages, body), Operation("tools/call", "x", "", 0.1, id=b"1"), ""
    )
    assert json.loads(found[0])["arguments"] == f"({50_000 + 9} bytes)"


# ---- the file


def test_it_is_for_its_owner_alone_and_follows_logrotate(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.touch(0o644)
    log = AuditLog(path)
    log.take(b"1\n")
    log.flush()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "audit.log.1")
    log.take(b"2\n")
    log.flush()
    path.unlink()
    log.take(b"3\n")
    log.take(b"4\n")
    log.flush()
    assert (tmp_path / "audit.log.1").read_bytes() == b"1\n"
    assert path.read_bytes() == b"3\n4\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log.close()
    log.close()
    assert log.figures == {"path": str(path), "written": 4, "dropped": 0, "problem": ""}


def test_what_cannot_be_written_is_counted_and_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "missing"
    log = AuditLog(folder / "audit.log")
    monkeypatch.setattr(audit_log, "MAX_LINES", 3)
    for _ in range(5):
        log.take(b"lost\n")
    log.flush()
    assert (log.written, log.dropped) == (0, 5)
    assert "No such file" in log.problem
    folder.mkdir()
    log.take(b"kept\n")
    log.flush()
    assert log.path.read_bytes() == b'kept\n{"dropped":5}\n'
    assert (log.written, log.dropped, log.problem) == (1, 5, "")
    log.close()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_it_writes_into_nothing_but_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.log"
    target = tmp_path / "target"
    target.touch()
    if kind == "link":
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    log = AuditLog(path)
    log.take(b"x\n")
    log.flush()
    assert log.problem
    assert log.dropped == 1
    assert target.read_bytes() == b""


# ---- in the gateway

USAGE = {"model": "gpt-5-codex-2026-09-15", "usage": {"input_tokens": 1_000_000, "output_tokens": 100_000}}
RESULT = {"content": [{"type": "text", "text": "write to max@example.com"}], "structuredContent": USAGE}


async def upstream(given: web.BaseRequest) -> web.StreamResponse:
    if given.headers.get("User-Agent") == USER_AGENT:
        return web.Response(status=404)
    message = json.loads(await given.content.read())
    if message["method"] == "initialize":
        return web.json_response({"id": message["id"], "result": {}}, headers={"Mcp-Session-Id": "secret-session"})
    if message["params"].get("name") == "hang":
        await asyncio.sleep(30)
    if message["params"].get("name") == "broken":
        error = {"code": -32600, "message": "x"}
        return web.json_response({"id": message["id"], "error": error}, status=500)
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": RESULT})


@asynccontextmanager
async def audited(folder: Path, exporter: Exporter, toml: str, *, arguments: bool = False) -> AsyncIterator[Gateway]:
    file = folder / "server.toml"
    file.write_text(toml)
    async with listening(upstream) as url:
        given = server(
            url, config=read_server_config(file), cache_tools=frozenset({"echo"}),
            audit_log=AuditSettings(folder / "audit.log", arguments=arguments),
        )  # fmt: skip
        whole = replace(fleet(folder, exporter.url, given), prices={"gpt-5-codex": Price(1.25, 10.0)})
        async with running(whole) as gateway:
            gateway.services["demo"].vitals.tools.learn(["echo"], ["echo"])
            yield gateway


async def call(gateway: Gateway, tool: str, identity: Any = 1, method: str = "tools/call") -> int:
    params: dict[str, Any] = {"name": tool, "arguments": {"text": "private"}}
    if method == "initialize":
        params = {"clientInfo": {"name": "tester", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}
    headers = {"Authorization": "Bearer top-secret"}
    if method != "initialize":
        headers["Mcp-Session-Id"] = "secret-session"
    url = f"{gateway.addresses['demo'].url}/mcp"
    async with aiohttp.ClientSession() as client, client.post(url, json=message, headers=headers) as answer:
        await answer.read()
        return answer.status


CACHED = "[mcp]\nenable_response_caching = true\n"
BREAKER = "[performance]\nenable_circuit_breaker = true\ncircuit_breaker_threshold = 2\n"


@pytest.mark.parametrize("arguments", [True, False])
async def test_every_way_a_call_ends_is_written(folder: Path, exporter: Exporter, arguments: bool) -> None:
    async with audited(folder, exporter, CACHED + BREAKER, arguments=arguments) as gateway:
        vitals = gateway.services["demo"].vitals
        await call(gateway, "", method="initialize")
        await call(gateway, "echo", "a")
        await call(gateway, "echo", "b")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await call(gateway, "hang")
        for _ in range(2):
            assert await call(gateway, "broken") == 500
        assert await call(gateway, "echo2") == 503, "HTTP 5xx opens the breaker, whatever code stands in it"
        log = gateway.services["demo"].audit_log
        assert log is not None
        await until(lambda: log.written == 6)
        assert vitals.ledger.in_flight <= 1, "a legacy client that left has cancelled nothing"
    text = (folder / "audit.log").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert [(each["tool"] if "tool" in each else each["method"], each["outcome"]) for each in told[:6]] == [
        ("initialize", "ok"), ("echo", "ok"), ("echo", "hit"), ("broken", "-32600"), ("broken", "-32600"),
        ("echo2", "refused:breaker"),
    ]  # fmt: skip
    assert [each["id"] for each in told[:3]] == [1, "a", "b"]
    assert {each["client"] for each in told} == {"tester/1"}
    assert len({each["authorization"] for each in told}) == 1
    assert len({each["session"] for each in told}) == 1
    assert all(each["duration_ms"] >= 0 and each["server"] == "demo" and each["peer"] for each in told)
    assert "secret" not in text
    assert ("private" in text) is arguments
    if arguments:
        assert told[1]["arguments"] == {"text": "private"}


async def test_cost_and_kinds_reach_the_exporter_and_a_hit_costs_nothing(folder: Path, exporter: Exporter) -> None:
    async with audited(folder, exporter, CACHED + "[security]\nsensitive_data_detection = true\n") as gateway:
        for identity in range(3):
            await call(gateway, "echo", identity)
        await until(lambda: exporter.latest["demo"].cost[0].usd > 0 if "demo" in exporter.latest else None)
        told = exporter.latest["demo"]
        assert [(each.model, each.usd) for each in told.cost] == [("gpt-5-codex", 2.25)]
        assert told.sensitive == {"email": 1}
        assert told.cache.hits == 2
        (folder / "server.toml").write_text(CACHED)
        inspection = gateway.services["demo"].vitals.inspection
        await until(lambda: not inspection.detects)
        await call(gateway, "other")
        await until(lambda: exporter.latest["demo"].cost[0].usd == 4.5)
        assert exporter.latest["demo"].sensitive == {"email": 1}
