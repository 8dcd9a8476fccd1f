"""Rules about the cost of models: a budget that says something else than was meant, one that is spent. Pure."""

from __future__ import annotations

import re
from typing import Final

from console import paper
from console.advice.caching import LEAST_CALLS, hit_ratio
from console.advice.facts import Facts
from console.advice.recommendation import Draft, Effort, Gravity, Risk
from console.advice.rule import Rule
from console.reading.figures import Unit
from fleet.server_config import line_of
from fleet.server_settings import Setting
from fleet.signals import Severity
from fleet.thresholds import COST_BUDGET

HOURS_A_MONTH: Final = 365 * 24 / 12
HOURS_A_DAY: Final = 24
DISAGREES: Final = 2.0
"""How far a month of the budget and the comment's month may lie apart before it is said."""

FAR_BELOW: Final = 5.0

BUDGET: Final = Setting("cost_optimization", COST_BUDGET)
TRACKING: Final = Setting("cost_optimization", "enable_cost_tracking")

_SUM: Final = r"\$?\s*(\d[\d,]*(?:\.\d+)?)\s*(?:USD|dollars?|ドル|\$)?"
_MONTHS: Final = (
    re.compile(rf"{_SUM}\s*(?:/|a|per|each|毎)?\s*(?:月|months?\b|mo\b)", re.IGNORECASE),
    re.compile(rf"(?:月額?|monthly)\D{{0,6}}?{_SUM}", re.IGNORECASE),
)


def month_in_comment(text: str) -> tuple[float, str] | None:
    """The sum a month, in USD, that the comment beside the hourly budget speaks of, and the comment."""
    number = line_of(text, BUDGET.section, BUDGET.key)
    comment = text.splitlines()[number - 1].partition("#")[2].strip() if number else ""
    for way in _MONTHS:
        found = way.search(comment)
        if found:
            return float(found.group(1).replace(",", "")), comment
    return None


def _budget(facts: Facts) -> float | None:
    value = facts.written(BUDGET)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _month_and_hour(facts: Facts) -> Draft | None:
    budget, said = _budget(facts), month_in_comment(facts.around.file_text)
    if budget is None or said is None:
        return None
    month, comment = said
    real = budget * HOURS_A_MONTH
    if month <= 0 or 1 / DISAGREES <= real / month <= DISAGREES:
        return None
    return Draft(
        gravity=Gravity.MEDIUM,
        title=f"Decide whether the budget is {paper.usd(month)} a month or {paper.usd(budget)} an hour",
        why=f"the comment beside it speaks of {paper.usd(month)} a month, but {paper.usd(budget)} an hour is"
        f" {paper.usd(budget * HOURS_A_DAY)} a day and {paper.usd(real)} a month",
        effect=f"{paper.usd(month)} a month is {month / HOURS_A_MONTH:.3g} USD an hour: with that value the alert"
        " comes at a"
        f" {paper.number(round(max(real / month, month / real)))}th of what it allows now"
        if real > month
        else f"{paper.usd(month)} a month is {month / HOURS_A_MONTH:.3g} USD an hour: the alert comes too early now",
        effort=Effort.SETTING,
        risk=Risk.NONE,
        risk_because="only a person knows which of the two was meant, so --config-tuning leaves it alone",
        figures=("cost", "cost_most"),
        facts=(facts.in_file(str(BUDGET), f"{budget:g}"), facts.in_file("comment", comment)),
    )


def _budget_far(facts: Facts) -> Draft | None:
    budget, most = _budget(facts), facts.of("cost_most")
    if budget is None or most <= 0 or budget < FAR_BELOW * most:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Bring the budget nearer to what is spent",
        why=f"the dearest hour cost {most:.3g} USD, the budget is {paper.usd(budget)} an hour: a bill"
        f" {paper.number(int(budget / most))} times as high would warn nobody",
        effect=f"at {most * 2:.3g} USD an hour, twice the dearest one, the alert comes when cost doubles",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because="the budget is yours to decide, so --config-tuning leaves it alone",
        figures=("cost", "cost_most"),
        facts=(facts.in_file(str(BUDGET), f"{budget:g}"),),
    )


def _dear(facts: Facts) -> Draft | None:
    if not facts.at_warning("cost", "cost"):
        return None
    ratio, saved = hit_ratio(facts), facts.figures.get("saved_usd")
    off = not facts.tuning.enable_response_caching
    helps = "caching is off" if off else f"the cache hits in {paper.ratio(ratio)} and saves {_per_hour(saved)}"
    critical = facts.level("cost", Severity.CRITICAL)
    return Draft(
        gravity=Gravity.HIGH,
        title="Bring the cost down",
        why=f"it is {_per_hour(facts.of('cost'))} on average, {paper.usd(facts.of('cost') * HOURS_A_MONTH)} a month;"
        f" {helps}",
        effect="each repeated call that a cache answers costs nothing; a cheaper model or shorter prompts are the"
        " server's"
        " own matter",
        effort=Effort.WORK,
        risk=Risk.NONE,
        risk_because="nothing is changed",
        figures=("cost", "cost_most", "saved_usd", "lookups", "hits"),
        facts=(facts.level_of("the budget", critical, Unit.USD_PER_HOUR),),
        command=f"mcp-medic metrics {facts.server.name} --detailed",
    )


def _not_measured(facts: Facts) -> Draft | None:
    if "cost" in facts.figures:
        return None
    return Draft(
        gravity=Gravity.MEDIUM,
        title="Name the prices of the models in fleet.yml",
        why="the file asks for cost tracking, but no cost was measured: the budget's alert can never fire",
        effect="cost by model is published, and the budget's alert works, as soon as the server's results name tokens",
        effort=Effort.FLEET_FILE,
        risk=Risk.NONE,
        risk_because="prices are only used to count",
        figures=("calls", "cost"),
        facts=(facts.in_file(str(TRACKING), "true"),),
    )


def _per_hour(value: float | None) -> str:
    return f"{paper.usd(value)} an hour"


RULES: Final = (
    Rule("budget_month_is_not_hour", _month_and_hour, concerns=lambda facts: _budget(facts) is not None),
    Rule("cost_high", _dear, needs=("cost",), concerns=lambda facts: "cost" in facts.figures),
    Rule("cost_not_measured", _not_measured, calls=LEAST_CALLS, concerns=lambda facts: facts.written(TRACKING) is True),
    Rule("budget_far", _budget_far, needs=("cost_most",), concerns=lambda facts: _budget(facts) is not None),
)
