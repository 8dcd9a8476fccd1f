"""Recording rules of the signals: each one's value and evidence, and the thresholds that judge it. Pure.

No name holds a window (``mcp:signal_error_ratio``, not ``...:ratio5m``), because ``rules.scale`` changes windows
and must not change names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fleet.signals import SIGNALS, Severity, Signal
from fleet.thresholds import TABLE
from rules.promql import duration

Rule = dict[str, object]
"""One rule as it stands in a rule file."""


def record(name: str, expression: str, **labels: str) -> Rule:
    """A recording rule."""
    return {"record": name, "expr": expression, **({"labels": labels} if labels else {})}


THRESHOLD_WINDOW: Final = "5m"
"""How long a threshold outlives its exporter's silence. A gap in scraping must neither restart an alert's ``for``
nor let a server that has a level of its own be judged by the table."""


def value_name(signal: Signal) -> str:
    """The series that holds the signal's value per server."""
    return f"mcp:signal_{signal.name}"


def evidence_name(signal: Signal) -> str:
    """The series that holds how many operations or lookups the value rests on."""
    return f"mcp:evidence_{signal.name}"


def threshold_name(key: str) -> str:
    """The series that holds the levels of a threshold key, with the labels ``server`` and ``severity``."""
    return f"mcp:threshold_{key}"


def window(signal: Signal) -> str:
    """The range over which the rules take the signal."""
    return duration(signal.window_seconds * 1000)


QUICK: Final = tuple(signal for signal in SIGNALS if signal.window_seconds < 3600)
"""The signals that are judged at each evaluation."""
SLOW: Final = tuple(signal for signal in SIGNALS if signal not in QUICK)
"""Those that look back an hour: seldom enough is often enough, and an hour of samples is dear to read."""


def signal_rules(signals: Iterable[Signal]) -> list[Rule]:
    """Value, evidence and threshold of each signal; they stand before the alerts that read them."""
    return [rule for signal in signals for rule in _of_signal(signal)]


def _of_signal(signal: Signal) -> Iterator[Rule]:
    yield record(value_name(signal), signal.value(window(signal)))
    if signal.rests_on_traffic:
        yield record(evidence_name(signal), signal.evidence_count(window(signal)))
    if signal.threshold is not None:
        yield record(threshold_name(signal.threshold), _threshold(signal.threshold, value_name(signal)))


def _threshold(key: str, presence: str) -> str:
    # A server without levels of its own has the signal all the same when the signal has a value. That outlives a missed
    # scrape, as levels do. Matching "on (server)": a server either has all its levels from its exporter or all from the
    # table, so that levels of two sources never cross.
    defaults = "\n  or\n".join(_default(severity, level, presence) for severity, level in TABLE[key].items())
    return (
        f'max by (server, severity) (last_over_time(mcp_threshold_{key}{{server!=""}}[{THRESHOLD_WINDOW}]))\n'
        f"or on (server) (\n{defaults}\n)"
    )


def _default(severity: Severity, level: float, presence: str) -> str:
    present = f'group by (server) ({presence}{{server!=""}})'
    return f'  label_replace({level:.12g} * {present}, "severity", "{severity}", "", "")'
