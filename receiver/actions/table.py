"""The table of actions. ``escalate`` is not in it: it is a word in the journal that people's alerts read."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from receiver.actions import configuration, evidence, gentle, restart, restoring
from receiver.actions.act import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        # Reading changes nothing, so evidence that was cut short is simply read again.
        "evidence": Action(evidence.collect, evidence.collect),
        "reset_cache": Action(gentle.reset_cache, gentle.forgotten),
        "end_sessions": Action(gentle.end_sessions, gentle.forgotten),
        "set_config": Action(configuration.perform, configuration.verify),
        "apply_profile": Action(configuration.perform, configuration.verify),
        "recover": Action(configuration.perform, configuration.verify),
        "take_back": Action(configuration.perform, configuration.verify),
        "debug_mode": Action(configuration.perform, configuration.verify),
        "end_debug_mode": Action(configuration.perform, configuration.verify),
        "restore": Action(restoring.perform, restoring.verify),
        "restart": Action(restart.perform, restart.verify),
        "start": Action(restart.start, restart.start),
        "stop": Action(restart.stop, restart.stop),
    }
)
