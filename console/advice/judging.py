"""All rules over one server: what they recommend, and which of them could not say anything. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from console import paper
from console.advice import caching, failures, load, money, setup
from console.advice.figures import FIGURES
from console.advice.recommendation import Advice, Gravity, NotJudged, Proposal, Recommendation
from console.reading.period import written
from fleet.errors import MedicError
from fleet.toml_text import raw_value

if TYPE_CHECKING:
    from console.advice.facts import Facts
    from console.advice.recommendation import Draft
    from console.advice.rule import Rule
    from fleet.server_settings import Setting
    from fleet.toml_text import Raw

RULES: Final = (*caching.RULES, *failures.RULES, *load.RULES, *money.RULES, *setup.RULES)
"""Every rule. Of two that write the same setting the graver one wins, then the earlier."""

_ORDER: Final = tuple(Gravity)


def advice(facts: Facts) -> Advice:
    """What all rules say of one server."""
    found: list[Recommendation] = []
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    for rule in RULES:
        if not rule.concerns(facts):
            continue
        missing = _missing(rule, facts)
        if missing:
            unknown[missing].append(rule.name)
            continue
        draft = rule.judge(facts)
        if draft is not None:
            found.append(_recommendation(rule, draft, facts))
    return Advice(
        server=facts.server.name,
        history_seconds=facts.history_seconds,
        recommendations=tuple(sorted(found, key=lambda one: _ORDER.index(one.gravity))),
        not_judged=tuple(NotJudged(rules=tuple(rules), reason=reason) for reason, rules in unknown.items()),
    )


def _missing(rule: Rule, facts: Facts) -> str:
    """Why the rule cannot be judged, empty where it can."""
    for least, name, what in ((rule.calls, "calls", "traffic"), (rule.lookups, "lookups", "use of the cache")):
        if facts.count(name) < least:
            seen = paper.number(round(facts.count(name)))
            counted = f"{seen} {FIGURES[name].title} in {written(facts.period)}"
            return f"not enough {what} measured: {counted}, {least} are needed"
    absent = [FIGURES[name].title for name in rule.needs if name not in facts.figures]
    return f"nobody measured: {', '.join(absent)}" if absent else ""


def _recommendation(rule: Rule, draft: Draft, facts: Facts) -> Recommendation:
    return Recommendation(
        rule=rule.name,
        gravity=draft.gravity,
        title=draft.title,
        why=draft.why,
        evidence=(*(facts.evidence(name) for name in draft.figures if name in facts.figures), *draft.facts),
        effect=draft.effect,
        effort=draft.effort,
        risk=draft.risk,
        risk_because=draft.risk_because,
        changes=tuple(
            Proposal(setting=str(setting), now=_now(facts, setting), value=raw)
            for setting, raw in draft.changes.items()
        ),
        command=draft.command or (_tuning(facts) if draft.changes else ""),
    )


def _now(facts: Facts, setting: Setting) -> Raw | None:
    try:
        return raw_value(facts.around.file_text, setting)
    except MedicError:
        return None


def _tuning(facts: Facts) -> str:
    return f"mcp-medic recommendations {facts.server.name} --config-tuning"
