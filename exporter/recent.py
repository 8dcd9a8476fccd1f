"""The cache's hit ratio over the last five minutes, from the growth of the totals. Pure.

Growth is kept in slots of ``SLOT_SECONDS``, so the memory of a server is bounded whatever its traffic.
"""

from __future__ import annotations

from typing import Final

from exporter.facts import Lookups

WINDOW_SECONDS: Final = 300.0
SLOT_SECONDS: Final = 10.0
_SLOTS: Final = int(WINDOW_SECONDS / SLOT_SECONDS)


def noted(lookups: Lookups, now: float, requests: float, hits: float) -> Lookups:
    """``lookups`` after the totals grew by ``requests`` and ``hits`` at ``now`` (monotonic seconds)."""
    if requests <= 0 and hits <= 0:
        return lookups
    slot = int(now // SLOT_SECONDS)
    kept = [entry for entry in lookups.slots if entry[0] > slot - _SLOTS]
    if kept and kept[-1][0] == slot:
        _, earlier_requests, earlier_hits = kept.pop()
        requests, hits = requests + earlier_requests, hits + earlier_hits
    return Lookups((*kept, (slot, requests, hits)))


def hit_ratio(lookups: Lookups, now: float) -> float | None:
    """Hits by requests over the window that ends at ``now``; None without lookups in it."""
    slot = int(now // SLOT_SECONDS)
    recent = [entry for entry in lookups.slots if entry[0] > slot - _SLOTS]
    requests = sum(entry[1] for entry in recent)
    if requests <= 0:
        return None
    # A body is no transaction: a hit may be counted a moment before its lookup.
    return min(1.0, sum(entry[2] for entry in recent) / requests)
