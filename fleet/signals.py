"""One entry per signal: what rules judge, what verdicts ask, what dashboards draw.

The rule files are generated from this table and the receiver's verdicts use the same expressions, so that an
alert and the proof that it was healed can never mean two things.

An expression is a PromQL text with two places: ``$range`` (a duration such as ``5m``) and ``$matchers`` (label
matchers that are put before the closing brace, each with a leading comma, or nothing). It yields at most one
sample per ``server``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from string import Template
from typing import Final

from fleet.telemetry import NOT_THE_SERVERS_ERRORS


class SignalName(enum.StrEnum):
    """The label ``signal``, in the order in which a merged ladder treats them."""

    DOWN = "down"
    CIRCUIT_BREAKER = "circuit_breaker"
    ERROR_RATIO = "error_ratio"
    MEMORY = "memory"
    RESPONSE_TIME = "response_time"
    SESSIONS = "sessions"
    CACHE_HIT_RATIO = "cache_hit_ratio"


class Severity(enum.StrEnum):
    """The label ``severity`` of an alert and of a threshold series."""

    WARNING = "warning"
    CRITICAL = "critical"


class Direction(enum.StrEnum):
    """On which side of its threshold a signal is ill; comparisons are "at or beyond"."""

    HIGH = ">="
    LOW = "<="

    def beyond(self, value: float, threshold: float) -> bool:
        """True when ``value`` is at or beyond ``threshold``."""
        return value >= threshold if self is Direction.HIGH else value <= threshold


@dataclass(frozen=True, slots=True)
class Signal:
    """How one vital sign is measured and judged.

    Attributes:
        name: the label ``signal``.
        alert: the name of its alert.
        title: for people, as a dashboard's title.
        unit: ``seconds``, ``ratio``, ``bytes``, ``sessions`` or ``bool``.
        direction: on which side it is ill.
        expression: PromQL with ``$range`` and ``$matchers``; one sample per server.
        evidence: PromQL that counts what the expression rests on over ``$range``: operations, lookups or scrapes.
        rests_on_traffic: True when ``evidence`` counts traffic (``min_operations`` applies), False for scrapes.
        threshold: its key in ``thresholds``; None when the level below is fixed.
        fixed_critical: the critical level where no threshold key exists.
        suppressed: PromQL that yields the servers on which the signal is not ill whatever its value, or "".
        distorted_by: actions after which the value says nothing until they are undone.
        window_seconds: the range the rules use.
        hold_seconds: the rules' ``for``.
        keep_firing_seconds: the rules' ``keep_firing_for``.
    """

    name: SignalName
    alert: str
    title: str
    unit: str
    direction: Direction
    expression: str
    evidence: str
    rests_on_traffic: bool
    threshold: str | None
    fixed_critical: float | None = None
    suppressed: str = ""
    distorted_by: frozenset[str] = frozenset()
    window_seconds: int = 300
    hold_seconds: int = 120
    keep_firing_seconds: int = 60

    def value(self, duration: str, matchers: str = "") -> str:
        """The expression over ``duration`` for the servers that ``matchers`` (``,server="x"``) select."""
        return _filled(self.expression, duration, matchers)

    def evidence_count(self, duration: str, matchers: str = "") -> str:
        """How many operations, lookups or scrapes the value over ``duration`` rests on."""
        return _filled(self.evidence, duration, matchers)

    def suppression(self, duration: str, matchers: str = "") -> str:
        """The servers on which it is not ill whatever its value, or "" when there is no such case."""
        return _filled(self.suppressed, duration, matchers)


def server_matcher(server: str) -> str:
    """The ``matchers`` that select one server. ``server`` is a configured name, never a label of an alert."""
    return f',server="{server}"'


def _filled(template: str, duration: str, matchers: str) -> str:
    return Template(template).substitute(range=duration, matchers=matchers)


_CALLS: Final = "mcp_server_operation_duration_seconds_count"
_CALL: Final = 'mcp_method_name="tools/call"'
# Fast refusals and failures must never look like health, so p95 is taken over calls that ended well or timed out.
_ANSWERED: Final = f'{_CALL},error_type=~"|timeout"'
_SERVERS_OWN: Final = 'error_type!~"' + "|".join(NOT_THE_SERVERS_ERRORS) + '"'
_SCRAPES: Final = 'max by (server) (count_over_time({metric}{{server!=""$matchers}}[$range]))'


def _gauge(metric: str) -> str:
    # The mean, so that one odd scrape neither alarms nor heals; max by server, so that two exporters do not add up.
    return f'max by (server) (avg_over_time({metric}{{server!=""$matchers}}[$range]))'


SIGNALS: Final[tuple[Signal, ...]] = (
    Signal(
        name=SignalName.DOWN,
        alert="McpServerDown",
        title="Up",
        unit="bool",
        direction=Direction.LOW,
        expression='min by (server) (min_over_time(mcp_server_up{server!=""$matchers}[$range]))',
        evidence=_SCRAPES.format(metric="mcp_server_up"),
        rests_on_traffic=False,
        threshold=None,
        fixed_critical=0.0,
        window_seconds=60,
        # One failed scrape is remembered for the whole window, so a hold as long as that would fire for it.
        hold_seconds=90,
        keep_firing_seconds=0,
    ),
    Signal(
        name=SignalName.CIRCUIT_BREAKER,
        alert="McpCircuitBreakerOpen",
        title="Circuit breaker open",
        unit="bool",
        direction=Direction.HIGH,
        expression='max by (server) (max_over_time(mcp_server_circuit_breaker_state{state="open"$matchers}[$range]))',
        evidence=_SCRAPES.format(metric="mcp_server_circuit_breaker_state"),
        rests_on_traffic=False,
        threshold=None,
        fixed_critical=1.0,
        window_seconds=60,
        # Longer than it stays open before its first trial: half-open gets its chance.
        hold_seconds=90,
    ),
    Signal(
        name=SignalName.ERROR_RATIO,
        alert="McpErrorRatioHigh",
        title="Error ratio",
        unit="ratio",
        direction=Direction.HIGH,
        expression=(
            "("
            f"sum by (server) (increase(mcp_server_errors_total{{{_CALL},{_SERVERS_OWN}$matchers}}[$range]))"
            f' or sum by (server) (increase({_CALLS}{{{_CALL},error_type!="",{_SERVERS_OWN}$matchers}}[$range]))'
            f" or 0 * sum by (server) (increase({_CALLS}{{{_CALL}$matchers}}[$range]))"
            f") / sum by (server) (increase({_CALLS}{{{_CALL}$matchers}}[$range]))"
        ),
        evidence=f"sum by (server) (increase({_CALLS}{{{_CALL}$matchers}}[$range]))",
        rests_on_traffic=True,
        threshold="error_ratio",
    ),
    Signal(
        name=SignalName.MEMORY,
        alert="McpMemoryHigh",
        title="Memory (largest instance)",
        unit="bytes",
        direction=Direction.HIGH,
        expression=_gauge("mcp_server_resident_memory_max_bytes"),
        evidence=_SCRAPES.format(metric="mcp_server_resident_memory_max_bytes"),
        rests_on_traffic=False,
        threshold="resident_memory_bytes",
        window_seconds=60,
    ),
    Signal(
        name=SignalName.RESPONSE_TIME,
        alert="McpResponseTimeHigh",
        title="Response time (p95)",
        unit="seconds",
        direction=Direction.HIGH,
        expression=(
            "histogram_quantile(0.95, sum by (server, le) "
            f"(rate(mcp_server_operation_duration_seconds_bucket{{{_ANSWERED}$matchers}}[$range])))"
        ),
        evidence=f"sum by (server) (increase({_CALLS}{{{_ANSWERED}$matchers}}[$range]))",
        rests_on_traffic=True,
        threshold="response_time_seconds",
    ),
    Signal(
        name=SignalName.SESSIONS,
        alert="McpSessionsHigh",
        title="Sessions",
        unit="sessions",
        direction=Direction.HIGH,
        expression=_gauge("mcp_server_sessions"),
        evidence=_SCRAPES.format(metric="mcp_server_sessions"),
        rests_on_traffic=False,
        threshold="sessions",
        # mcp_server_sessions_limit exists only where a cap is enforced. The count is held there, so being at the cap is
        # ill only while callers are refused. Beyond it are those that were there before a treatment lowered it.
        suppressed=(
            '(max by (server) (mcp_server_sessions{server!=""$matchers})'
            ' == on (server) max by (server) (mcp_server_sessions_limit{server!=""$matchers}))'
            " unless on (server)"
            ' (sum by (server) (increase(mcp_server_refused_total{reason="sessions"$matchers}[$range])) > 0)'
        ),
        window_seconds=60,
    ),
    Signal(
        name=SignalName.CACHE_HIT_RATIO,
        alert="McpCacheHitRatioLow",
        title="Cache hit ratio",
        unit="ratio",
        direction=Direction.LOW,
        expression=(
            'sum by (server) (increase(mcp_server_cache_hits_total{server!=""$matchers}[$range]))'
            ' / sum by (server) (increase(mcp_server_cache_requests_total{server!=""$matchers}[$range]))'
        ),
        evidence='sum by (server) (increase(mcp_server_cache_requests_total{server!=""$matchers}[$range]))',
        rests_on_traffic=True,
        threshold="cache_hit_ratio",
        distorted_by=frozenset({"reset_cache", "restart"}),
        hold_seconds=600,
    ),
)
"""Every signal whose rule is shipped, in the order of ``SignalName``."""

BY_NAME: Final[dict[str, Signal]] = {signal.name: signal for signal in SIGNALS}
BY_ALERT: Final[dict[str, Signal]] = {signal.alert: signal for signal in SIGNALS}

MIN_RULE_OPERATIONS: Final = 10
"""Traffic guard of the rules: fewer operations (or lookups) in the window say nothing about a ratio or a p95."""
