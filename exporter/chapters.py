"""What docs/metrics.md says of the families beyond their own table: chapters, origins, label values, examples. Pure.

A family stands in exactly one chapter; a family that has no example of its own gets the usual query of its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exporter import folding, metrics
from exporter.facts import PushResult, ScrapeResult, StateFailure
from exporter.metrics import Family
from exporter.readings import LineResult, Phase, SourceName
from fleet.profiles import PROFILES
from fleet.security import CHECKED, Check
from fleet.signals import Severity
from fleet.telemetry import ERROR_TYPES, METHODS, OTHER, TOOLS_CALL, BreakerState


@dataclass(frozen=True, slots=True)
class Chapter:
    """Families that belong together. ``origin`` is one sentence or two: who knows these facts, and since when."""

    title: str
    origin: str
    families: tuple[Family, ...]


CHAPTERS: Final = (
    Chapter(
        "Health and traffic",
        "From telemetry: what gateways, and servers that push by themselves, counted since they started. Where"
        " nothing pushes, operations come from the server's logs. `mcp_server_up` is also what a probe proved.",
        (
            metrics.UP, metrics.OPERATION_DURATION, metrics.ERRORS, metrics.IN_FLIGHT, metrics.BYTES, metrics.REFUSED,
            metrics.WOULD_REFUSE, metrics.QUEUE_LENGTH, metrics.QUEUE_LIMIT, metrics.STRAY_OUTPUT, metrics.UNREADABLE,
        ),
    ),
    Chapter(
        "Sessions and instances",
        "From telemetry; sessions are counted in Redis where `sessions.redis_pattern` is set.",
        (
            metrics.SESSIONS, metrics.SESSIONS_LIMIT, metrics.SESSION_DURATION, metrics.INSTANCES, metrics.RESTARTS,
        ),
    ),
    Chapter(
        "Cache and circuit breaker",
        "From telemetry; entries are counted in Redis where `cache.redis_pattern` is set.",
        (
            metrics.CACHE_REQUESTS, metrics.CACHE_HITS, metrics.CACHE_HIT_RATIO, metrics.CACHE_ENTRIES,
            metrics.CACHE_EVICTIONS, metrics.BREAKER_STATE, metrics.BREAKER_OPENED,
        ),
    ),
    Chapter(
        "Processes",
        "From the gateway that started the server, which measures its whole process tree; elsewhere this exporter"
        " measures the tree that `process` names.",
        (
            metrics.RESIDENT_MEMORY, metrics.RESIDENT_MEMORY_MAX, metrics.PROPORTIONAL_MEMORY, metrics.CPU_SECONDS,
            metrics.OPEN_FDS, metrics.THREADS, metrics.PROCESSES, metrics.START_TIME,
        ),
    ),
    Chapter(
        "Cost",
        "From telemetry: what the tokens of each model cost by the price list `prices`.",
        (metrics.COST,),
    ),
    Chapter(
        "Sensitive data",
        "From telemetry: counted where the TOML says `sensitive_data_detection`; the data itself is never kept.",
        (metrics.SENSITIVE_DATA,),
    ),
    Chapter(
        "Settings and security",
        "From the server's own TOML (`config_file`), looked at every 2 seconds, the security checks every 30; the auth"
        " file's mode, and session keys in Redis.",
        (
            metrics.CONFIG_VALUE, metrics.CONFIG_PROFILE, metrics.CONFIG_HASH, metrics.CONFIG_CHANGED,
            metrics.SECURITY_CHECK,
        ),
    ),
    Chapter(
        "Thresholds",
        "From fleet.yml and the server's TOML: the levels that the alerts compare with, so that a server's own number"
        " needs no rule of its own.",
        tuple(metrics.THRESHOLDS.values()),
    ),
    Chapter(
        "Probes",
        "From this exporter's own questions to the server, at the interval of `probe`.",
        (metrics.PROBE_SUCCESS, metrics.PROBE_DURATION),
    ),
    Chapter(
        "Figures of the server's own",
        "From tools of the server that `tool_metrics` names, called at the interval given there. A figure with the name"
        " of a vital becomes that vital, where nothing else tells it.",
        (metrics.TOOL_VALUE,),
    ),
    Chapter(
        "The fleet's Redis",
        "From the scan that counts sessions and cache entries, where `redis.url` is set.",
        (
            metrics.REDIS_UP, metrics.REDIS_SCAN_DURATION, metrics.REDIS_REFRESH_INTERVAL, metrics.REDIS_PING_DURATION,
            metrics.REDIS_MEMORY_USED, metrics.REDIS_MEMORY_MAX, metrics.REDIS_EVICTED_KEYS,
        ),
    ),
    Chapter(
        "The exporter itself",
        "From this program: whether its sources work, how old their facts are, and what it could not keep apart.",
        (
            metrics.SOURCE_SUCCESS, metrics.SOURCE_DURATION, metrics.SOURCE_AGE, metrics.LOG_LINES,
            metrics.LOG_PATTERNS, metrics.LOG_LAG, metrics.LABELS_FOLDED, metrics.TELEMETRY_PUSHES, metrics.SCRAPES,
            metrics.STATE_SUCCESS, metrics.STATE_FAILURES, metrics.RELOAD_SUCCESSFUL, metrics.RELOAD_SUCCEEDED,
            metrics.BUILD_INFO,
        ),
    ),
)  # fmt: skip
"""Every family, in the order of the page."""

_CALLS: Final = 'mcp_method_name="tools/call"'

EXAMPLES: Final[Mapping[str, str]] = {
    metrics.UP.name: "mcp_server_up == 0",
    metrics.OPERATION_DURATION.name: (
        "histogram_quantile(0.95, sum by (server, le) "
        f'(rate(mcp_server_operation_duration_seconds_bucket{{{_CALLS}, error_type=~"|timeout"}}[5m])))'
    ),
    metrics.ERRORS.name: (
        f'sum by (server) (rate(mcp_server_errors_total{{{_CALLS}, error_type!~"cancelled|-32602|http_4xx"}}[5m]))'
        f" / sum by (server) (rate(mcp_server_operation_duration_seconds_count{{{_CALLS}}}[5m]))"
    ),
    metrics.QUEUE_LIMIT.name: "mcp_server_queue_length / mcp_server_queue_limit",
    metrics.SESSIONS_LIMIT.name: "mcp_server_sessions / mcp_server_sessions_limit",
    metrics.CACHE_HITS.name: "rate(mcp_server_cache_hits_total[5m]) / rate(mcp_server_cache_requests_total[5m])",
    metrics.BREAKER_STATE.name: 'mcp_server_circuit_breaker_state{state="open"} == 1',
    metrics.START_TIME.name: "time() - mcp_server_start_time_seconds",
    metrics.COST.name: "sum by (server) (increase(mcp_server_cost_usd_total[1h]))",
    metrics.CONFIG_VALUE.name: 'mcp_server_config_value{section="mcp", key="cache_ttl_ms"}',
    metrics.CONFIG_PROFILE.name: 'mcp_server_config_profile{profile="emergency"} == 1',
    metrics.CONFIG_HASH.name: "changes(mcp_server_config_hash[1h]) > 0",
    metrics.CONFIG_CHANGED.name: "time() - mcp_server_config_change_timestamp_seconds < 3600",
    metrics.SECURITY_CHECK.name: "mcp_server_security_check == 0",
    metrics.PROBE_SUCCESS.name: "mcp_probe_success == 0",
    metrics.REDIS_UP.name: "mcp_exporter_redis_up == 0",
    metrics.REDIS_MEMORY_MAX.name: (
        "mcp_exporter_redis_memory_used_bytes / (mcp_exporter_redis_memory_max_bytes > 0) > 0.9"
    ),
    metrics.SOURCE_SUCCESS.name: "mcp_exporter_source_success == 0",
    metrics.SOURCE_AGE.name: "mcp_exporter_source_age_seconds > 60",
    metrics.STATE_SUCCESS.name: "mcp_exporter_state_success == 0",
    metrics.RELOAD_SUCCESSFUL.name: "mcp_exporter_config_last_reload_successful == 0",
    metrics.RELOAD_SUCCEEDED.name: "time() - mcp_exporter_config_last_reload_success_timestamp_seconds",
    metrics.BUILD_INFO.name: "count by (version) (mcp_exporter_build_info)",
}
"""What a person would ask of a family, where it is not the usual query of its type."""

UNITS: Final[Mapping[str, str]] = {
    metrics.TOOL_VALUE.name: "the figure's own",
    metrics.CONFIG_VALUE.name: "the file's own",
    metrics.CONFIG_HASH.name: "none",
    "mcp_threshold_cost_usd_per_hour": "USD an hour",
}
"""Units that the end of a family's name does not tell."""

