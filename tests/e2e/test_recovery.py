"""Emergency by hand on the live stack, and the way back in stages: measured, undone where it hurts, never over a
person's own edit.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from stack.derived import with_settings
from stack.loop import SERVER
from stack.watch import matching

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.prometheus,
    pytest.mark.alertmanager,
    pytest.mark.mcp_server,
    pytest.mark.timeout(240),
]
Start = Callable[..., "Awaitable[Any]"]

FLAGS = {"mcp.enable_response_caching", "mcp.enable_request_batching", "performance.enable_circuit_breaker"}
ALL_ON = dict.fromkeys(FLAGS, True)


def flags_of(text: str) -> dict[str, bool | None]:
    values = tomllib.loads(text)
    return {name: values[name.partition(".")[0]].get(name.partition(".")[2]) for name in FLAGS}


def edit(run: Any, settings: Mapping[str, bool | str], without: str) -> str:
    """What people do to the server's file: set something, remove a line. The text as it stands afterwards."""
    file = run.loop.server_config
    text = with_settings(file.read_text(encoding="utf-8"), settings)
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(without))
    written = file.with_suffix(".by-hand")
    written.write_text(text, encoding="utf-8")
    written.replace(file)
    return text


async def emergency(run: Any) -> None:
    """Asked for by hand; returns when it is done."""
    answer = await run.loop.receiver.act(SERVER, "emergency")
    assert answer.status == 202, answer.body
    assert json.loads(answer.body)["action"] == "emergency"
    ended = await run.watch.until_event("act_ended", 60, action="apply_profile")
    assert ended["outcome"] == "succeeded", ended
    assert flags_of(run.loop.server_config.read_text(encoding="utf-8")) == dict.fromkeys(FLAGS, False)


def stages_of(events: list[Any], action: str = "recover") -> list[str]:
    return [event["told"] for event in matching(events, "act_intended", action=action)]


async def test_what_an_emergency_lowered_returns_in_three_measured_stages(start: Start) -> None:
    run = await start(settings=ALL_ON)
    before = run.loop.server_config.read_bytes()
    await run.watch.calm()
    await emergency(run)
    closed = await run.watch.until_event("closed", 120)
    assert (closed["reason"], closed["left"], closed["kept"]) == ("healed", {}, {})
    events = await run.watch.events()
    assert stages_of(events) == ["recover caching", "recover batching", "recover breaker"]
    for intent in matching(events, "act_intended", action="recover"):
        verdicts = matching(events, "verdict_given", act=intent["act"], final=True)
        assert [verdict["verdict"] for verdict in verdicts][-1:] == ["healed"], intent["told"]
    assert stages_of(events, "take_back") == []
    assert run.loop.server_config.read_bytes() == before
    counted = await run.loop.prometheus.value("sum(mcp_remediation_manual_actions_total)")
    assert counted == 1


async def test_a_stage_that_hurts_is_taken_back_and_a_persons_edit_stays(start: Start) -> None:
    run = await start(settings=ALL_ON)
    await run.watch.calm()
    await emergency(run)
    # Somebody wants no cache for good, and a deployment breaks the code behind batching.
    allergic: dict[str, bool | str] = {"server.allergic_to": "mcp.enable_request_batching"}
    by_hand = edit(run, allergic, without="enable_response_caching")
    taken_back = await run.watch.until_event("act_ended", 150, action="take_back")
    assert taken_back["outcome"] == "succeeded", taken_back
    closed = await run.watch.until_event("closed", 120)
    events = await run.watch.events()
    hurt = [event["act"] for event in matching(events, "act_intended", told="recover batching")]
    assert len(hurt) == 1
    verdicts = [event["verdict"] for event in matching(events, "verdict_given", act=hurt[0], final=True)]
    assert verdicts[-1] in {"not_healed", "worse"}
    assert "mcp.enable_request_batching" in closed["left"]
    assert closed["kept"] == {"mcp.enable_response_caching": None}
    assert flags_of(run.loop.server_config.read_text(encoding="utf-8")) == {
        "mcp.enable_response_caching": None,
        "mcp.enable_request_batching": False,
        "performance.enable_circuit_breaker": False,
    }
    # What the person wrote is what stands: nothing but flags was ever ours to change.
    assert run.loop.server_config.read_text(encoding="utf-8") == by_hand


async def test_what_cannot_be_asked_for_is_refused_with_its_reason(start: Start) -> None:
    run = await start(without=frozenset({"alertmanager"}), traffic=False)
    api = run.loop.receiver
    assert (await api.act("unheard-of", "emergency")).status == 404
    assert (await api.act(SERVER, "format")).status == 404
    refused = await api.act(SERVER, "recover")
    assert (refused.status, json.loads(refused.body)["reason"]) == (409, "no_effect")
