"""One check: what was looked at, what was seen, what to do about it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import msgspec


class Outcome(enum.StrEnum):
    """How a check ended. UNREACHABLE: whoever had to be asked did not answer. SKIPPED: it does not apply here."""

    PASSED = "passed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check: ``saw`` is what was seen, ``remedy`` is empty unless it failed, ``seconds`` where it counts."""

    name: str
    outcome: Outcome
    saw: str
    remedy: str = ""
    seconds: float | None = None


ILL: Final = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})


def passed(name: str, saw: str, seconds: float | None = None) -> Check:
    """A check that passed."""
    return Check(name=name, outcome=Outcome.PASSED, saw=saw, seconds=seconds)


def failed(name: str, saw: str, remedy: str, seconds: float | None = None) -> Check:
    """A check that failed."""
    return Check(name=name, outcome=Outcome.FAILED, saw=saw, remedy=remedy, seconds=seconds)


def skipped(name: str, why: str) -> Check:
    """A check that does not apply, or that an earlier one made pointless."""
    return Check(name=name, outcome=Outcome.SKIPPED, saw=why)


def unreachable(name: str, saw: str, remedy: str) -> Check:
    """A check whose service did not answer; ``saw`` names it and its address."""
    return Check(name=name, outcome=Outcome.UNREACHABLE, saw=saw, remedy=remedy)


def any_failed(checks: Iterable[Check]) -> bool:
    """Whether one of them failed."""
    return any(check.outcome is Outcome.FAILED for check in checks)
