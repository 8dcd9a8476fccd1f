"""Alerting rules of the signals: one rule per signal, whose severity comes from the threshold series. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fleet.signals import LOW_LOAD_SHARE, MIN_RULE_OPERATIONS, Direction, Severity, Signal, SignalName
from rules.promql import duration
from rules.recording import Rule, evidence_name, threshold_name, value_name, window

RUNBOOKS: Final = "https://github.com/mcp-medic/mcp-medic/blob/main/docs/runbooks"
"""Where ``docs/runbooks`` can be read by whoever gets the page; ``runbook_url`` is ``RUNBOOKS/<alert>.md``."""

_SHOWN: Final = {
    "seconds": "humanizeDuration",
    "ratio": "humanizePercentage",
    "bytes": "humanize",
    "sessions": "humanize",
    "calls": "humanize",
    "usd_per_hour": 'printf "%.2f"',
}
_SUFFIX: Final = {"bytes": "B", "usd_per_hour": " USD/h"}


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
    SignalName.LOW_LOAD: _Words(
        "has little to do",
        "For {window} {{{{ $labels.server }}}} had at most {{{{ $value | humanizePercentage }}}} of the sessions that "
        f"its file allows; at {LOW_LOAD_SHARE:.0%} or less the profile low_load, with room for more, is suggested.",
    ),
    SignalName.SECURITY: _Words(
        "fails a security check",
        "Security checks of {{{{ $labels.server }}}} that fail:"
        '{{{{ range printf "mcp_server_security_check{{server=%q}} == 0" $labels.server | query }}}} '
        "{{{{ .Labels.check }}}}{{{{ end }}}}.",
    ),
}


def signal_alerts(signals: Iterable[Signal]) -> list[Rule]:
    """The alerts of what a threshold or a fixed level judges, in the order of ``signals``.

    A burning error budget needs two windows at once: ``rules.beyond_levels`` has it.
    """
    return [_alert(signal) for signal in signals if signal.name is not SignalName.AVAILABILITY]


def runbook_url(alert: str) -> str:
    """The page that says what to do about ``alert``."""
    return f"{RUNBOOKS}/{alert}.md"


def timing(hold_seconds: int, keep_firing_seconds: int) -> Rule:
    """``for`` and ``keep_firing_for``, each only when it is not zero."""
    durations = {"for": hold_seconds, "keep_firing_for": keep_firing_seconds}
    return {key: duration(seconds * 1000) for key, seconds in durations.items() if seconds}


def alert_rule(
    name: str,
    expression: str,
    labels: dict[str, str],
    texts: tuple[str, str],
    *,
    hold_seconds: int = 0,
    keep_firing_seconds: int = 0,
) -> Rule:
    """An alerting rule as it stands in the file. ``texts``: summary and description."""
    summary, description = texts
    return {
        "alert": name,
        "expr": expression,
        **timing(hold_seconds, keep_firing_seconds),
        "labels": labels,
        "annotations": {"summary": summary, "description": description, "runbook_url": runbook_url(name)},
    }


def _alert(signal: Signal) -> Rule:
    labels = {"signal": str(signal.name)}
    if signal.threshold is None:
        labels["severity"] = str(signal.fixed_severity)
    return alert_rule(
        signal.alert,
        _condition(signal),
        labels,
        (_summary(signal), _description(signal)),
        hold_seconds=signal.hold_seconds,
        keep_firing_seconds=signal.keep_firing_seconds,
    )


def _condition(signal: Signal) -> str:
    lines = [_comparison(signal)]
    if signal.rests_on_traffic:
        lines.append(f"and on (server) ({evidence_name(signal)} >= {MIN_RULE_OPERATIONS})")
    if signal.suppressed:
        lines.append(f"unless on (server) (\n  {signal.suppression(window(signal))}\n)")
    if signal.critical_where:
        lines.append(f"or\n{_critical_cases(signal)}")
    return "\n".join(lines)


def _comparison(signal: Signal) -> str:
    if signal.threshold is None:
        return f"{value_name(signal)} {signal.direction} {signal.fixed_critical:g}"
    # A comparison keeps the value of its left side; group_right gives it the labels, and so the severity, of the right.
    beyond = f"{value_name(signal)}\n  {signal.direction} on (server) group_right ()\n  "
    level = threshold_name(signal.threshold)
    if signal.ends_at == 1:
        return f"(\n  {beyond}{level}\n)"
    return (
        f"(\n  {beyond}{level}\n  or\n  {beyond}({signal.ends_at:g} * {level})\n"
        f'  and on (server, severity) ALERTS{{alertname="{signal.alert}",alertstate="firing"}}\n)'
    )


def _critical_cases(signal: Signal) -> str:
    where = signal.critical_cases(window(signal))
    critical = f"{value_name(signal)} and on (server) ({where})"
    return f'label_replace(\n  {critical},\n  "severity", "{Severity.CRITICAL}", "", ""\n)'


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
