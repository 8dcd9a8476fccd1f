"""All questions, by name, and where a walk begins. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from console.diagnosing import degradation_tree, monitoring_tree, startup_tree
from console.diagnosing.walking import Question


class Tree(enum.StrEnum):
    """The three trees of the operators' guide."""

    STARTUP = "startup"
    DEGRADATION = "degradation"
    MONITORING = "monitoring"


CHOICE: Final = "answers"
"""Where a walk begins that has to find out which tree holds."""

QUESTIONS: Final[Mapping[str, Question]] = MappingProxyType(
    {
        CHOICE: Question(
            "Does it answer in its protocol?", yes="measured", no=startup_tree.FIRST, unknown="measured"
        ),
        "measured": Question(
            "Does Prometheus have a new sample of it?",
            yes=degradation_tree.FIRST,
            no=monitoring_tree.FIRST,
            unknown=monitoring_tree.FIRST,
        ),
        **startup_tree.QUESTIONS,
        **degradation_tree.QUESTIONS,
        **monitoring_tree.QUESTIONS,
    }
)  # fmt: skip

FIRST: Final[Mapping[Tree, str]] = MappingProxyType(
    {
        Tree.STARTUP: startup_tree.FIRST,
        Tree.DEGRADATION: degradation_tree.FIRST,
        Tree.MONITORING: monitoring_tree.FIRST,
    }
)

TREE_OF: Final[Mapping[str, Tree]] = MappingProxyType(
    {
        **dict.fromkeys(startup_tree.QUESTIONS, Tree.STARTUP),
        **dict.fromkeys(degradation_tree.QUESTIONS, Tree.DEGRADATION),
        **dict.fromkeys(monitoring_tree.QUESTIONS, Tree.MONITORING),
    }
)
"""The tree to which a question belongs; those of the choice belong to none."""
