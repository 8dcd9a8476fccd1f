"""What a tool of the server told of it: vitals, and figures of the operator's own."""

from __future__ import annotations

from typing import Final

from exporter import metrics
from exporter.metrics import FAMILIES, Series
from exporter.readings import ToolReading
from fleet.inventory import TOOL_VITALS, Server

BELIEVED_SECONDS: Final = 60.0
"""How long figures are shown after the next ones were due."""

_VITALS: Final = {family.name: family for family in FAMILIES if family.name in TOOL_VITALS}


def samples(server: Server, reading: ToolReading | None, now: float) -> dict[Series, float]:
    """The figures at ``now`` (monotonic); nothing where they are too old to speak of now."""
    found: dict[Series, float] = {}
    for tool in server.tool_metrics:
        answer = reading.answers.get(tool.tool) if reading is not None else None
        if answer is None or now > answer.asked_at + 2 * tool.interval_seconds + BELIEVED_SECONDS:
            continue
        for name, value in answer.values.items():
            vital = _VITALS.get(name)
            series = metrics.TOOL_VALUE.series(tool.tool, name) if vital is None else vital.series()
            found[series] = value
    return found
