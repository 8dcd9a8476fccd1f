"""Rules about the response cache: whether it is used, whether it helps, why it does not. Pure."""

from __future__ import annotations

import math
from typing import Final

from console import paper
from console.advice.facts import Facts
from console.advice.recommendation import Draft, Effort, Gravity, Risk
from console.advice.rule import Rule
from console.reading.period import written
from fleet.profiles import BATCHING, CACHING, held_by
from fleet.server_config import flattened
from fleet.server_settings import Setting, as_toml
from fleet.signals import Severity

LEAST_CALLS: Final = 100
"""In the period; of fewer nothing is said about how often they repeat."""

CACHED_ENTRIES: Final = 1_000
"""Answers that a gateway keeps at most, ``gateway.caching.MAX_ENTRIES``."""

WORTH_A_CACHE: Final = 0.1
"""The part of all calls that the allowed tools must have before a cache is worth its risk."""

EVICTING: Final = 0.01
"""Evictions by look-up from which the cache is too small for what is asked for."""

USELESS: Final = 0.05
_LONGER: Final = 2.0
_LEAST_GAIN: Final = 1.2
_ROOM: Final = 0.8
_TOGETHER: Final = 4
_REPEATED: Final = 0.3

CACHE_TTL: Final = Setting("mcp", "cache_ttl_ms")


def hit_ratio(facts: Facts) -> float | None:
    """Hits by look-ups of the period, None without look-ups."""
    lookups = facts.count("lookups")
    return facts.count("hits") / lookups if lookups > 0 else None


def ratio_with_ttl(ratio: float, longer: float) -> float:
    """The hit ratio when answers are kept ``longer`` times as long.

    Where each question comes again at a steady pace, hits follow a miss in proportion to the time that its answer is
    kept: ratio / (1 - ratio) grows by ``longer``.
    """
    if ratio >= 1:
        return 1.0
    grown = ratio / (1 - ratio) * longer
    return grown / (1 + grown)


def in_emergency(facts: Facts) -> bool:
    """Whether the file holds just what the profile emergency writes: nothing of it is to be tuned then."""
    config = facts.server.config
    return config is not None and "emergency" in held_by(flattened(config.values))


def _is_cached(facts: Facts) -> bool:
    return facts.is_http and facts.tuning.enable_response_caching


def _cache_off(facts: Facts) -> Draft | None:
    calls, may = facts.of("calls"), facts.of("cacheable_calls")
    if may < LEAST_CALLS or may < WORTH_A_CACHE * calls:
        return None
    ratio = hit_ratio(facts) if facts.count("lookups") >= LEAST_CALLS else None
    if ratio is None:
        goal = facts.level("cache_hit_rate", Severity.WARNING) or 0.0
        effect = (
            "how many of them repeat is not measured while it is off; at a hit ratio of"
            f" {paper.ratio(goal)}, its threshold, {_less(facts, may * goal)}"
        )
    else:
        effect = f"its hit ratio while it was on was {paper.ratio(ratio)}: {_less(facts, may * ratio)}"
    slow = facts.at_warning("p95", "response_time_p95")
    return Draft(
        gravity=Gravity.HIGH if slow else Gravity.MEDIUM,
        title="Switch response caching on",
        why=f"{_count(may)} calls in {written(facts.period)} were of tools that fleet.yml allows to be cached",
        effect=effect,
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"answers may be {paper.seconds(facts.tuning.cache_ttl_seconds)} old; if a treatment switched it"
        " off, its recovery gives it back by itself",
        figures=("calls", "cacheable_calls", "lookups", "hits", "p50", "p95"),
        changes={CACHING: as_toml(True)},
    )


def _less(facts: Facts, calls: float) -> str:
    saved = f"about {_count(calls)} calls less for the server in {written(facts.period)}"
    p50 = facts.figures.get("p50")
    return saved if p50 is None else f"{saved}, {paper.seconds(calls * p50)} of waiting less for its clients"


def _nothing_named(facts: Facts) -> Draft | None:
    return Draft(
        gravity=Gravity.LOW,
        title="Name the read-only tools whose answers may be cached",
        why="caching is on, but without cache.tools no result of a tool is ever kept: only lists and resources are",
        effect="how many calls repeat is not measured before a tool is named",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="only name tools that read and whose answer is the same for everybody who may ask",
        figures=("calls", "lookups"),
        facts=(facts.in_fleet("cache.tools", "names none"),),
    )


def _expires(facts: Facts) -> Draft | None:
    ratio, entries = hit_ratio(facts), max(1.0, facts.count("entries"))
    if ratio is None or not ratio >= USELESS or not _is_low(facts, ratio) or _evicts(facts):
        return None
    longer = min(_LONGER, _ROOM * CACHED_ENTRIES / entries)
    if longer < _LEAST_GAIN:
        return None
    now = facts.tuning.cache_ttl_seconds
    then = math.floor(now * longer)
    better = ratio_with_ttl(ratio, longer)
    more = (better - ratio) * facts.of("lookups")
    return Draft(
        gravity=Gravity.MEDIUM,
        title=f"Keep cached answers for {paper.seconds(then)} instead of {paper.seconds(now)}",
        why=f"only {paper.ratio(ratio)} of the look-ups hit, and nothing was pushed out: answers expire before they are"
        " asked for again",
        effect=f"about {paper.ratio(better)} would hit where questions come again at a steady pace:"
        f" {_less(facts, more)};"
        " nothing where the server's own ttlMs is shorter",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"answers may be {paper.seconds(then)} old; up to {_count(entries * longer)} answers in the"
        f" gateway's memory, which holds {_count(CACHED_ENTRIES)}",
        figures=("lookups", "hits", "evictions", "entries", "p50"),
        changes={CACHE_TTL: as_toml(then * 1000)},
    )


