"""The selectors that every query is made of: what a program publishes, what a rule records, what fires. Pure.

A selector narrows by the variables of the dashboard (``$job``, ``$instance``, ``$server``, ``$tool``) as far as its
series have the label: recorded series are per server and know neither job nor instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_TARGET: Final = {"job": "=~$job", "instance": "=~$instance"}
_SERVER: Final = {"server": "=~$server"}

ANSWERED: Final = {"error_type": "=~|timeout"}
"""Calls whose duration says how fast the server is: fast refusals would look like health."""

TOOL: Final = {"gen_ai_tool_name": "=~$tool"}


def of_server(name: str, **matchers: str) -> str:
    """Series that a program publishes of the chosen servers.

    A matcher is a value, or one of PromQL's operators and a value: ``state="!~closed|escalated"``.
    """
    return _selector(name, _TARGET, _SERVER, matchers)


def of_program(name: str, **matchers: str) -> str:
    """Series that a program publishes of itself; they have no label ``server``."""
    return _selector(name, _TARGET, matchers)


def calls(part: str, **matchers: str) -> str:
    """``part`` (``count``, ``bucket``, ``sum``) of the histogram of tool calls."""
    return of_server(f"mcp_server_operation_duration_seconds_{part}", mcp_method_name="tools/call", **matchers)


def recorded(name: str, **matchers: str) -> str:
    """Series that a rule records of the chosen servers: ``recorded("signal_memory")``."""
    return _selector(f"mcp:{name}", _SERVER, matchers)


def cell(name: str, by: str = "server", **matchers: str) -> str:
    """What a rule records, for a table: without the metric's name, by which rows of several queries would differ."""
    return f"max by ({by}) ({recorded(name, **matchers)})"


def firing(**matchers: str) -> str:
    """Alerts of mcp-medic that fire for the chosen servers or for none; the watchdog always fires and says nothing."""
    ours = {"alertstate": "firing", "alertname": "=~Mcp.+"}
    return _selector("ALERTS", ours, {"alertname": "!=McpWatchdog"}, _SERVER, matchers)


def level(threshold: str, severity: str) -> str:
    """The levels of a threshold key."""
    return recorded(f"threshold_{threshold}", severity=severity)


def treatments(**matchers: str) -> str:
    """Acts on servers; collecting evidence treats nothing."""
    return _selector("mcp_remediation_actions_total", _TARGET, _SERVER, {"action": "!=evidence"}, matchers)


def rate(selector: str, by: str) -> str:
    """How fast a counter grows, each second."""
    return f"sum by ({by}) (rate({selector}[$__rate_interval]))"


def increase(selector: str, by: str, window: str = "$__rate_interval") -> str:
    """By how much a counter grew."""
    return f"sum by ({by}) (increase({selector}[{window}]))"


def happened(selector: str, by: str) -> str:
    """How often something happened, as whole numbers, where it did: rare events of a counter."""
    return f"round({increase(selector, by)}) > 0"


def quantile(of: float, buckets: str) -> str:
    """A quantile of a histogram's buckets over the panel's interval; ``of`` 0.95 is the p95."""
    return f"histogram_quantile({of:g}, sum by (le) (rate({buckets}[$__rate_interval])))"


def _selector(name: str, *matchers: Mapping[str, str]) -> str:
    all_of = ",".join(_matcher(label, value) for some in matchers for label, value in some.items())
    return f"{name}{{{all_of}}}"


def _matcher(label: str, value: str) -> str:
    operator = next((known for known in ("!=", "=~", "!~") if value.startswith(known)), "")
    return f'{label}{operator or "="}"{value.removeprefix(operator)}"'
