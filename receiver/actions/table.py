"""The table of actions. ``escalate`` is not in it: it is a word in the journal that people's alerts read."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from receiver.actions import evidence, restart
from receiver.actions.act import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        # Reading changes nothing, so evidence that was cut short is simply read again.
        "evidence": Action(evidence.collect, evidence.collect),
        "restart": Action(restart.perform, restart.verify),
    }
)
