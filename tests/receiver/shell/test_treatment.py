"""The loop of one receiver over real sockets: what it does to a server, what it says of it, when it does nothing."""

from __future__ import annotations

import pytest

from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import LIMITS, Client, World, alert, until, until_true, webhook

ERRORS = SignalName.ERROR_RATIO


async def resolve(client: Client, server: str, *signals: str) -> None:
    status, _ = await client.post(webhook(*(alert(server, signal, firing=False) for signal in signals)))
    assert status == 200


async def test_an_ill_server_is_restarted_measured_and_closed_as_healed(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: not world.prometheus.vitals["alpha"].firing)
        await resolve(client, "alpha", ERRORS)
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert [(act["action"], act["outcome"], act["verdict"]) for act in incident["acts"]] == [
            ("evidence", "succeeded", None),
            ("restart", "succeeded", "healed"),
        ]
        kinds = await client.kinds(incident["id"])
        order = [kind for kind in kinds if kind not in {"delivered", "act_denied"}]
        assert order[:4] == ["act_intended", "act_ended", "act_intended", "act_ended"]
        assert order[-1] == "closed"
        assert "verdict_given" in order
        assert len(world.gateways["alpha"].restarts) == 1
        actions = 'mcp_remediation_actions_total{action="restart",outcome="succeeded",server="alpha"}'
        assert await client.metric(actions) == 1
        assert await client.metric('mcp_remediation_verdicts_total{signal="error_ratio",verdict="healed"}') >= 1
        assert await client.metric("mcp_remediation_time_to_act_seconds_count") == 1
        assert await client.metric("mcp_remediation_time_to_heal_seconds_count") == 1
        assert await client.metric('mcp_remediation_incidents{server="alpha",state="observing"}') == 0


async def test_the_acts_id_is_the_restarts_id(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: bool(world.gateways["alpha"].restarts))
        (incident,) = await client.incidents()
        assert incident["acts"][1]["act"] == world.gateways["alpha"].restarts[0]


async def test_three_alerts_at_once_lead_to_one_restart_at_most(world: World, start: Start) -> None:
    signals = (SignalName.ERROR_RATIO, SignalName.RESPONSE_TIME, SignalName.MEMORY)
    world.fall_ill("alpha", *signals)
    async with start() as client:
        await client.post(webhook(*(alert("alpha", signal) for signal in signals)))
        for signal in signals:  # and once more, each by itself
            await client.post(webhook(alert("alpha", signal, name=f"Other_{signal}")))
        await until_true(lambda: not world.prometheus.vitals["alpha"].firing)
        everything = [alert("alpha", signal, firing=False) for signal in signals]
        everything += [alert("alpha", signal, firing=False, name=f"Other_{signal}") for signal in signals]
        await client.post(webhook(*everything))
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert len(world.gateways["alpha"].asked) == 1
        assert len(await client.incidents()) == 1


async def test_what_a_restart_does_not_heal_calls_people(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].cured.clear()
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        incident = await client.until_state("escalated")
        assert incident["acts"][-1]["verdict"] == "not_healed"
        assert len(world.gateways["alpha"].asked) == 1
        assert await client.metric('mcp_remediation_incidents{server="alpha",state="escalated"}') == 1
        assert await client.metric('mcp_remediation_escalations_total{reason="ladder_exhausted"}') == 1


async def test_a_failed_restart_calls_people(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].outcome = "failed"
    world.gateways["alpha"].cured.clear()
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        incident = await client.until_state("escalated")
        assert incident["acts"][-1]["outcome"] == "failed"
        assert len(world.gateways["alpha"].asked) == 1


async def test_prometheus_gone_during_treatment_is_inconclusive_and_nothing_is_healed(
    world: World, start: Start
) -> None:
    world.limits = {**LIMITS, "verdict_timeout_seconds": 1.5}
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].cured.append(lambda: setattr(world.prometheus, "broken", True))
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: world.prometheus.broken)
        await resolve(client, "alpha", ERRORS)  # as Alertmanager does when Prometheus is gone
        incident = await client.until_state("escalated")
        assert incident["escalated_reason"] == "inconclusive"
        verdicts = {event["verdict"] for event in await client.events(incident["id"])
                    if event["kind"] == "verdict_given"}  # fmt: skip
        assert verdicts == {"inconclusive"}
        assert await client.metric('mcp_remediation_verdicts_total{signal="error_ratio",verdict="healed"}') == 0
        assert await client.metric("mcp_remediation_time_to_heal_seconds_count") == 0


async def test_without_traffic_nothing_is_called_healed(world: World, start: Start) -> None:
    world.limits = {**LIMITS, "verdict_timeout_seconds": 1.5}
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].cured.append(lambda: setattr(world.prometheus.vitals["alpha"], "evidence", 3.0))
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: not world.prometheus.vitals["alpha"].firing)
        await resolve(client, "alpha", ERRORS)
        incident = await client.until_state("escalated")
        assert incident["escalated_reason"] == "inconclusive"


