"""What the tests of advice share: facts of one made-up server, and what the rules say of them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from console.advice.facts import Around, Facts
from console.advice.judging import advice
from console.advice.recommendation import Advice, Recommendation
from console.reading.capacity import Capacity, Demand, Growth, Outlook
from console.reading.figures import Unit
from console.reading.period import DAY, WEEK
from fleet.loading import load_fleet

QUIET = {
    "calls": 10_000.0, "p50": 0.5, "p95": 1.0, "p99": 20.0, "sessions": 5.0, "sessions_most": 5.0,
    "memory": 200e6, "memory_least": 150e6, "memory_most": 200e6, "queue_most": 0.0, "telemetry": 1.0,
    "would_sessions": 0.0, "would_retries": 0.0, "breaker_opened": 0.0, "cost": 0.5, "cost_most": 1.0,
}  # fmt: skip
"""Figures of a server on which nothing is remarkable."""


def facts(toml: str = "", around: Around | None = None, room: Capacity | None = None, history: float = WEEK,
          entry: dict[str, object] | None = None, **figures: float | None) -> Facts:  # fmt: skip
    """A server with this TOML and these keys of its entry; a figure that is None was not measured."""
    given = {
        "name": "codex", "transport": "http", "url": "http://127.0.0.1:3001/mcp", "command": ["true"],
        "restart": {"via": "gateway"}, "probe": {"tool": "lookup"}, **(entry or {}),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if toml:
            (Path(folder) / "codex.toml").write_text(toml, encoding="utf-8")
            given["config_file"] = "codex.toml"
        file = Path(folder) / "fleet.yml"
        file.write_text(json.dumps({"servers": [{key: value for key, value in given.items() if value is not None}]}))
        (server,) = load_fleet(file, {}).servers.values()
    measured = {name: value for name, value in {**QUIET, **figures}.items() if value is not None}
    stands = Around(gateways=1, backups=1, file_text=toml) if around is None else around
    return Facts(server, WEEK, measured, room=room, around=stands, history_seconds=history)


def said(of: Facts) -> Advice:
    """What all rules say."""
    return advice(of)


def found(of: Facts, rule: str) -> Recommendation | None:
    """What one rule recommends."""
    return next((one for one in advice(of).recommendations if one.rule == rule), None)


def unjudged(of: Facts) -> dict[str, str]:
    """Each rule that could not be judged, and why."""
    return {rule: one.reason for one in advice(of).not_judged for rule in one.rules}


def room(fit: int | None = None, days: float | None = None, sessions: Outlook = Outlook.NO_GROWTH) -> Capacity:
    """So many sessions fit; memory meets its limit in so many days."""
    per_day = 1e6
    memory = Growth(
        name="memory", unit=Unit.BYTES,
        outlook=Outlook.NO_GROWTH if days is None else Outlook.WITHIN_A_YEAR,
        per_day=per_day, low=per_day / 2, high=per_day * 2, level=512e6 - (days or 0) * per_day, limit=512e6,
        met_at=None if days is None else days * DAY,
    )  # fmt: skip
    grown = Growth(name="sessions", unit=Unit.COUNT, outlook=sessions)
    demand = Demand(base=100e6, each=10e6, low=None, high=None, basis="least squares")
    return Capacity(
        memory=demand, cpu=None, memory_limit=512e6, sessions_fit=fit, now=None, next_size=None,
        growth=(memory, grown), notes=(),
    )  # fmt: skip
