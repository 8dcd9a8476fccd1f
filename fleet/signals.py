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
    QUEUE = "queue"
    COST = "cost"
    CACHE_HIT_RATIO = "cache_hit_ratio"
    LOW_LOAD = "low_load"
    AVAILABILITY = "availability"
    SECURITY = "security"


class Severity(enum.StrEnum):
    """The label ``severity`` of an alert and of a threshold series."""

    WARNING = "warning"
    CRITICAL = "critical"


ADVICE: Final = "info"
"""The label ``severity`` of an alert that nobody is called for: it only suggests. No threshold has this level."""


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
        unit: ``seconds``, ``ratio``, ``bytes``, ``sessions``, ``calls``, ``usd_per_hour``, ``factor`` or ``bool``.
        direction: on which side it is ill.
        expression: PromQL with ``$range`` and ``$matchers``; one sample per server.
        evidence: PromQL that counts what the expression rests on over ``$range``: operations, lookups or scrapes.
        rests_on_traffic: True when ``evidence`` counts traffic (``min_operations`` applies), False for scrapes.
        threshold: its key in ``thresholds``; None when the level below is fixed.
        fixed_critical: the level where no threshold key exists.
        fixed_severity: the severity of the alert where no threshold key exists.
        ends_at: the part of its threshold at which an alert that fires ends; below 1 it does not flutter at the level.
        suppressed: PromQL that yields the servers on which the signal is not ill whatever its value, or "".
        critical_where: PromQL that yields the servers on which it is critical whatever its value, or "".
        treated: False where automation has no treatment: it keeps evidence, and people are called.
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
    fixed_severity: str = Severity.CRITICAL
    ends_at: float = 1.0
    suppressed: str = ""
    critical_where: str = ""
    treated: bool = True
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

    def critical_cases(self, duration: str, matchers: str = "") -> str:
        """The servers on which it is critical whatever its value, or "" when there is no such case."""
        return _filled(self.critical_where, duration, matchers)


def server_matcher(server: str) -> str:
    """The ``matchers`` that select one server. ``server`` is a configured name, never a label of an alert."""
    return f',server="{server}"'


def _filled(template: str, duration: str, matchers: str) -> str:
    return Template(template).substitute(range=duration, matchers=matchers)


_CALLS: Final = "mcp_server_operation_duration_seconds_count"
_CALL: Final = 'mcp_method_name="tools/call"'
# Fast refusals and failures must never look like health, so p95 is taken over calls that ended well or timed out.
_ANSWERED: Final = f'{_CALL},error_type=~"|timeout"'
SERVERS_OWN_ERRORS: Final = 'error_type!~"' + "|".join(NOT_THE_SERVERS_ERRORS) + '"'
_SCRAPES: Final = 'max by (server) (count_over_time({metric}{{server!=""$matchers}}[$range]))'


def _gauge(metric: str) -> str:
    # The mean, so that one odd scrape neither alarms nor heals; max by server, so that two exporters do not add up.
    return f'max by (server) (avg_over_time({metric}{{server!=""$matchers}}[$range]))'


_AT_THE_CAP: Final = (
    '(max by (server) (mcp_server_sessions{server!=""$matchers})'
    ' == on (server) max by (server) (mcp_server_sessions_limit{server!=""$matchers}))'
)
_REFUSING: Final = '(sum by (server) (increase(mcp_server_refused_total{reason="sessions"$matchers}[$range])) > 0)'

_SESSIONS_ALLOWED: Final = (
    'max by (server) (mcp_server_config_value{section="mcp",key="max_concurrent_sessions"$matchers})'
)
LOW_LOAD_SHARE: Final = 0.25
"""A server whose sessions stay below this part of what its file allows has little to do."""
LOW_LOAD_SESSIONS: Final = 20
"""What the profile ``low_load`` allows: where a file allows as much, there is nothing to suggest."""

