"""What the checks decide with: the links of the chain, what of a line may be shown, who answered in which protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.diagnosing import chain
from console.diagnosing.checks import Outcome, failed, passed, skipped, unreachable
from console.diagnosing.conversation import Answer, Conversation, Era, answer_in, failure
from console.diagnosing.gateways import instance
from console.diagnosing.health import word
from console.diagnosing.redaction import program, shown
from console.report import Word
from fleet.errors import PermanentError
from fleet.signals import BY_ALERT

RECEIVER = "http://127.0.0.1:9848"
ROUTED = """
route: {{receiver: people, routes: [{{receiver: remediator}}]}}
receivers: [{{name: people}}, {{name: remediator, webhook_configs: [{{url: "{url}"}}]}}]
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def target(job: str, health: str = "up", error: str = "") -> dict[str, Any]:
    return {"labels": {"job": job}, "health": health, "lastError": error, "scrapeUrl": f"http://{job}/metrics"}


def test_every_job_has_to_be_scraped_and_every_target_to_answer() -> None:
    every = [target(job) for job in chain.JOBS]
    assert chain.targets(every).outcome is Outcome.PASSED
    lacking = chain.targets(every[1:])
    assert (lacking.outcome, chain.JOBS[0] in lacking.saw) == (Outcome.FAILED, True)
    down = chain.targets([target(chain.JOBS[0], "down", "connection refused"), *every[1:]])
    assert down.outcome is Outcome.FAILED
    assert "connection refused" in down.saw


def test_every_alert_of_the_table_has_to_be_loaded_and_to_work() -> None:
    every = [{"name": name, "health": "ok"} for name in BY_ALERT]
    assert chain.rules(every).outcome is Outcome.PASSED
    assert chain.rules(every[1:]).outcome is Outcome.FAILED
    broken = chain.rules([*every, {"name": "mcp:x", "health": "err", "lastError": "many-to-many"}])
    assert "many-to-many" in broken.saw


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        (f"{RECEIVER}/api/v1/alerts", Outcome.PASSED),
        ("http://localhost:9848/api/v1/alerts", Outcome.PASSED),
        ("<secret>", Outcome.PASSED),
        ("http://127.0.0.1:1/api/v1/alerts", Outcome.FAILED),
        (f"{RECEIVER}/other", Outcome.FAILED),
        ("http://[broken", Outcome.FAILED),
    ],
)
def test_alertmanager_has_to_post_to_our_receiver(url: str, outcome: Outcome) -> None:
    assert chain.route(ROUTED.format(url=url), RECEIVER).outcome is outcome


def test_a_receiver_to_which_no_route_leads_gets_nothing() -> None:
    text = ROUTED.format(url=f"{RECEIVER}/api/v1/alerts").replace("{receiver: remediator}", "")
    check = chain.route(text, RECEIVER)
    assert (check.outcome, "no route" in check.saw) == (Outcome.FAILED, True)


@given(st.text(max_size=60))
def test_any_configuration_gets_a_word(text: str) -> None:
    assert chain.route(text, RECEIVER).outcome in {Outcome.PASSED, Outcome.FAILED}


def test_clocks_that_differ_and_samples_that_are_old_are_told() -> None:
    assert chain.clock(1000.0, 1010.0).outcome is Outcome.PASSED
    assert "before" in chain.clock(2000.0, 1000.0).saw
    assert "behind" in chain.clock(1000.0, 2000.0).saw
    assert [chain.freshness("codex", age).outcome for age in (1.0, 90.0, None)] == [
        Outcome.PASSED,
        *[Outcome.FAILED] * 2,
    ]


