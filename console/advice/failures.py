"""Rules about what goes wrong: the breaker, timeouts, retries. Pure."""

from __future__ import annotations

import math
from typing import Final

from console import paper
from console.advice.caching import in_emergency
from console.advice.facts import Facts
from console.advice.recommendation import Draft, Effort, Gravity, Risk
from console.advice.rule import Rule
from console.reading.period import written
from fleet.inventory import Enforced
from fleet.profiles import BREAKER
from fleet.server_settings import Setting, as_toml

LEAST_BURST: Final = 10
BURST_FACTOR: Final = 2
HASTY_OPENINGS: Final = 3
HASTY_SHARE: Final = 3.0
"""A breaker that turns away so many times what failed does more harm than good."""

SLOW_CALLS: Final = 1_000
"""Calls without which a p99 says nothing about the slowest."""

FAR: Final = 5.0
LEAST_TIMEOUT_SECONDS: Final = 5.0
_ABOVE_P99: Final = 3.0
CUT_CALLS: Final = 10
CUT_SHARE: Final = 0.005
_AT_THE_TIMEOUT: Final = 0.8
_LONGER: Final = 1.5
RETRIABLE: Final = 10

THRESHOLD: Final = Setting("performance", "circuit_breaker_threshold")
TIMEOUT: Final = Setting("performance", "initial_response_timeout")


def _breaker_off(facts: Facts) -> Draft | None:
    burst, threshold = facts.count("worst_burst"), facts.tuning.circuit_breaker_threshold
    if burst < max(LEAST_BURST, BURST_FACTOR * threshold):
        return None
    wait = facts.tuning.initial_response_seconds
    return Draft(
        gravity=Gravity.MEDIUM,
        title="Switch the circuit breaker on",
        why=f"up to {paper.number(round(burst))} calls failed within 5 minutes,"
        f" {paper.number(round(facts.count('breaker_errors')))}"
        f" in {written(facts.period)}",
        effect=f"after {threshold} failures in a row callers hear so at once instead of waiting up to"
        f" {paper.seconds(wait)},"
        " and the server gets time; how many of them were in a row is not measured while it is off",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"calls are refused for {paper.seconds(facts.tuning.circuit_breaker_seconds)} after each opening",
        figures=("calls", "breaker_errors", "worst_burst", "timeouts"),
        changes={BREAKER: as_toml(True)},
    )


def _breaker_hasty(facts: Facts) -> Draft | None:
    opened, refused, failed = facts.of("breaker_opened"), facts.count("refused_breaker"), facts.count("breaker_errors")
    if opened < HASTY_OPENINGS or refused <= HASTY_SHARE * failed:
        return None
    now = facts.tuning.circuit_breaker_threshold
    return Draft(
        gravity=Gravity.MEDIUM,
        title=f"Let {now * 2} failures in a row open the breaker instead of {now}",
        why=f"it opened {paper.number(round(opened))} times and turned {paper.number(round(refused))} calls away, while"
        f" {paper.number(round(failed))} failed",
        effect=f"bursts of fewer than {now * 2} failures open it no more; at best the {paper.number(round(refused))}"
        " calls"
        f" that were turned away in {written(facts.period)} are served",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"a server that is really down is asked {now} more times before it gets its pause",
        figures=("breaker_opened", "refused_breaker", "breaker_errors", "calls"),
        changes={THRESHOLD: as_toml(now * 2)},
    )


def _timeout_long(facts: Facts) -> Draft | None:
    now, p99 = facts.tuning.initial_response_seconds, facts.of("p99")
    then = float(max(LEAST_TIMEOUT_SECONDS, math.ceil(_ABOVE_P99 * p99)))
    if facts.count("timeouts") >= 1 or p99 <= 0 or now <= FAR * p99 or then * 2 > now:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title=f"Wait {paper.seconds(then)} for the first byte of an answer instead of {paper.seconds(now)}",
        why=f"99 of 100 calls are answered within {paper.seconds(p99)}, and none of"
        f" {paper.number(round(facts.of('calls')))}"
        " timed out",
        effect=f"a server that hangs is noticed {paper.seconds(now - then)} earlier",
        effort=Effort.SETTING,
        risk=Risk.MEDIUM if _cuts(facts) else Risk.LOW,
        risk_because="a rare call that needs longer is ended where enforce names timeouts, else only counted",
        figures=("calls", "timeouts", "p95", "p99"),
        changes={TIMEOUT: as_toml(round(then * 1000))},
    )


def _timeout_short(facts: Facts) -> Draft | None:
    figure = "timeouts" if _cuts(facts) else "would_timeouts"
    cut, calls = facts.count(figure), facts.of("calls")
    now = facts.tuning.initial_response_seconds
    if cut < CUT_CALLS or cut < CUT_SHARE * calls or facts.of("p99") < _AT_THE_TIMEOUT * now:
        return None
    then = math.ceil(now * _LONGER)
    share = paper.ratio(cut / calls)
    what = (
        f"{share} of the calls were ended"
        if _cuts(facts)
        else f"{share} of the calls would be ended if it were enforced"
    )
    return Draft(
        gravity=Gravity.MEDIUM,
        title=f"Wait {paper.seconds(then)} for the first byte of an answer instead of {paper.seconds(now)}",
        why=f"{what}: the slowest hundredth needs {paper.seconds(facts.of('p99'))}, about as long as the timeout",
        effect=f"calls of up to {paper.seconds(then)} come to their end; how many of the {paper.number(round(cut))}"
        " those"
        " are is not measured",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"a server that hangs is noticed {paper.seconds(then - now)} later; better is a faster tool",
        figures=("calls", figure, "p99"),
        changes={TIMEOUT: as_toml(then * 1000)},
    )


def _retries(facts: Facts) -> Draft | None:
    lost = facts.of("would_retries")
    if lost < RETRIABLE:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Enforce the retries that the file asks for",
        why=f"{paper.number(round(lost))} reads got no answer in {written(facts.period)} and were not asked again:"
        " max_retries"
        " is only measured",
        effect=f"up to {paper.number(round(lost))} lists and reads are asked again instead of failing",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="only reads are repeated, never a call of a tool; a dead server is asked more often",
        figures=("would_retries", "calls"),
        facts=(facts.in_fleet("enforce", ", ".join(sorted(facts.server.enforce)) or "names nothing"),),
    )


def _cuts(facts: Facts) -> bool:
    return Enforced.TIMEOUTS in facts.server.enforce


RULES: Final = (
    Rule(
        "breaker_off", _breaker_off, calls=1,
        concerns=lambda facts: not facts.tuning.enable_circuit_breaker and not in_emergency(facts),
    ),
    Rule(
        "breaker_hasty", _breaker_hasty, needs=("breaker_opened",), calls=1,
        concerns=lambda facts: facts.tuning.enable_circuit_breaker,
    ),
    Rule("timeout_long", _timeout_long, needs=("p99",), calls=SLOW_CALLS),
    Rule("timeout_short", _timeout_short, needs=("p99",), calls=SLOW_CALLS),
    Rule(
        "retries_only_measured", _retries, needs=("would_retries",),
        concerns=lambda facts: facts.tuning.max_retries > 0 and Enforced.RETRIES not in facts.server.enforce,
    ),
)  # fmt: skip