def _too_small(facts: Facts) -> Draft | None:
    ratio = hit_ratio(facts)
    if ratio is None or not _is_low(facts, ratio) or not _evicts(facts):
        return None
    return Draft(
        gravity=Gravity.MEDIUM,
        title="Allow fewer tools to be cached",
        why=f"only {paper.ratio(ratio)} of the look-ups hit, and {_count(facts.count('evictions'))} answers were pushed"
        f" out of the cache, which holds {_count(CACHED_ENTRIES)} answers or 64 MB",
        effect="what repeats stays in the cache when what never repeats is not put there; which tool repeats is not"
        " measured: try the one with the most calls alone",
        effort=Effort.FLEET_FILE,
        risk=Risk.NONE,
        risk_because="a tool that is not cached is asked as it was before",
        figures=("lookups", "hits", "evictions", "entries"),
        facts=(facts.in_fleet("cache.tools", ", ".join(sorted(facts.server.cache_tools)) or "names none"),),
    )


def _useless(facts: Facts) -> Draft | None:
    ratio = hit_ratio(facts)
    if ratio is None or ratio >= USELESS or _evicts(facts) or not facts.server.cache_tools:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Take the tools that never repeat out of cache.tools",
        why=f"only {paper.ratio(ratio)} of {_count(facts.of('lookups'))} look-ups hit: hardly any call comes again"
        " while"
        " its answer is kept",
        effect=f"no answer is {paper.seconds(facts.tuning.cache_ttl_seconds)} old any more; it costs the"
        f" {_count(facts.count('hits'))} calls that were saved in {written(facts.period)}",
        effort=Effort.FLEET_FILE,
        risk=Risk.NONE,
        risk_because="a tool that is not cached is asked as it was before",
        figures=("lookups", "hits", "evictions"),
        facts=(facts.in_fleet("cache.tools", ", ".join(sorted(facts.server.cache_tools))),),
    )


def _batching(facts: Facts) -> Draft | None:
    ratio = hit_ratio(facts)
    if ratio is None or ratio < _REPEATED or facts.of("in_flight_most") < _TOGETHER:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Let equal calls that are under way at once share one",
        why=f"{paper.ratio(ratio)} of the look-ups repeat an earlier one, and up to"
        f" {_count(facts.of('in_flight_most'))} calls are at the server at once",
        effect=f"at most {_count(facts.of('lookups') - facts.count('hits'))} calls less in {written(facts.period)}:"
        " those"
        " that ask for the same in the same moment, which is not measured while it is off",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because="up to batch_size callers get one answer, and its failure",
        figures=("lookups", "hits", "in_flight_most"),
        changes={BATCHING: as_toml(True)},
    )


def _left_in_emergency(facts: Facts) -> Draft | None:
    if not in_emergency(facts):
        return None
    return Draft(
        gravity=Gravity.HIGH,
        title="Take the emergency back",
        why="the file stands as the profile emergency leaves it: caching, batching and the breaker are off",
        effect="caching, batching and the breaker come back in stages, each with a check",
        effort=Effort.COMMAND,
        risk=Risk.LOW,
        risk_because="a stage that hurts is taken back",
        figures=("p95",),
        facts=tuple(facts.in_file(str(each), "false") for each in (CACHING, BATCHING)),
        command=f"mcp-medic recover {facts.server.name}",
    )


def _is_low(facts: Facts, ratio: float) -> bool:
    level = facts.level("cache_hit_rate", Severity.WARNING)
    return level is not None and ratio <= level


def _evicts(facts: Facts) -> bool:
    return facts.count("evictions") > EVICTING * facts.of("lookups")


def _count(value: float) -> str:
    return paper.number(round(value))


RULES: Final = (
    Rule("left_in_emergency", _left_in_emergency, concerns=lambda facts: facts.server.config is not None),
    Rule(
        "cache_off", _cache_off, needs=("cacheable_calls",), calls=LEAST_CALLS,
        concerns=lambda facts: (
            facts.is_http and bool(facts.server.cache_tools) and not facts.tuning.enable_response_caching
            and not in_emergency(facts)
        ),
    ),
    Rule(
        "cache_without_tools", _nothing_named, calls=LEAST_CALLS,
        concerns=lambda facts: _is_cached(facts) and not facts.server.cache_tools,
    ),
    Rule("cache_expires", _expires, concerns=_is_cached, needs=("lookups",), lookups=LEAST_CALLS),
    Rule("cache_too_small", _too_small, concerns=_is_cached, needs=("lookups",), lookups=LEAST_CALLS),
    Rule("cache_without_hits", _useless, concerns=_is_cached, needs=("lookups",), lookups=LEAST_CALLS),
    Rule(
        "batching_off", _batching, needs=("lookups", "in_flight_most"), lookups=LEAST_CALLS,
        concerns=lambda facts: _is_cached(facts) and not facts.tuning.enable_request_batching,
    ),
)  # fmt: skip