async def test_an_alert_that_prometheus_still_has_keeps_the_incident_open(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].cured.append(
        lambda: world.prometheus.vitals["alpha"].firing.update({"McpErrorRatioHigh": ERRORS})
    )
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await client.until_state("observing")
        await resolve(client, "alpha", ERRORS)  # such as an alert that a person silenced
        asked = len(world.prometheus.queries)

        def asked_whether_it_fires() -> bool:
            return any(query.startswith("ALERTS{") for query in world.prometheus.queries[asked:])

        await until_true(asked_whether_it_fires)
        (incident,) = await client.incidents()
        assert incident["closed_at"] is None
        world.prometheus.vitals["alpha"].firing.clear()
        assert (await client.until_state("closed"))["closed_reason"] == "healed"


async def test_an_alert_of_another_signal_that_a_person_silenced_keeps_nothing_open(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    silenced = {"McpMemoryHigh": SignalName.MEMORY}
    world.gateways["alpha"].cured.append(lambda: world.prometheus.vitals["alpha"].firing.update(silenced))
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await client.until_state("observing")
        await resolve(client, "alpha", ERRORS)
        assert (await client.until_state("closed"))["closed_reason"] == "healed"


async def test_suggest_mode_says_what_it_would_do_and_does_nothing(world: World, start: Start) -> None:
    world.mode = "suggest"
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))

        async def denied() -> bool:
            (incident,) = await client.incidents()
            return {"action": "restart", "told": "restart", "reason": "suggest"} in incident["denied"]

        await until(denied)
        assert world.gateways["alpha"].asked == []
        assert await client.metric('mcp_remediation_denied_total{reason="suggest"}') == 1


async def test_a_warning_is_evidence_and_no_restart(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS, severity="warning")
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS, severity="warning")))

        async def denied() -> bool:
            (incident,) = await client.incidents()
            return {"action": "restart", "told": "restart", "reason": "severity"} in incident["denied"]

        await until(denied)
        assert world.gateways["alpha"].asked == []
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)


async def test_a_resolved_alert_never_opens_anything(world: World, start: Start) -> None:
    async with start() as client:
        await resolve(client, "alpha", ERRORS)
        assert await client.incidents() == []


async def test_servers_are_treated_side_by_side(world: World, start: Start) -> None:
    for server in ("alpha", "beta"):
        world.fall_ill(server, ERRORS)
        world.gateways[server].release.clear()
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await client.post(webhook(alert("beta", ERRORS)))
        held = [world.gateways[server] for server in ("alpha", "beta")]
        await until_true(lambda: all(gateway.began.is_set() for gateway in held))
        under_way = [act for each in await client.incidents() for act in each["acts"] if act["action"] == "restart"]
        assert [act["outcome"] for act in under_way] == [None, None]
        for gateway in held:
            gateway.release.set()


async def test_two_servers_never_share_the_last_place_of_the_fleets_budget(world: World, start: Start) -> None:
    world.limits = {**LIMITS, "concurrent_treatments": 1}
    for server in ("alpha", "beta"):
        world.fall_ill(server, ERRORS)
        world.gateways[server].release.clear()
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS), alert("beta", ERRORS)))

        async def refused() -> bool:
            return await client.metric('mcp_remediation_denied_total{reason="concurrent_treatments"}') == 1

        await until(refused)
        treated = [name for name, peer in world.gateways.items() if peer.asked]
        assert len(treated) == 1
        (other,) = set(world.gateways) - set(treated)
        for peer in world.gateways.values():
            peer.release.set()
        await resolve(client, treated[0], ERRORS)
        await until_true(lambda: bool(world.gateways[other].asked))


async def test_alertmanager_opens_an_incident_at_the_start(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        await until_true(lambda: bool(world.gateways["alpha"].restarts))
        (incident,) = await client.incidents()
        assert (await client.events(incident["id"]))[0]["via"] == "reconcile"
        assert await client.metric('mcp_remediation_reconciles_total{result="changed"}') == 1


@pytest.mark.parametrize("status", [500, 302, 404])
async def test_an_alertmanager_that_cannot_be_read_opens_and_closes_nothing(
    world: World, start: Start, status: int
) -> None:
    world.alertmanager.activate("alpha", "McpErrorRatioHigh", ERRORS)
    world.alertmanager.status = status
    async with start() as client:

        async def counted() -> bool:
            return await client.metric('mcp_remediation_reconciles_total{result="unreachable"}') >= 1

        await until(counted)
        assert await client.incidents() == []


async def test_an_act_under_way_is_finished_by_a_stop(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    gateway = world.gateways["alpha"]
    gateway.release.clear()
    gateway.cured.append(lambda: None)
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await gateway.began.wait()
        gateway.release.set()
    async with start() as client:
        (incident,) = await client.incidents()
        assert incident["acts"][1]["outcome"] == "succeeded"
    assert len(gateway.asked) == 1


async def test_an_act_that_a_stop_cuts_off_is_verified_and_not_repeated(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    gateway = world.gateways["alpha"]
    gateway.release.clear()
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS)))
        await gateway.began.wait()
    gateway.release.set()
    async with start() as client:
        await resolve(client, "alpha", ERRORS)
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
    assert len(gateway.asked) == 1