def test_a_server_in_one_word() -> None:
    assert word([passed("a", ""), failed("b", "", "")]) is Word.CRITICAL
    assert word([passed("a", ""), skipped("b", "")]) is Word.HEALTHY
    assert word([skipped("a", ""), unreachable("b", "", "")]) is Word.UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        "token=hunter2hunter2",
        "Authorization: Bearer hunter2hunter2",
        '{"api_key": "hunter2hunter2", "x": 1}',
        "OPENAI_API_KEY=hunter2hunter2 node server.js",
        "redis://user:hunter2hunter2@host:6379/0",
        "password = 'hunter2 hunter2'",
        "using sk-hunter2hunter2",
        "eyJhunter2.hunter2.hunter2",
        "proxy sent Basic hunter2hunter2==",
    ],
)
def test_no_secret_of_a_log_is_shown(line: str) -> None:
    assert "hunter2" not in shown(f"2026-01-01 INFO {line}")


def test_what_is_no_secret_stays() -> None:
    line = "ERROR listen EADDRINUSE: address already in use 127.0.0.1:3001"
    assert shown(line) == line


@given(st.text(max_size=600))
def test_a_line_has_a_length(text: str) -> None:
    assert len(shown(text)) <= 203
    assert "\n" not in shown(text)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/usr/bin/python3", "-m", "http.server", "--token", "hunter2"], "python3 -m http.server"),
        (["node", "/srv/dist/server.js", "--key=hunter2"], "node server.js"),
        (["/opt/server", "hunter2"], "server"),
        ([], "a program"),
    ],
)
def test_a_command_line_is_told_without_its_arguments(argv: list[str], told: str) -> None:
    assert program(argv) == told


@given(JSON, st.integers())
def test_only_the_answer_to_the_question_is_one(message: Any, wanted: int) -> None:
    found = answer_in(message, wanted)
    assert found is None or isinstance(found, Answer)
    assert answer_in({"jsonrpc": "2.0", "id": wanted, "result": {}}, wanted) == Answer(200, {})
    assert answer_in({"jsonrpc": "2.0", "id": wanted + 1, "result": {}}, wanted) is None
    assert answer_in({"jsonrpc": "2.0", "id": wanted, "method": "ping"}, wanted) is None
    assert str(answer_in({"jsonrpc": "2.0", "id": None, "error": {"code": -1, "message": "x"}}, wanted)) == (
        "JSON-RPC error -1: x"
    )


def test_a_tool_that_fails_says_why() -> None:
    assert failure({"isError": True, "content": [{"type": "text", "text": "no\nhandle"}]}) == "no handle"
    assert failure({"isError": True})
    assert failure({"content": []}) == ""


@given(st.dictionaries(st.sampled_from(["up", "state", "pid", "restarts", "settings", "error", "reason"]), JSON))
def test_a_status_of_any_gateway_is_read(found: dict[str, Any]) -> None:
    assert instance(found).restarts == found.get("restarts", 0) or not isinstance(found.get("restarts"), int)


class Sleepy:
    """A modern server that is too slow for the first question, and refuses what legacy clients ask."""

    def __init__(self, *, wakes: bool) -> None:
        self.asked: list[tuple[str, Era]] = []
        self._wakes = wakes

    async def ask(self, era: Era, message: Mapping[str, Any], own: Mapping[str, str]) -> Answer:
        self.asked.append((message["method"], era))
        if len(self.asked) == 1:
            raise TimeoutError
        if message["method"] == "server/discover" and self._wakes:
            return Answer(result={"serverInfo": {"name": "late", "version": "2"}})
        return Answer(error="JSON-RPC error -32022: modern only")

    async def notify(self, message: Mapping[str, Any], own: Mapping[str, str]) -> None:
        raise AssertionError

    async def farewell(self, own: Mapping[str, str]) -> None:
        raise AssertionError


async def test_a_modern_server_that_wakes_up_late_is_asked_again() -> None:
    peer = Sleepy(wakes=True)
    assert await Conversation(peer, 1.0).greet() == "late 2 answers in version 2026-07-28"
    assert [method for method, _ in peer.asked] == ["server/discover", "initialize", "server/discover"]


async def test_a_server_that_knows_neither_handshake_is_told_with_its_own_words() -> None:
    with pytest.raises(PermanentError, match="modern only"):
        await Conversation(Sleepy(wakes=False), 1.0).greet()
