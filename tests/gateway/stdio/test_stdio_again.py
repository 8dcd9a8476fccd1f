"""What a new server is told of a client that does not know of it, and when one is started by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import LONGEST_SECONDS, LOOPING_AFTER, SUSTAINED_SECONDS, Backoff
from gateway.copies import Clip
from gateway.jsonrpc import Kind, peek
from gateway.stdio.wishes import Wishes
from tests.gateway.peers import until
from tests.gateway.stdio.clients import LINE_SERVER, RawClient, connected, fleet_file, nobody_left

PATIENT = "[performance]\ninitial_response_timeout = 20000\n"
AGAIN = "    restart: {via: gateway, on_exit: restart}\n"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def heard(folder: Path, method: str) -> list[dict[str, Any]]:
    """What the servers, all of them, heard of a method."""
    lines = (folder / "heard.log").read_text().splitlines()
    return [message for message in map(json.loads, lines) if message.get("method") == method]


async def test_subscriptions_and_the_log_level_outlive_a_restart(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        for uri in ("a://1", "b://2", "c://3"):
            assert "result" in await client.answer(client.ask("resources/subscribe", {"uri": uri}))
        assert "error" in await client.answer(client.ask("resources/subscribe", {"uri": "none://"}))
        await client.answer(client.ask("resources/unsubscribe", {"uri": "b://2"}))
        await client.answer(client.ask("logging/setLevel", {"level": "debug"}))
        await client.answer(client.ask("logging/setLevel", {"level": "error"}))
        seen = len(client.seen)
        (folder / "heard.log").unlink()
        assert (await client.restart())["outcome"] == "succeeded"
        await client.call("update")
        told = [json.loads(line) for line in client.seen[seen:]]
        assert [each["params"]["uri"] for each in told if "method" in each] == ["a://1", "c://3"]
        assert [each["params"]["level"] for each in heard(folder, "logging/setLevel")] == ["error"]
        assert heard(folder, "resources/unsubscribe") == []
        # The answers to all this were for nobody: the client saw the updates and its own call's answer.
        assert len(told) == 3
        assert (await client.status())["in_flight"] == 0


async def test_an_open_stream_is_opened_again_and_its_client_sees_no_second_beginning(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER), initialized=False) as client:
        client.send({"id": "listen-1", "method": "subscriptions/listen", "params": {"_meta": META}})
        assert json.loads(await client.line())["method"] == "notifications/subscriptions/acknowledged"
        client.send({"id": "listen-2", "method": "subscriptions/listen", "params": {"_meta": META}})
        await client.line()
        client.send({"method": "notifications/cancelled", "params": {"requestId": "listen-2", "_meta": META}})
        await client.answer(client.ask("tools/list", {"_meta": META}))
        seen = len(client.seen)
        (folder / "heard.log").unlink()
        await client.restart()
        await client.answer(client.ask("tools/list", {"_meta": META}))
        assert [each["id"] for each in heard(folder, "subscriptions/listen")] == ["listen-1"]
        assert len(client.seen) == seen + 1


async def test_a_ping_finds_the_other_side_there_while_the_server_is_replaced(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        pid = int(await client.text("pid"))
        os.kill(pid, signal.SIGSTOP)
        under_way = client.ask("ping")
        await client.until_status(in_flight=1)
        restart = asyncio.gather(client.restart())
        await client.until_status(state="draining")
        during = client.ask("ping")
        assert (await client.answer(during))["result"] == {}
        assert (await client.answer(under_way))["result"] == {}
        assert (await restart)[0]["outcome"] == "succeeded"
        assert "result" in await client.answer(client.ask("ping"))
        assert (await client.status())["in_flight"] == 0


async def test_a_question_of_a_server_that_is_gone_is_taken_back(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        await client.call("ask")
        await client.restart()
        cancelled, fence = [json.loads(await client.line()) for _ in range(2)]
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == 0
        assert fence["method"] == "ping"
        assert fence["id"].startswith("mcp-medic:")
        # The client does as it is told: it answers the ping, and not the old question. The new one has the same id.
        client.send({"id": fence["id"], "result": {}})
        await client.call("ask")
        client.send({"id": 0, "result": {"roots": ["new"]}})
        await client.call("echo")
        text = (folder / "heard.log").read_text()
        assert "new" in text
        assert "mcp-medic:" not in "".join(line for line in text.splitlines() if '"result"' in line)


async def test_what_a_restart_on_request_cuts_off_is_not_the_servers_error(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=PATIENT)) as client:
        lost = client.ask("tools/call", {"name": "stop"})
        await client.until_status(in_flight=1)
        await client.restart()
        assert (await client.answer(lost))["error"]["code"] == -33007
        assert (await client.status())["up"] == 1


# ---- started again by itself


async def test_a_server_that_ends_by_itself_is_started_again_where_that_is_asked_for(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=PATIENT, more=AGAIN)) as client:
        first = int(await client.text("pid"))
        await client.answer(client.ask("resources/subscribe", {"uri": "a://1"}))
        os.kill(first, signal.SIGKILL)
        await client.until_status(up=0)
        assert "it is started again in 1 s" in (await client.status())["reason"]
        second = int(await client.text("pid"))  # it waited for the new one
        assert second != first
        status = await client.until_status(up=1, state="ready")
        assert status["restarts"] == 1
        assert (await client.call("update"))["result"]
        assert sum(b"a://1" in line for line in client.seen) == 1
        await nobody_left(first)


async def test_one_that_is_stopped_on_request_stays_so(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, more=AGAIN)) as client:
        pid = int(await client.text("pid"))
        os.kill(pid, signal.SIGKILL)
        await client.until_status(state="exited")
        assert (await client.control("POST", "/-/stop")).status == 200
        status = await client.status()
        assert (status["state"], status["pid"], status["restarts"]) == ("stopped", None, 0)
        assert status["reason"] == "stopped on request", "the start that was announced is called off"


async def test_a_crash_loop_is_down_even_while_it_runs(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=PATIENT, more=AGAIN)) as client:
        for _ in range(LOOPING_AFTER):
            os.kill(int(await client.text("pid")), signal.SIGKILL)
            await client.until_status(state="exited")
            # An order does not wait, and does not make the exits forgotten.
            assert (await client.control("POST", "/-/restart")).status == 200
        status = await client.until_status(state="ready")
        assert (status["up"], status["reason"].split(":")[0]) == (0, "crash-loops")
        assert "result" in await client.call("echo")


@given(st.lists(st.floats(0, 2 * SUSTAINED_SECONDS), max_size=40))
def test_only_a_sustained_run_resets_the_wait(runs: list[float]) -> None:
    backoff, waits = Backoff(), []
    for ran in runs:
        waits.append(backoff.exited(ran))
        recent = 0
        for each in reversed(runs[: len(waits)]):
            recent += 1
            if each >= SUSTAINED_SECONDS:
                break
        assert backoff.looping == (recent >= LOOPING_AFTER)
        assert waits[-1] == min(2.0 ** (recent - 1), LONGEST_SECONDS)


# ---- wishes


def _line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


_URIS = st.sampled_from(["a://1", "b://2", "c://3"])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["resources/subscribe", "resources/unsubscribe"]), _URIS, st.sampled_from("yne"))
)


@given(_STEPS)
def test_what_was_granted_and_not_ended_is_asked_for_again(steps: list[tuple[str, str, str]]) -> None:
    """``y`` is granted, ``n`` refused, ``e`` never answered."""
    wishes = Wishes()
    granted: dict[str, None] = {}
    for number, (method, uri, fate) in enumerate(steps):
        line = _line(id=number, method=method, params={"uri": uri})
        (message,) = peek(line).messages
        wishes.client_said(message, line)
        answers = {"y": _line(id=number, result={}), "n": _line(id=number, error={"code": -1, "message": ""})}
        for answer in peek(answers.get(fate, b"")).messages:
            wishes.server_said(answer)
        if fate == "y":
            granted.pop(uri, None)
            if method == "resources/subscribe":
                granted[uri] = None
    wishes.cut()
    again = [json.loads(line) for line in wishes.again(lambda: b'"own"')]
    assert [each["params"]["uri"] for each in again] == list(granted)
    assert all(each["method"] == "resources/subscribe" and each["id"] == "own" for each in again)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"params": 7}', b'{"params": {"uri": 7}}', b"\xff"])
def test_a_wish_that_cannot_be_read_costs_nothing(body: bytes) -> None:
    wishes = Wishes()
    (message,) = peek(_line(id=1, method="resources/subscribe")).messages
    wishes.client_said(message, body)
    wishes.server_said(peek(_line(id=1, result={})).messages[0])
    wishes.again(lambda: b"1")
    assert message.kind is Kind.REQUEST
    clipped = Clip(4)
    clipped.add(b"x" * 100)
    wishes.client_said(message, clipped)
    wishes.server_said(peek(_line(id=1, result={})).messages[0])


async def _close(client: RawClient) -> None:
    assert client.process.stdin is not None
    client.process.stdin.close()


# ---- how a server is ended

ENDS = {
    "eof": ("cat >/dev/null; echo eof >>ended", "eof"),
    "term": ("trap 'echo term >>ended; exit 0' TERM; echo ready >>began; while :; do sleep 0.05; done", "term"),
    "kill": ("trap '' TERM; echo ready >>began; while :; do sleep 0.05; done", ""),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_server_is_ended_no_harder_than_it_needs(folder: Path, end: str) -> None:
    """Its stdin is closed; one that stays gets SIGTERM; one that stays again gets SIGKILL; each after its time."""
    script, told = ENDS[end]
    async with connected(fleet_file(folder, ["sh", "-c", script]), initialized=False) as client:
        status = await client.until_status(state="ready")
        if end != "eof":
            await until((folder / "began").exists)
        await _close(client)
        async with asyncio.timeout(15):
            await client.process.wait()
        await nobody_left(status["pid"])
        assert ((folder / "ended").read_text().strip() if told else "") == told
        assert not told or client.process.returncode == 0
