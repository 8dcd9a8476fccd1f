"""Alerts of a signal that no level of its value can express: a forecast, an absence, a budget that burns. Pure."""

from __future__ import annotations

from fleet.signals import AVAILABILITY_OBJECTIVE, BY_NAME, Severity, SignalName
from rules.alerts import alert_rule
from rules.availability import burning
from rules.recording import Rule, threshold_name, value_name

_MEMORY = BY_NAME[SignalName.MEMORY]
_CRITICAL_MEMORY = f'max by (server) ({threshold_name("resident_memory_bytes")}{{severity="{Severity.CRITICAL}"}})'
_EXPORTERS_RUN = 'min(up{job="mcp-exporter"}) == 1'


def leak_alert() -> Rule:
    """Memory that will be critical in four hours if it goes on as in the last one."""
    return alert_rule(
        "McpMemoryLeakSuspected",
        # Not below half of the level: there is time. Not in a server's first hour: every start looks like a leak.
        f"mcp:memory_predicted_bytes >= on (server) {_CRITICAL_MEMORY}\n"
        f"and on (server) ({value_name(_MEMORY)} >= on (server) (0.5 * {_CRITICAL_MEMORY}))\n"
        'and on (server) (max by (server) (mcp_server_resident_memory_max_bytes{server!=""} offset 1h))\n'
        'unless on (server) (max by (server) (changes(mcp_server_start_time_seconds{server!=""}[1h])) > 0)',
        {"signal": str(SignalName.MEMORY), "severity": str(Severity.WARNING)},
        (
            "MCP server {{ $labels.server }} seems to leak memory",
            (
                "If the memory of {{ $labels.server }} grows as in the last hour, it will be {{ $value | humanize }}B "
                f"in four hours; critical at {{{{ with printf {_quoted_level()} $labels.server | query }}}}"
                "{{ . | first | value | humanize }}{{ end }}B or more."
            ),
        ),
        hold_seconds=1800,
        keep_firing_seconds=600,
    )


def vanished_alert() -> Rule:
    """A server that was reported within the last hour and is not now, though every exporter can be scraped."""
    return alert_rule(
        "McpServerVanished",
        'max by (server) (max_over_time(mcp_server_up{server!=""}[1h]))\n'
        f'unless on (server) mcp_server_up{{server!=""}}\nand on () ({_EXPORTERS_RUN})',
        # Not critical: who takes a server out of the configuration must not have it restarted.
        {"signal": str(SignalName.DOWN), "severity": str(Severity.WARNING)},
        (
            "MCP server {{ $labels.server }} vanished",
            (
                "No exporter reports {{ $labels.server }} any more, though all exporters run. It is neither judged nor "
                "treated."
            ),
        ),
        hold_seconds=300,
    )


def burn_alert(severity: Severity) -> Rule:
    """The error budget of a week burns too fast, in the long window and still now."""
    return alert_rule(
        BY_NAME[SignalName.AVAILABILITY].alert,
        burning(severity),
        {"signal": str(SignalName.AVAILABILITY), "severity": str(severity)},
        (
            "MCP server {{ $labels.server }} is down too often",
            (
                "The error budget of {{ $labels.server }} burns {{ $value | humanize }} times as fast as "
                f"{AVAILABILITY_OBJECTIVE:.1%} of a week allows, and still does."
            ),
        ),
        hold_seconds=120 if severity is Severity.CRITICAL else 900,
    )


def _quoted_level() -> str:
    return f'"{threshold_name("resident_memory_bytes")}{{server=%q,severity=\\"{Severity.CRITICAL}\\"}}"'
