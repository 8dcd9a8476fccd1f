"""A troubleshooting tree as data, and the walk through it: a question, what answers it, where each answer leads. Pure.

Every question is put so that yes is what one hopes for. A walk ends in one sentence and one command to type.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec


class Said(enum.StrEnum):
    """The answer to a question. UNKNOWN: whoever had to be asked did not say."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen where a question was answered.

    ``command``, where set, is a better one than the ending's own, with the same places.
    """

    said: Said
    saw: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a walk ends. ``{server}``, ``{config}`` (a flag, or nothing) and ``{saw}`` stand in both texts.

    ``ill``: it names what is wrong; else nothing was found on this way.
    """

    sentence: str
    command: str
    ill: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """One node: ``asks`` is the question, the rest are where its answers lead: another question's name, or an end."""

    asks: str
    yes: str | Ending
    no: str | Ending
    unknown: str | Ending

    def leads(self, said: Said) -> str | Ending:
        """Where an answer leads."""
        return {Said.YES: self.yes, Said.NO: self.no, Said.UNKNOWN: self.unknown}[said]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a walk, its answer, and what was seen."""

    question: str
    asks: str
    answer: Said
    saw: str


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a walk: one sentence, one command to type. ``ill``: it names what is wrong."""

    sentence: str
    command: str
    ill: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk under way: ``at`` is the question to be answered next, empty when ``conclusion`` is there."""

    questions: Mapping[str, Question]
    server: str
    config: str
    at: str
    steps: tuple[Step, ...] = ()
    conclusion: Conclusion | None = None

    def answered(self, finding: Finding) -> Walk:
        """The walk after the answer to ``at``."""
        question = self.questions[self.at]
        step = Step(question=self.at, asks=question.asks, answer=finding.said, saw=finding.saw)
        steps = (*self.steps, step)
        leads = question.leads(finding.said)
        if isinstance(leads, str):
            return replace(self, at=leads, steps=steps)
        return replace(self, at="", steps=steps, conclusion=self._concluded(leads, finding, steps))

    def _concluded(self, ending: Ending, finding: Finding, steps: tuple[Step, ...]) -> Conclusion:
        sentence = self._filled(ending.sentence, finding.saw.rstrip("."))
        left = sum(step.answer is Said.UNKNOWN for step in steps)
        if left and not ending.ill:
            sentence += f"; {left} question{'s' if left > 1 else ''} stayed open"
        return Conclusion(
            sentence=sentence, command=self._filled(finding.command or ending.command, ""), ill=ending.ill
        )

    def _filled(self, text: str, saw: str) -> str:
        # Not str.format: what was seen may hold braces.
        return text.replace("{server}", self.server).replace("{config}", self.config).replace("{saw}", saw)