AVAILABILITY_OBJECTIVE: Final = 0.995
"""The part of a week in which a server is to be up."""
SLOWEST_BURN: Final = 0.98
"""How many times faster than allowed the slowest alert lets an error budget burn (``rules.availability``)."""

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
            f"sum by (server) (increase(mcp_server_errors_total{{{_CALL},{SERVERS_OWN_ERRORS}$matchers}}[$range]))"
            f' or sum by (server) (increase({_CALLS}{{{_CALL},error_type!="",{SERVERS_OWN_ERRORS}$matchers}}[$range]))'
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
        suppressed=f"{_AT_THE_CAP} unless on (server) {_REFUSING}",
        # A cap below the threshold would keep the count from ever reaching it, however many callers are turned away.
        critical_where=f"{_AT_THE_CAP} and on (server) {_REFUSING}",
        # 15 and 12 end at 12.75 and 10.2: a count that swings by one or two sessions around its level is one alert.
        ends_at=0.85,
        window_seconds=60,
    ),
    Signal(
        name=SignalName.QUEUE,
        alert="McpQueueLong",
        title="Queue",
        unit="calls",
        direction=Direction.HIGH,
        expression=_gauge("mcp_server_queue_length"),
        evidence=_SCRAPES.format(metric="mcp_server_queue_length"),
        rests_on_traffic=False,
        threshold="queue_length",
        treated=False,
        window_seconds=60,
        # Calls mostly wait because the server is ill in another way. That has its treatment, which gets its time: an
        # escalation would end it.
        hold_seconds=600,
    ),
    Signal(
        name=SignalName.COST,
        alert="McpCostBudgetExceeded",
        title="Cost",
        unit="usd_per_hour",
        direction=Direction.HIGH,
        # A rate and no increase, so that the figure is USD an hour over whatever range a verdict asks.
        expression='3600 * sum by (server) (rate(mcp_server_cost_usd_total{server!=""$matchers}[$range]))',
        evidence=_SCRAPES.format(metric="mcp_server_cost_usd_total"),
        rests_on_traffic=False,
        threshold="cost_usd_per_hour",
        # The budget is one of an hour: a dear minute is none of its business.
        window_seconds=3600,
        hold_seconds=300,
        keep_firing_seconds=300,
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
    Signal(
        name=SignalName.LOW_LOAD,
        alert="McpLowLoad",
        title="Sessions of those that the file allows",
        unit="ratio",
        direction=Direction.LOW,
        expression=(
            'max by (server) (max_over_time(mcp_server_sessions{server!=""$matchers}[$range]))'
            f" / on (server) {_SESSIONS_ALLOWED}"
        ),
        evidence=_SCRAPES.format(metric="mcp_server_sessions"),
        rests_on_traffic=False,
        threshold=None,
        fixed_critical=LOW_LOAD_SHARE,
        fixed_severity=ADVICE,
        # Nothing to suggest: the file allows as much already, the server is not used at all, or calls do wait.
        suppressed=(
            f"({_SESSIONS_ALLOWED} >= {LOW_LOAD_SESSIONS})"
            ' or (max by (server) (max_over_time(mcp_server_sessions{server!=""$matchers}[$range])) == 0)'
            ' or (max by (server) (max_over_time(mcp_server_queue_length{server!=""$matchers}[$range])) > 0)'
        ),
        window_seconds=3600,
        hold_seconds=3600,
        keep_firing_seconds=0,
    ),
    Signal(
        name=SignalName.AVAILABILITY,
        alert="McpAvailabilityBudgetBurn",
        title="Burn rate of the error budget",
        unit="factor",
        direction=Direction.HIGH,
        expression=(
            '(1 - min by (server) (avg_over_time(mcp_server_up{server!=""$matchers}[$range])))'
            f" / {1 - AVAILABILITY_OBJECTIVE:.12g}"
        ),
        evidence=_SCRAPES.format(metric="mcp_server_up"),
        rests_on_traffic=False,
        threshold=None,
        fixed_critical=SLOWEST_BURN,
        treated=False,
        keep_firing_seconds=0,
    ),
    Signal(
        name=SignalName.SECURITY,
        alert="McpSecurityPostureDegraded",
        title="Security checks",
        unit="bool",
        direction=Direction.LOW,
        expression='min by (server) (min_over_time(mcp_server_security_check{server!=""$matchers}[$range]))',
        evidence=_SCRAPES.format(metric="mcp_server_security_check"),
        rests_on_traffic=False,
        threshold=None,
        fixed_critical=0.0,
        # A door left open is mended by daylight. No automation changes what people decided about access.
        fixed_severity=Severity.WARNING,
        treated=False,
        window_seconds=60,
        hold_seconds=300,
    ),
)
"""Every signal whose rule is shipped, in the order of ``SignalName``."""

BY_NAME: Final[dict[str, Signal]] = {signal.name: signal for signal in SIGNALS}
BY_ALERT: Final[dict[str, Signal]] = {signal.alert: signal for signal in SIGNALS}

MIN_RULE_OPERATIONS: Final = 10
"""Traffic guard of the rules: fewer operations (or lookups) in the window say nothing about a ratio or a p95."""
