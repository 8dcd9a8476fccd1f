"""Every family this program publishes: name, type, help, labels. One table, read by the exposition and by tests.

Label values come from closed sets (``fleet.telemetry``, ``exporter.folding``) or from the configuration, so the
number of series is bounded whatever is pushed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from fleet.telemetry import BOUNDS, SESSION_BOUNDS
from fleet.thresholds import TABLE


class Kind(enum.StrEnum):
    """The metric types of the text format that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Series(NamedTuple):
    """One series of a family: its label values in the family's order, without ``server``."""

    family: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes:
        name: as Prometheus shows it; counters end in ``_total``.
        kind: its type.
        help: one sentence for people.
        labels: label names, without ``server``.
        per_server: True when each series also carries the label ``server``.
        bounds: upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    per_server: bool = True
    bounds: tuple[float, ...] = ()

    def series(self, *values: str) -> Series:
        """The series with these label values, one for each of ``labels``."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {len(values)} values")
        return _series(self.name, values)


@lru_cache(maxsize=100_000)
def _series(family: str, values: tuple[str, ...]) -> Series:
    # A thousand servers name the same series each second: they share one object, which is also compared faster.
    return Series(family, values)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.GAUGE, text, labels)


UP: Final = _gauge("mcp_server_up", "0 when an exchange or supervision proved the server broken, else 1 (idle is 1).")
OPERATION_DURATION: Final = Family(
    "mcp_server_operation_duration_seconds",
    Kind.HISTOGRAM,
    "Duration of MCP operations as the gateway saw them; error_type is empty on success.",
    ("mcp_method_name", "gen_ai_tool_name", "error_type", "network_transport"),
    bounds=BOUNDS,
)
SESSION_DURATION: Final = Family(
    "mcp_server_session_duration_seconds", Kind.HISTOGRAM, "Duration of ended sessions.", bounds=SESSION_BOUNDS
)
ERRORS: Final = _counter(
    "mcp_server_errors_total",
    "Operations that failed, by error type and by method (tools/call or other).",
    "error_type",
    "mcp_method_name",
)
REFUSED: Final = _counter(
    "mcp_server_refused_total", "Calls that the gateway itself refused; they are never operations.", "reason"
)
WOULD_REFUSE: Final = _counter(
    "mcp_server_would_refuse_total", "Calls that would have been refused if the limit were enforced.", "reason"
)
STRAY_OUTPUT: Final = _counter("mcp_server_stray_output_total", "Lines of stdout that were not JSON-RPC.")
UNREADABLE: Final = _counter("mcp_server_unreadable_total", "Messages that were relayed but could not be measured.")
IN_FLIGHT: Final = _gauge("mcp_server_in_flight", "Calls that wait for the server's answer now.")
BYTES: Final = _counter("mcp_server_bytes_total", "Body bytes, in from clients and out to clients.", "direction")
SESSIONS: Final = _gauge("mcp_server_sessions", "Sessions alive now.")
INSTANCES: Final = _gauge(
    "mcp_server_instances", "Instances alive now: gateways that report, or the process that was found."
)
SESSIONS_LIMIT: Final = _gauge("mcp_server_sessions_limit", "Cap on sessions; present only where it is enforced.")
CACHE_REQUESTS: Final = _counter("mcp_server_cache_requests_total", "Lookups of something cacheable.")
CACHE_HITS: Final = _counter("mcp_server_cache_hits_total", "Lookups answered without asking the server.")
CACHE_HIT_RATIO: Final = _gauge(
    "mcp_server_cache_hit_ratio", "Hits by lookups over the last 5 minutes; absent without lookups."
)
CACHE_ENTRIES: Final = _gauge("mcp_server_cache_entries", "Entries in the cache now.")
CACHE_EVICTIONS: Final = _counter("mcp_server_cache_evictions_total", "Entries thrown out of the cache.")
BREAKER_STATE: Final = _gauge(
    "mcp_server_circuit_breaker_state", "1 for the worst state that a gateway reports, else 0.", "breaker", "state"
)
BREAKER_OPENED: Final = _counter(
    "mcp_server_circuit_breaker_opened_total", "How often the circuit breaker opened.", "breaker"
)
QUEUE_LENGTH: Final = _gauge("mcp_server_queue_length", "Calls that wait in the gateway's queue now.")
QUEUE_LIMIT: Final = _gauge("mcp_server_queue_limit", "How many calls may wait; present only where it is enforced.")
RESIDENT_MEMORY: Final = _gauge("mcp_server_resident_memory_bytes", "Resident memory of all processes together.")
RESIDENT_MEMORY_MAX: Final = _gauge(
    "mcp_server_resident_memory_max_bytes", "Resident memory of the largest instance with its child processes."
)
CPU_SECONDS: Final = _counter("mcp_server_cpu_seconds_total", "User and system CPU time of all processes.")
OPEN_FDS: Final = _gauge("mcp_server_open_fds", "Open file descriptors; absent where they may not be read.")
PROCESSES: Final = _gauge("mcp_server_processes", "Processes of the server, child processes included.")
START_TIME: Final = _gauge(
    "mcp_server_start_time_seconds", "When the newest instance started, in seconds since 1970-01-01."
)
RESTARTS: Final = _counter(
    "mcp_server_restarts_total", "Restarts of the server by its gateway, or seen as another main process."
)
PROPORTIONAL_MEMORY: Final = _gauge(
    "mcp_server_proportional_memory_bytes",
    "Resident memory of all processes with shared pages divided among those that share them; absent where unreadable.",
)
THREADS: Final = _gauge("mcp_server_threads", "Threads of all processes; absent where nobody counts them.")
COST: Final = _counter("mcp_server_cost_usd_total", "What the tokens of a model cost, in USD.", "model")
CONFIG_VALUE: Final = _gauge(
    "mcp_server_config_value", "Numbers and booleans (1, 0) of the server's TOML file.", "section", "key"
)
CONFIG_PROFILE: Final = _gauge(
    "mcp_server_config_profile", "1 when the server's TOML file holds every setting of the profile, else 0.", "profile"
)
CONFIG_HASH: Final = _gauge(
    "mcp_server_config_hash", "A number made from the bytes of the server's TOML file: another one is another file."
)
CONFIG_CHANGED: Final = _gauge(
    "mcp_server_config_change_timestamp_seconds",
    "When the server's TOML file was last written, in seconds since 1970-01-01.",
)
SECURITY_CHECK: Final = _gauge(
    "mcp_server_security_check", "1 when the security check passes, 0 when it fails; absent where none can be said.",
    "check",
)  # fmt: skip
PROBE_DURATION: Final = Family(
    "mcp_probe_duration_seconds", Kind.GAUGE, "How long each phase of the last probe took.", ("phase",)
)
PROBE_SUCCESS: Final = Family(
    "mcp_probe_success", Kind.GAUGE, "1 when the phase of the last probe worked; 0 also when it was not reached.",
    ("phase",),
)  # fmt: skip

REDIS_UP: Final = Family(
    "mcp_exporter_redis_up", Kind.GAUGE, "1 when the last scan of the fleet's Redis worked.", per_server=False
)
REDIS_SCAN_DURATION: Final = Family(
    "mcp_exporter_redis_scan_duration_seconds", Kind.GAUGE, "How long the last scan kept Redis busy.", per_server=False
)
REDIS_REFRESH_INTERVAL: Final = Family(
    "mcp_exporter_redis_refresh_interval_seconds",
    Kind.GAUGE,
    "Rest until the next scan: a scan takes 2 % of Redis' time at most.",
    per_server=False,
)
REDIS_PING_DURATION: Final = Family(
    "mcp_exporter_redis_ping_duration_seconds", Kind.GAUGE, "Round trip of one PING to the node.", ("node",), False
)
REDIS_MEMORY_USED: Final = Family(
    "mcp_exporter_redis_memory_used_bytes", Kind.GAUGE, "Memory that the node's data take.", ("node",), False
)
REDIS_MEMORY_MAX: Final = Family(
    "mcp_exporter_redis_memory_max_bytes", Kind.GAUGE, "Memory at which the node evicts keys; 0 is never.",
    ("node",), False,
)  # fmt: skip
REDIS_EVICTED_KEYS: Final = Family(
    "mcp_exporter_redis_evicted_keys_total", Kind.COUNTER, "Keys that the node threw out for want of memory.",
    ("node",), False,
)  # fmt: skip

SOURCE_SUCCESS: Final = _gauge("mcp_exporter_source_success", "1 when the last read of the source worked.", "source")
SOURCE_DURATION: Final = _gauge(
    "mcp_exporter_source_duration_seconds", "How long the last read of the source took.", "source"
)
SOURCE_AGE: Final = _gauge(
    "mcp_exporter_source_age_seconds", "Age of the source's last good facts; absent before the first.", "source"
)
LOG_LINES: Final = _counter(
    "mcp_exporter_log_lines_total", "Lines of the server's log files by what they were.", "result"
)
LOG_LAG: Final = _gauge("mcp_exporter_log_lag_bytes", "Bytes of the server's log files that are not read yet.")
LABELS_FOLDED: Final = _counter(
    "mcp_exporter_labels_folded_total", "Pushed label values that were replaced by the value other.", "label"
)
TELEMETRY_PUSHES: Final = Family(
    "mcp_exporter_telemetry_pushes_total", Kind.COUNTER, "Telemetry pushes by what became of them.", ("result",), False
)
SCRAPES: Final = Family(
    "mcp_exporter_scrapes_total", Kind.COUNTER,
    "Scrapes by how they were answered: late ones with figures of up to a minute before.", ("result",), False,
)  # fmt: skip
STATE_SUCCESS: Final = Family(
    "mcp_exporter_state_success",
    Kind.GAUGE,
    "1 when all totals shown are kept over a restart, 0 when the state file fails.",
    per_server=False,
)
STATE_FAILURES: Final = Family(
    "mcp_exporter_state_failures_total",
    Kind.COUNTER,
    "Failures of the state file that keeps totals over restarts.",
    ("reason",),
    per_server=False,
)
RELOAD_SUCCESSFUL: Final = Family(
    "mcp_exporter_config_last_reload_successful",
    Kind.GAUGE,
    "1 when the last reading of the configuration worked.",
    per_server=False,
)
BUILD_INFO: Final = Family(
    "mcp_exporter_build_info", Kind.GAUGE, "1, labelled by the running version.", ("version", "python"), False
)

THRESHOLDS: Final[dict[str, Family]] = {
    key: _gauge(f"mcp_threshold_{key}", f"Level at which the signal over {key} is ill.", "severity") for key in TABLE
}
"""One family per threshold key: one quantity and unit each."""

FAMILIES: Final[tuple[Family, ...]] = (
    UP, OPERATION_DURATION, SESSION_DURATION, ERRORS, REFUSED, WOULD_REFUSE, STRAY_OUTPUT, UNREADABLE, IN_FLIGHT,
    BYTES, SESSIONS, INSTANCES, SESSIONS_LIMIT, CACHE_REQUESTS, CACHE_HITS, CACHE_HIT_RATIO, CACHE_ENTRIES,
    REDIS_UP, REDIS_SCAN_DURATION, REDIS_REFRESH_INTERVAL, REDIS_PING_DURATION, REDIS_MEMORY_USED, REDIS_MEMORY_MAX,
    REDIS_EVICTED_KEYS, PROPORTIONAL_MEMORY, THREADS,
    CACHE_EVICTIONS, BREAKER_STATE, BREAKER_OPENED, QUEUE_LENGTH, QUEUE_LIMIT, RESIDENT_MEMORY, RESIDENT_MEMORY_MAX,
    CPU_SECONDS, OPEN_FDS, PROCESSES, START_TIME, RESTARTS, COST, CONFIG_VALUE, CONFIG_PROFILE, CONFIG_HASH,
    CONFIG_CHANGED, SECURITY_CHECK, *THRESHOLDS.values(),
    PROBE_DURATION, PROBE_SUCCESS, SOURCE_SUCCESS, SOURCE_DURATION, SOURCE_AGE, LOG_LINES, LOG_LAG, LABELS_FOLDED,
    TELEMETRY_PUSHES, SCRAPES, STATE_SUCCESS, STATE_FAILURES, RELOAD_SUCCESSFUL, BUILD_INFO,
)  # fmt: skip
"""Every family, in the order of the exposition."""
