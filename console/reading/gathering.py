"""Questions to services of which some may not answer: what came is used, what did not is a gap of the report."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from console.report import Gap, gap
from fleet.errors import MedicError

if TYPE_CHECKING:
    from console.services.http import Service

T = TypeVar("T")


class Gathering:
    """What one report asks. Questions may be under way at once."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []

    async def ask(self, service: Service, missing: str, question: Awaitable[T], otherwise: T) -> T:
        """The answer, or ``otherwise`` and a gap: then ``missing`` is what the report cannot say."""
        try:
            return await question
        except MedicError as error:
            self._gaps.append(gap(service.name, service.url, error, missing))
            return otherwise

    def gaps(self) -> tuple[Gap, ...]:
        """One gap for each reason: a service that is down is down once, however many questions it left open."""
        merged: dict[tuple[str, str, str], list[str]] = {}
        for each in self._gaps:
            left = merged.setdefault((each.service, each.address, each.reason), [])
            if each.missing not in left:
                left.append(each.missing)
        return tuple(
            Gap(service=service, address=address, reason=reason, missing=", ".join(left))
            for (service, address, reason), left in merged.items()
        )
