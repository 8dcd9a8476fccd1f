"""Pushed text becomes a label value only when it belongs to a closed or bounded set; the rest is ``other``.

Whoever may push could otherwise make any number of series. Pure: ``Labels`` lives for one push.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from typing import Final

from exporter import metrics
from exporter.quantities import Admitted, Totals
from fleet.telemetry import ERROR_TYPES, METHODS, OTHER, TOOLS_CALL, Refused

MAX_TOOLS: Final = 200
"""Tools of one server that get a label value of their own; more would be a catalogue, not a vital sign."""

MAX_MODELS: Final = 20
MAX_VALUE_LENGTH: Final = 128

TRANSPORTS: Final = frozenset({"tcp", "pipe", "unix"})
"""OpenTelemetry's ``network.transport``, as far as MCP uses it."""

BREAKERS: Final = ("upstream",)
"""The circuit breakers that a gateway has: one per gateway process."""

REASONS: Final = frozenset(Refused)
LABELS: Final = ("mcp_method_name", "gen_ai_tool_name", "error_type", "network_transport", "reason", "breaker", "model")
"""The labels whose values can be folded; pre-initialised in ``mcp_exporter_labels_folded_total``."""

_ERROR_TYPES: Final = frozenset({"", *ERROR_TYPES})


def admitted_of(totals: Totals) -> Admitted:
    """The bounded label values that stand in ``totals``: those were admitted before."""
    tools = {series.labels[1] for series in totals.histograms if series.family == metrics.OPERATION_DURATION.name}
    models = {series.labels[0] for series in totals.counters if series.family == metrics.COST.name}
    return Admitted(frozenset(tools - {"", OTHER}), frozenset(models - {"", OTHER}))


class Labels:
    """The label values of one push. ``folded`` counts, ``admitted`` is what the server may use from now on."""

    def __init__(self, admitted: Admitted) -> None:
        self._tools, self._models = set(admitted.tools), set(admitted.models)
        self.folded: Counter[str] = Counter()

    @property
    def admitted(self) -> Admitted:
        """The values admitted so far, those of this push included."""
        return Admitted(frozenset(self._tools), frozenset(self._models))

    def operation(self, method: str, tool: str, error_type: str, transport: str) -> tuple[str, str, str, str]:
        """The four labels of an operation, in the order of its family."""
        if method in METHODS and tool in self._tools and error_type in _ERROR_TYPES and transport in TRANSPORTS:
            # Nearly every operation of every push: all of it was seen before.
            return method, tool if method == TOOLS_CALL else "", error_type, transport
        shown = self.method(method)
        return shown, self.tool(shown, tool), self.error_type(error_type), self.transport(transport)

    def method(self, value: str) -> str:
        """A method of the protocol."""
        return self._closed("mcp_method_name", value, METHODS)

    def tool(self, method: str, value: str) -> str:
        """A tool's name; '' for methods that call none."""
        return self._bounded("gen_ai_tool_name", value, self._tools, MAX_TOOLS) if method == TOOLS_CALL else ""

    def error_type(self, value: str) -> str:
        """An error type of the closed set, or '' for success."""
        return self._closed("error_type", value, _ERROR_TYPES)

    def transport(self, value: str) -> str:
        """How the server is reached."""
        return self._closed("network_transport", value, TRANSPORTS)

    def reason(self, value: str) -> str:
        """Why a call was refused."""
        return self._closed("reason", value, REASONS)

    def breaker(self, value: str) -> str:
        """A circuit breaker's name."""
        return self._closed("breaker", value, frozenset(BREAKERS))

    def model(self, value: str) -> str:
        """A model's name."""
        return self._bounded("model", value, self._models, MAX_MODELS)

    def _closed(self, label: str, value: str, allowed: AbstractSet[str]) -> str:
        return value if value in allowed else self._other(label, value)

    def _bounded(self, label: str, value: str, admitted: set[str], most: int) -> str:
        if value in admitted or value in {"", OTHER}:
            return value
        if len(admitted) >= most or len(value) > MAX_VALUE_LENGTH or not value.isprintable():
            return self._other(label, value)
        admitted.add(value)
        return value

    def _other(self, label: str, value: str) -> str:
        if value != OTHER:
            self.folded[label] += 1
        return OTHER
