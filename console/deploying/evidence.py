"""What Prometheus' answers say of a server that was just started. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from console.diagnosing import chain, checks
from console.diagnosing.checks import Check
from console.paper import moment

SCRAPE: Final = "scrape"
UP: Final = "up"
CRITICAL: Final = "critical alerts"

_REMEDY: Final = "Ask mcp-medic diagnose SERVER --tree monitoring, or leave this gate out: --without-monitoring"


@dataclass(frozen=True, slots=True)
class Seen:
    """``scraped_at`` is the time of the newest sample of ``mcp_server_up`` (Prometheus' clock), ``up`` its value;
    None where there is none. ``rules`` as Prometheus' API describes them, ``critical`` the alerts that fire.
    ``arrived_at`` is the time of the first sample after the start that was seen, None before.
    """

    scraped_at: float | None
    up: float | None
    rules: Sequence[Mapping[str, Any]]
    critical: Collection[str]
    arrived_at: float | None = None


def judged(seen: Seen, since: float, before: Collection[str]) -> tuple[Check, ...]:
    """The checks of the gate; ``since`` by Prometheus' clock, ``before`` are alerts that fired before it all."""
    return (_scraped(seen, since), _up(seen), _judging(seen), _critical(seen, before))


def _scraped(seen: Seen, since: float) -> Check:
    if seen.scraped_at is None:
        return checks.failed(SCRAPE, "Prometheus has no sample of it", _REMEDY)
    if seen.scraped_at <= since:
        saw = f"none since the start; the newest is of {moment(seen.scraped_at)}"
        return checks.failed(SCRAPE, saw, _REMEDY)
    return checks.passed(SCRAPE, f"one of {moment(seen.scraped_at)}, after the start")


def _up(seen: Seen) -> Check:
    if seen.up is None or seen.up < 1:
        return checks.failed(UP, "it counts as down", "Ask mcp-medic diagnose for the cause")
    return checks.passed(UP, "it counts as up")


def _judging(seen: Seen) -> Check:
    """Its rules are loaded, and were evaluated after that sample: before, silence would say nothing."""
    loaded = chain.rules(seen.rules)
    if loaded.outcome is not checks.Outcome.PASSED or seen.arrived_at is None:
        return loaded
    evaluated = [_evaluated(rule) for rule in seen.rules if str(rule.get("name", "")).startswith("Mcp")]
    if min(evaluated, default=0.0) < seen.arrived_at:
        return checks.failed(chain.RULES, "not evaluated yet since that scrape", "Look at Prometheus' log")
    return loaded


def _critical(seen: Seen, before: Collection[str]) -> Check:
    new = sorted(set(seen.critical) - set(before))
    if new:
        return checks.failed(CRITICAL, f"firing: {', '.join(new)}", "Ask mcp-medic alerts")
    old = sorted(set(seen.critical) & set(before))
    if old:
        return checks.passed(CRITICAL, f"none that did not fire before; still firing: {', '.join(old)}")
    return checks.passed(CRITICAL, "none fires")


def _evaluated(rule: Mapping[str, Any]) -> float:
    """When, in UNIX seconds; 0 where it never was."""
    try:
        return datetime.fromisoformat(str(rule.get("lastEvaluation"))).timestamp()
    except (ValueError, OverflowError):
        return 0.0
