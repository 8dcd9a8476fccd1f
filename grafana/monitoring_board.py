"""*Exporter and gateway*: can the other dashboards be believed? Pure."""

from __future__ import annotations

from typing import Final

from grafana.boards import Board, Row
from grafana.judged import UP, WORKS, to_runbook
from grafana.panels import Column, Query, Step, figure, graph, rows, timeline
from grafana.sdk import dashboard
from grafana.series import happened, increase, of_program, of_server, rate

_BAD_FROM_ONE: Final = (Step(0, "green"), Step(1, "red"))
_NO_EXPORTER: Final = "no exporter is scraped"
_NO_REDIS: Final = "no Redis is configured"


def monitoring_board() -> Board:
    """The health of what looks after the others."""
    return Board(
        uid="mcp-medic-monitoring",
        title="MCP / Exporter and gateway",
        description="The health of exporter, gateways, receiver and of the way of an alert: who watches the watchmen.",
        rows=(
            Row("Now", _now()),
            Row("Programs and sources", _sources()),
            Row("Gateways", _gateways()),
            Row("Exporter", _exporter()),
            Row("Way of an alert", _alerts()),
            Row("Redis", _redis()),
        ),
    )


def _now() -> tuple[dashboard.Panel, ...]:
    return (
        figure("Unreachable", "Programs that Prometheus cannot scrape.", "short",
               f"count({of_program('up')} == 0) or vector(0)", steps=_BAD_FROM_ONE),
        figure("Sources failing", "Sources of facts whose last reading failed.", "short",
               f"count({of_server('mcp_exporter_source_success')} == 0) or vector(0)", steps=_BAD_FROM_ONE,
               links=(to_runbook("McpExporterSourceFailing"),)),
        figure("Oldest facts", "Age of the oldest good facts of any source.", "s",
               f"max({of_server('mcp_exporter_source_age_seconds')})",
               steps=(Step(0, "green"), Step(60, "orange"), Step(300, "red")), decimals=0, empty=_NO_EXPORTER),
        figure("Totals kept", "0 when the exporter's state file fails: counters would dip at its next restart.", "none",
               f"min({of_program('mcp_exporter_state_success')})", states=WORKS, empty=_NO_EXPORTER),
        figure("Configuration", "Whether the last reading of fleet.yml worked.", "none",
               f"min({of_program('mcp_exporter_config_last_reload_successful')})", states=WORKS, empty=_NO_EXPORTER),
        figure("Journal", "Nothing is treated while the journal cannot be written.", "none",
               f"min({of_program('mcp_remediation_journal_available')})", states=WORKS, empty="no receiver"),
        figure("Lost webhooks", "Notifications that Alertmanager could not deliver within an hour.", "short",
               "round(sum(increase("
               f"{of_program('alertmanager_notifications_failed_total', integration='webhook')}[1h])))",
               steps=_BAD_FROM_ONE, empty="no Alertmanager is scraped", links=(to_runbook("McpNotificationsFailing"),)),
        figure("Gateways", "Gateways that report, or processes that were found.", "short",
               f"sum({of_server('mcp_server_instances')})", empty="none reports"),
    )  # fmt: skip


def _sources() -> tuple[dashboard.Panel, ...]:
    return (
        timeline("Programs", "Whether Prometheus reaches each program.",
                 (Query(of_program("up"), "{{job}} {{instance}}"),), UP, width=8,
                 links=(to_runbook("McpExporterDown"),), empty="nothing is scraped"),
        timeline("Sources", "Whether the last reading of each source of facts worked.",
                 (Query(f"min by (server, source) ({of_server('mcp_exporter_source_success')})",
                        "{{server}} {{source}}"),),
                 WORKS, width=8, links=(to_runbook("McpExporterSourceFailing"),), empty=_NO_EXPORTER),
        rows("Versions", "What runs.",
             (f"max by (job, instance, version, python) ({of_program('mcp_exporter_build_info')})",),
             (Column("instance", "Exporter"), Column("version", "Version", width=100),
              Column("python", "Python", width=100)),
             width=8, empty=_NO_EXPORTER),
        graph("Age of facts", "How old the last good facts of each source are.", "s",
              (Query(f"max by (server, source) ({of_server('mcp_exporter_source_age_seconds')})",
                     "{{server}} {{source}}"),),
              width=12, empty=_NO_EXPORTER),
        graph("Reading of sources", "How long the last reading of each source took.", "s",
              (Query(f"max by (server, source) ({of_server('mcp_exporter_source_duration_seconds')})",
                     "{{server}} {{source}}"),),
              width=12, empty=_NO_EXPORTER),
    )  # fmt: skip


