"""What a recommendation says: what to do, the figures behind it, what to expect, what it takes. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from console.reading.figures import Unit
from console.report import ServiceReport

if TYPE_CHECKING:
    from fleet.server_settings import Setting
    from fleet.toml_text import Raw


class Gravity(enum.StrEnum):
    """How soon it matters."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Effort(enum.StrEnum):
    """What it takes."""

    SETTING = "a setting of the server's TOML"
    FLEET_FILE = "a line of fleet.yml"
    COMMAND = "one command"
    WORK = "work on the server"


class Risk(enum.StrEnum):
    """What may go wrong, in one word; a recommendation's ``risk_because`` says it."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact: a figure ``value`` in ``unit``, or, where it is no number, ``text``.

    ``source`` is where it comes from: the PromQL that was asked, or the file that says so.
    """

    name: str
    value: float | None
    unit: Unit | None
    text: str
    source: str


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of the server's TOML and its new value, as TOML writes them; ``now`` is null where it is absent."""

    setting: str
    now: str | None
    value: str


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of advice.

    ``rule`` names the rule that found it. ``effect`` is what to expect, with the figure that says so, or says that
    nobody can know. ``changes`` are what ``--config-tuning`` writes; ``command`` is what to type, empty where it is
    something to write by hand.
    """

    rule: str
    gravity: Gravity
    title: str
    why: str
    evidence: tuple[Evidence, ...]
    effect: str
    effort: Effort
    risk: Risk
    risk_because: str
    changes: tuple[Proposal, ...]
    command: str


class NotJudged(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that could not say anything, and why."""

    rules: tuple[str, ...]
    reason: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One server: the gravest first. ``history_seconds`` is how far back its figures reach; null without any."""

    server: str
    history_seconds: float | None
    recommendations: tuple[Recommendation, ...]
    not_judged: tuple[NotJudged, ...]


class Recommendations(ServiceReport, frozen=True, kw_only=True):
    """What could be better, judged over the ``period_seconds`` before ``at``."""

    at: float
    period_seconds: int
    servers: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a rule found; ``judging`` adds what every recommendation has.

    ``figures`` are names of ``console.advice.figures``, ``facts`` further facts with their source. ``changes`` are raw
    TOML values.
    """

    gravity: Gravity
    title: str
    why: str
    effect: str
    effort: Effort
    risk: Risk
    risk_because: str
    figures: tuple[str, ...] = ()
    facts: tuple[Evidence, ...] = ()
    changes: dict[Setting, Raw] = field(default_factory=dict)
    command: str = ""
