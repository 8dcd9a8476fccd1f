"""What results cost and what sensitive data they hold: looked at beside the traffic, never in its way. Pure.

The relay only hands over what it has of a result; ``work`` is called by whoever has time. A hit costs nothing: only
what the server itself answered is offered.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fleet.telemetry import Cost
from gateway.copies import HEAD_BYTES

if TYPE_CHECKING:
    from fleet.inventory import Price

MAX_WAITING: Final = 256
"""Results that wait to be looked at, of HEAD_BYTES each at most."""


class Inspection:
    """One server's results. ``prices`` are those of the fleet; ``detects`` follows the server's TOML."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self.prices: Mapping[str, Price] = prices or {}
        self.detects = False
        self.skipped = 0
        self._waiting: deque[bytes] = deque()
        self._usd: dict[str, float] = {}
        self._found: Counter[str] = Counter()

    @property
    def looks(self) -> bool:
        """Whether there is anything to look for."""
        return self.detects or bool(self.prices)

    @property
    def waiting(self) -> int:
        """Results that are not looked at yet."""
        return len(self._waiting)

    @property
    def cost(self) -> list[Cost]:
        """What each priced model cost so far; 0 from the start, so that the first cost is seen to rise."""
        return [Cost(model=model, usd=self._usd.get(model, 0.0)) for model in self.prices]

    @property
    def found(self) -> dict[str, int]:
        """How much of each kind of sensitive data was seen so far."""
        return dict(self._found)

    def offer(self, body: bytes) -> None:
        """The beginning of a response that holds a result; of a longer one no usage can be read."""
        if not self.looks:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.skipped += 1
        else:
            self._waiting.append(body[:HEAD_BYTES])

    def work(self, most: int = MAX_WAITING) -> None:
        """Look at what waits, from any one thread; a result of HEAD_BYTES takes some ten milliseconds."""
        for _ in range(min(most, len(self._waiting))):
            self._look(self._waiting.popleft())

    def _look(self, body: bytes) -> None:
        # Only now: their regular expressions take a stdio server's start longer than all the rest of this package.
        from fleet.sensitive import found_in  # noqa: PLC0415
        from gateway.pricing import cost_of, usage_of  # noqa: PLC0415

        usage = usage_of(body) if self.prices else None
        cost = None if usage is None else cost_of(usage, self.prices)
        if cost is not None:
            model, usd = cost
            self._usd[model] = self._usd.get(model, 0.0) + usd
        if self.detects:
            self._found.update({kind.value: count for kind, count in found_in(body).items()})
