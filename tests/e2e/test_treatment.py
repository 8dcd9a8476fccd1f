"""The closed loop on real parts: faults that only a treatment ends, and what happens when a part fails meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from bench.calm import RESTARTED, stay_calm
from fleet.inventory import Transport
from fleet.signals import BY_NAME, SignalName
from stack.derived import Pace
from stack.loop import STDIO_CLIENTS
from stack.processes import poll
from stack.scenarios import SCENARIOS, Scenario
from stack.watch import matching

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = [pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.mcp_server, pytest.mark.timeout(400)]
Start = Callable[..., "Awaitable[Any]"]

CALM = Pace(factor=6)
"""Slower than the others: on a busy machine a restart has to stay shorter than an alert waits, as in production."""


# Several faults in one life of a server: more acts than a budget allows in one hour.
BUDGET = {"actions": {"count": 20, "per_seconds": 60}}


@pytest.mark.alertmanager
async def test_each_fault_is_healed_by_one_restart_over_http_and_stdio(start: Start) -> None:
    # Two loops at once: most of the time they wait.
    over_http = await start(limits=BUDGET)
    over_stdio = await start(limits=BUDGET, transport=Transport.STDIO)
    await asyncio.gather(
        healed_by_a_restart_each(over_http, "slow", "hang"), healed_by_a_restart_each(over_stdio, "crash", "leak")
    )
    assert await over_http.restarts() == 2
    assert await over_stdio.restarts() >= 2
    counts = await over_stdio.loop.stop_traffic()
    assert re.findall(r"reconnects=(\d+)", counts) == ["0"] * STDIO_CLIENTS, counts


async def healed_by_a_restart_each(run: Any, *faults: str) -> None:
    for number, fault in enumerate(faults, start=1):
        signal = SCENARIOS[fault].signal
        await run.watch.calm(90)
        await SCENARIOS[fault].switch_on(run.loop)
        closed = await poll_until_closed(run, number)
        assert [event["reason"] for event in closed] == ["healed"] * number
        events = await run.watch.events()
        assert len(matching(events, "act_intended", action="restart")) == number
        healed = matching(events, "verdict_given", action="restart", verdict="healed")[-1]
        assert signal in {judgement["signal"] for judgement in healed["judgements"]}
        assert all(judgement["evidence"] > 0 for judgement in healed["judgements"])
        assert not await run.watch.is_ill(BY_NAME[signal])


@pytest.mark.alertmanager
async def test_sessions_and_settings_are_treated_without_a_restart_while_another_server_is_left_alone(
    start: Start,
) -> None:
    scenarios = [SCENARIOS["sessions"], SCENARIOS["cache"]]
    settings = {name: value for scenario in scenarios for name, value in scenario.settings.items()}
    ill = await start(limits=BUDGET, settings=settings, enforce=scenarios[0].enforce)
    healthy = await start(pace=CALM)
    calm, _ = await asyncio.gather(stay_calm(healthy.loop, 60, lambda _: None), without_a_restart(ill, *scenarios))
    assert (calm.acts, calm.alerts) == ([], [])
    assert calm.restarts >= len(RESTARTED)


async def without_a_restart(run: Any, *scenarios: Scenario) -> None:
    for number, scenario in enumerate(scenarios, start=1):
        await run.watch.calm(90)
        await scenario.switch_on(run.loop)
        closed = await poll_until_closed(run, number)
        assert [event["reason"] for event in closed] == ["healed"] * number
        assert not await run.watch.is_ill(BY_NAME[scenario.signal])
    events = await run.watch.events()
    assert matching(events, "act_intended", action="restart") == []
    assert [event["action"] for event in matching(events, "act_intended")].count("set_config") == len(scenarios)
    assert await run.restarts() == 0


async def poll_until_closed(run: Any, count: int) -> list[Any]:
    """The ``closed`` entries once there are ``count`` of them."""
    found: list[Any] = []

    async def closed() -> bool:
        events = await run.watch.events()
        found[:] = matching(events, "closed")
        return len(found) >= count

    await run.watch.until(f"{count} incidents closed", closed, 150, lambda: str(found))
    return found


@pytest.mark.alertmanager
async def test_left_alone_the_fault_stays_and_people_are_called(start: Start) -> None:
    run = await start(mode="suggest")
    await run.watch.calm()
    run.loop.switch_on("errors")

    async def untreated() -> bool:
        return bool(await run.loop.prometheus.firing("McpUntreated", "example"))

    await run.watch.until("McpUntreated firing", untreated, 90, lambda: "not firing")
    assert await run.watch.is_ill(BY_NAME[SignalName.ERROR_RATIO])
    events = await run.watch.events()
    assert matching(events, "act_denied", action="restart", reason="suggest")
    assert matching(events, "act_intended", action="restart") == []
    assert await run.restarts() == 0


@pytest.mark.alertmanager
async def test_a_receiver_killed_amid_a_restart_does_not_restart_twice(start: Start) -> None:
    run = await start()
    await run.watch.calm()
    run.loop.switch_on("errors")

    async def intended() -> bool:
        return matching(await run.watch.events(), "act_intended", action="restart") != []

    assert await poll(intended, 60, every=0.02)
    await run.loop.kill("receiver")
    killed_at = time.time()
    await run.loop.start("receiver")
    ended = await run.watch.until_event("act_ended", 60, action="restart")
    assert ended["at"] > killed_at, "the restart had its outcome before the receiver was killed: nothing was tested"
    await poll_until_closed(run, 1)
    events = await run.watch.events()
    (intent,) = matching(events, "act_intended", action="restart")
    assert (ended["act"], ended["outcome"]) == (intent["act"], "succeeded")
    assert [event["reason"] for event in matching(events, "closed")] == ["healed"]
    assert await run.restarts() == 1


@pytest.mark.alertmanager
async def test_without_prometheus_nothing_is_called_healed(start: Start) -> None:
    run = await start(limits={"verdict_timeout_seconds": 8})
    await run.watch.calm()
    run.loop.switch_on("errors")

    async def intended() -> bool:
        return matching(await run.watch.events(), "act_intended", action="restart") != []

    assert await poll(intended, 60, every=0.02)
    await run.loop.stop("prometheus")

    async def people_called() -> bool:
        return matching(await run.watch.events(), "escalated") != []

    await run.watch.until("people called", people_called, 60, lambda: "")
    events = await run.watch.events()
    verdicts = {event["verdict"] for event in matching(events, "verdict_given")}
    assert verdicts == {"inconclusive"}
    assert matching(events, "closed") == []
    (incident,) = await run.loop.receiver.incidents()
    assert incident["healed_at"] is None


async def test_three_alerts_at_once_restart_once_and_a_repeated_body_does_nothing(start: Start) -> None:
    # Without Prometheus' own alerts in between: what is posted here is all that the receiver hears.
    run = await start(without=frozenset({"alertmanager"}))
    await run.watch.calm()
    body = run.webhook_body(
        ("McpErrorRatioHigh", "error_ratio"), ("McpResponseTimeHigh", "response_time"), ("McpServerDown", "down")
    )
    first, second = await asyncio.gather(run.loop.receiver.post_alerts(body), run.loop.receiver.post_alerts(body))
    assert (first.status, second.status) == (200, 200)
    await run.watch.until_event("act_ended", 60, action="restart")
    await run.watch.until_event("verdict_given", 60, action="restart", verdict="healed")
    third = await run.loop.receiver.post_alerts(body)
    assert third.status == 200

    async def judged_again() -> bool:
        return len(matching(await run.watch.events(), "verdict_given", verdict="healed")) >= 3

    # Nobody resolves these alerts, so it is measured again each healthy period (6 s), which is longer than a cooldown
    # (4 s): a second restart would have been allowed to come by then.
    await run.watch.until("two verdicts more", judged_again, 60, lambda: "")
    events = await run.watch.events()
    assert len(matching(events, "act_intended", action="restart")) == 1
    assert len(matching(events, "delivered")) == 1
    assert len(await run.loop.receiver.incidents()) == 1
    assert await run.restarts() == 1