_BOUNDED: Final = f"as reported, at most {{}} of a server, the rest `{OTHER}`"

LABEL_VALUES: Final[Mapping[str, str]] = {
    "server": "the name in fleet.yml",
    "mcp_method_name": (
        f"{', '.join(f'`{method}`' for method in sorted(METHODS))}, `{OTHER}`;"
        f" in `mcp_server_errors_total` `{TOOLS_CALL}` or `{OTHER}`"
    ),
    "gen_ai_tool_name": f"empty for what calls no tool; {_BOUNDED.format(folding.MAX_TOOLS)}",
    "error_type": f"empty on success; {', '.join(f'`{kind}`' for kind in ERROR_TYPES)}",
    "network_transport": ", ".join(f"`{kind}`" for kind in sorted(folding.TRANSPORTS)),
    "direction": "`in` from clients, `out` to clients",
    "breaker": ", ".join(f"`{name}`" for name in folding.BREAKERS),
    "state": ", ".join(f"`{state}`" for state in BreakerState),
    "model": _BOUNDED.format(folding.MAX_MODELS),
    "kind": ", ".join(f"`{kind}`" for kind in sorted(folding.KINDS)),
    "section": "the TOML's section, nested ones joined by dots",
    "key": "the key in that section",
    "profile": ", ".join(f"`{name}`" for name in PROFILES),
    "check": "; ".join(f"`{check}`: {CHECKED[check]}" for check in Check),
    "severity": ", ".join(f"`{severity}`" for severity in Severity),
    "phase": (
        f"{', '.join(f'`{phase}`' for phase in Phase)}; `connect` is a part of the phase that needed it."
        " On `/probe` also `all`, the whole probe"
    ),
    "source": ", ".join(f"`{source}`" for source in SourceName),
    "tool": "the tool in `tool_metrics`",
    "name": "the figure's name in `map`",
    "pattern": "the name under `patterns` of the log in fleet.yml",
    "label": ", ".join(f"`{label}`" for label in folding.LABELS),
    "node": "`HOST:PORT` or the socket's path",
    "version": "of mcp-medic",
    "python": "of the interpreter",
    "reason": (
        f"of a refusal {', '.join(f'`{reason}`' for reason in sorted(folding.REASONS))};"
        f" of a failure of the state file {', '.join(f'`{failure}`' for failure in StateFailure)}"
    ),
    "result": (
        f"of a log line {', '.join(f'`{result}`' for result in LineResult)};"
        f" of a push {', '.join(f'`{result}`' for result in PushResult)};"
        f" of a scrape {', '.join(f'`{result}`' for result in ScrapeResult)}"
    ),
}
"""What each label can hold: a closed set, a bounded one, or the operator's own words."""
