"""Alerting rules of the signals: one rule per signal, whose severity comes from the threshold series. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.signals import MIN_RULE_OPERATIONS, SIGNALS, Direction, Severity, Signal, SignalName
from rules.promql import duration
from rules.recording import Rule, evidence_name, threshold_name, value_name, window

RUNBOOKS: Final = "https://github.com/mcp-medic/mcp-medic/blob/main/docs/runbooks"
"""Where ``docs/runbooks`` can be read by whoever gets the page; ``runbook_url`` is ``RUNBOOKS/<alert>.md``."""

_SHOWN: Final = {
    "seconds": "humanizeDuration",
    "ratio": "humanizePercentage",
    "bytes": "humanize",
    "sessions": "humanize",
}
_SUFFIX: Final = {"bytes": "B"}


@dataclass(frozen=True, slots=True)
class _Words:
    """What an alert without a threshold says: in a few words, and at length with a place for the window."""

    state: str
    description: str


_OF_FIXED_LEVEL: Final = {
    SignalName.DOWN: _Words(
        "is down",
        "A probe, an exchange or supervision proved {{{{ $labels.server }}}} broken, "
        "and it has not been seen well for {window} since.",
    ),
    SignalName.CIRCUIT_BREAKER: _Words(
        "has its circuit breaker open",
        "The circuit breaker in front of {{{{ $labels.server }}}} was open at some time during the last {window}, "
        "again and again: the server fails its trials, and calls are refused before they reach it.",
    ),
}


def signal_alerts() -> list[Rule]:
    """The alerts of the threshold table and of what has a fixed level, in the order of the signals."""
    return [_alert(signal) for signal in SIGNALS]


def runbook_url(alert: str) -> str:
    """The page that says what to do about ``alert``."""
    return f"{RUNBOOKS}/{alert}.md"


def timing(hold_seconds: int, keep_firing_seconds: int) -> Rule:
    """``for`` and ``keep_firing_for``, each only when it is not zero."""
    durations = {"for": hold_seconds, "keep_firing_for": keep_firing_seconds}
    return {key: duration(seconds * 1000) for key, seconds in durations.items() if seconds}


def _alert(signal: Signal) -> Rule:
    labels = {"signal": str(signal.name)}
    if signal.threshold is None:
        labels["severity"] = str(Severity.CRITICAL)
    return {
        "alert": signal.alert,
        "expr": _condition(signal),
        **timing(signal.hold_seconds, signal.keep_firing_seconds),
        "labels": labels,
        "annotations": {
            "summary": _summary(signal),
            "description": _description(signal),
            "runbook_url": runbook_url(signal.alert),
        },
    }


def _condition(signal: Signal) -> str:
    lines = [_comparison(signal)]
    if signal.rests_on_traffic:
        lines.append(f"and on (server) ({evidence_name(signal)} >= {MIN_RULE_OPERATIONS})")
    if signal.suppressed:
        lines.append(f"unless on (server) (\n  {signal.suppression(window(signal))}\n)")
    return "\n".join(lines)


def _comparison(signal: Signal) -> str:
    if signal.threshold is None:
        return f"{value_name(signal)} {signal.direction} {signal.fixed_critical:g}"
    # A comparison keeps the value of its left side; group_right gives it the labels, and so the severity, of the right.
    return (
        f"(\n  {value_name(signal)}\n  {signal.direction} on (server) group_right ()\n"
        f"  {threshold_name(signal.threshold)}\n)"
    )


def _summary(signal: Signal) -> str:
    if signal.threshold is None:
        return f"MCP server {{{{ $labels.server }}}} {_OF_FIXED_LEVEL[signal.name].state}"
    side = "high" if signal.direction is Direction.HIGH else "low"
    return f"MCP server {{{{ $labels.server }}}}: {signal.title[0].lower()}{signal.title[1:]} too {side}"


def _description(signal: Signal) -> str:
    if signal.threshold is None:
        return _OF_FIXED_LEVEL[signal.name].description.format(window=window(signal))
    value = f"{{{{ $value | {_SHOWN[signal.unit]} }}}}{_SUFFIX.get(signal.unit, '')}"
    side = "more" if signal.direction is Direction.HIGH else "less"
    return (
        f"{signal.title} of {{{{ $labels.server }}}}: {value}; "
        f"{{{{ $labels.severity }}}} at {_level(signal, signal.threshold)} or {side}."
    )


def _level(signal: Signal, key: str) -> str:
    # %q quotes for Go and PromQL alike, so that no label value can become a part of the query.
    series = f'"{threshold_name(key)}{{server=%q,severity=%q}}"'
    return (
        f"{{{{ with printf {series} $labels.server $labels.severity | query }}}}"
        f"{{{{ . | first | value | {_SHOWN[signal.unit]} }}}}{{{{ end }}}}{_SUFFIX.get(signal.unit, '')}"
    )