def _gateways() -> tuple[dashboard.Panel, ...]:
    return (
        graph("Calls in flight", "Calls that wait for a server's answer.", "short",
              (Query(f"sum by (server) ({of_server('mcp_server_in_flight')})"),), empty="no gateway reports"),
        graph("Traffic through gateways", "Bytes of bodies, in from clients and out to clients.", "Bps",
              (Query(rate(of_server("mcp_server_bytes_total"), "server, direction"), "{{server}} {{direction}}"),),
              empty="no gateway reports"),
        graph("Telemetry pushes", "Pushes of gateways and servers to the exporter by what became of them.", "reqps",
              (Query(f"{rate(of_program('mcp_exporter_telemetry_pushes_total'), 'result')} > 0", "{{result}}"),),
              empty="nobody pushes"),
        graph("Not understood", "Messages that were relayed and could not be measured, and stray lines of stdout.",
              "cps",
              (Query(rate(of_server("mcp_server_unreadable_total"), "server"), "{{server}} unreadable"),
               Query(rate(of_server("mcp_server_stray_output_total"), "server"), "{{server}} stray")),
              empty="no gateway reports"),
        graph("Refused or would be", "Calls that gateways refused, or would refuse if limits were enforced.",
              "reqps",
              (Query(f"{rate(of_server('mcp_server_refused_total'), 'server, reason')} > 0", "{{server}} {{reason}}"),
               Query(f"{rate(of_server('mcp_server_would_refuse_total'), 'server, reason')} > 0",
                     "{{server}} {{reason}}, not enforced")),
              empty="nothing was refused"),
        graph("Probes", "How long each phase of the last probe took.", "s",
              (Query(f"max by (server, phase) ({of_server('mcp_probe_duration_seconds')})", "{{server}} {{phase}}"),),
              empty="nothing is probed"),
    )  # fmt: skip


def _exporter() -> tuple[dashboard.Panel, ...]:
    return (
        graph("Scrapes", "Scrapes of the exporter by how they were answered; late ones show older figures.", "reqps",
              (Query(f"{rate(of_program('mcp_exporter_scrapes_total'), 'result')} > 0", "{{result}}"),),
              width=6, empty=_NO_EXPORTER),
        graph("Log lines", "Lines of servers' log files by what they were.", "cps",
              (Query(rate(of_server("mcp_exporter_log_lines_total"), "server, result"), "{{server}} {{result}}"),),
              width=6, empty="no log is followed"),
        graph("Behind in logs", "Bytes of log files that are not read yet.", "decbytes",
              (Query(f"sum by (server) ({of_server('mcp_exporter_log_lag_bytes')})"),),
              width=6, empty="no log is followed"),
        graph("Folded labels", "Label values that were replaced by other, to keep the number of series bounded; and "
              "failures of the state file.", "short",
              (Query(increase(of_server("mcp_exporter_labels_folded_total"), "server, label"),
                     "{{server}} {{label}}"),
               Query(increase(of_program("mcp_exporter_state_failures_total"), "reason"), "state: {{reason}}", "red")),
              width=6, empty=_NO_EXPORTER),
    )  # fmt: skip


def _alerts() -> tuple[dashboard.Panel, ...]:
    failed = rate(of_program("alertmanager_notifications_failed_total", integration="webhook"), "integration")
    return (
        graph("Deliveries to the receiver", "Webhook bodies by what became of them.", "short",
              (Query(happened(of_program("mcp_remediation_webhooks_total"), "result"), "{{result}}"),),
              bars=True, width=6, empty="nothing was delivered"),
        graph("Not delivered", "Notifications that Alertmanager could not deliver to the receiver.", "reqps",
              (Query(failed, "failed", "red"),),
              width=6, empty="no Alertmanager is scraped", links=(to_runbook("McpNotificationsFailing"),)),
        graph("Reconciling", "Readings of Alertmanager's active alerts by what came of them.", "short",
              (Query(happened(of_program("mcp_remediation_reconciles_total"), "result"), "{{result}}"),),
              bars=True, width=6, empty="no receiver"),
        graph("Failing steps", "Steps of the receiver's workers that failed and are tried again.", "short",
              (Query(f"sum(increase({of_program('mcp_remediation_worker_errors_total')}[$__rate_interval]))",
                     "failed", "red"),),
              bars=True, width=6, empty="no receiver"),
    )  # fmt: skip


def _redis() -> tuple[dashboard.Panel, ...]:
    return (
        timeline("Scans", "Whether the last scan of the fleet's Redis worked.",
                 (Query(of_program("mcp_exporter_redis_up"), "{{instance}}"),), WORKS, width=6, empty=_NO_REDIS),
        graph("Time of a scan", "How long a scan kept Redis busy, and the rest until the next one.", "s",
              (Query(of_program("mcp_exporter_redis_scan_duration_seconds"), "busy"),
               Query(of_program("mcp_exporter_redis_refresh_interval_seconds"), "rest")),
              width=6, empty=_NO_REDIS),
        graph("Ping", "Round trip of one PING to each node.", "s",
              (Query(of_program("mcp_exporter_redis_ping_duration_seconds"), "{{node}}"),),
              width=6, empty=_NO_REDIS),
        graph("Memory of Redis", "What each node's data take. Dashed: where it begins to throw keys out; none at 0.",
              "decbytes",
              (Query(of_program("mcp_exporter_redis_memory_used_bytes"), "{{node}}"),
               Query(f"{of_program('mcp_exporter_redis_memory_max_bytes')} > 0", "{{node}} limit", "red", dashed=True),
               Query(rate(of_program("mcp_exporter_redis_evicted_keys_total"), "node"), "{{node}} thrown out",
                     unit="cps")),
              width=6, empty=_NO_REDIS),
    )  # fmt: skip
