"""What the page says after a form was sent: a closed set, so that an address can carry its name and no text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.page.words import DENIED, Tone

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence and how it is meant."""

    text: str
    tone: Tone


_REFUSED: Final = "refused-"

NOTICES: Final[Mapping[str, Notice]] = {
    "approved": Notice("Approved. It begins now, unless a guard holds it back.", Tone.GOOD),
    "denied": Notice("Denied. It is left out, and what comes next is looked for.", Tone.WARN),
    "gone": Notice("That does not wait for a word any more. What you see is how it stands now.", Tone.WARN),
    "paused": Notice("Automation is paused there.", Tone.WARN),
    "resumed": Notice("Automation goes on there.", Tone.GOOD),
    "unchanged": Notice("It was so already.", Tone.QUIET),
    "asked": Notice("Asked for. It is under way.", Tone.GOOD),
    **{f"{_REFUSED}{reason}": Notice(f"Refused: {said}.", Tone.ILL) for reason, said in DENIED.items()},
}


def refused(reason: str) -> str:
    """The name of the notice for a guard's refusal."""
    return f"{_REFUSED}{reason}"
