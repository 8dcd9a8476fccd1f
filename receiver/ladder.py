"""One ladder out of many: the rungs that the open signals of one incident ask for, in the order to be climbed. Pure.

The rule: inside one signal's ladder its own order holds. Where several signals ask, the cheaper next rung comes first
(``RANK``), and between equals the one of the higher signal. A rung stands as often as the ladder that names it most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from fleet.inventory import Ladder, Rung
from fleet.profiles import PROFILES

RANK: Final = {
    "evidence": 0,
    "reset_cache": 1,
    "set_config": 2,
    "apply_profile": 3,
    "end_sessions": 4,
    "restart": 5,
    "restore": 8,
    "escalate": 9,
}
_RESTARTING_PROFILE: Final = 6
_UNKNOWN: Final = 7
"""What nobody ranked is dear."""


def rank(rung: Rung) -> int:
    """How dear a rung is to the server's clients."""
    profile = PROFILES.get(rung.profile)
    if profile is not None and profile.restarts:
        return _RESTARTING_PROFILE
    return RANK.get(rung.action, _UNKNOWN)


def merged_ladder(signals: Iterable[str], ladders: Mapping[str, Ladder]) -> Ladder:
    """The rungs of these signals, which come highest first."""
    remaining = [list(ladders.get(signal, ())) for signal in signals]
    most = Counter[Rung]()
    for ladder in remaining:
        most |= Counter(ladder)
    merged: list[Rung] = []
    taken = Counter[Rung]()
    while any(remaining):
        rung = min((ladder[0] for ladder in remaining if ladder), key=rank)
        for ladder in remaining:
            if ladder and ladder[0] == rung:
                del ladder[0]
        if taken[rung] < most[rung]:
            taken[rung] += 1
            merged.append(rung)
    return tuple(merged)
