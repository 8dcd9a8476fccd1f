"""What people read of the receiver's words: each reason for which they are called has its line in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

from receiver.vocabulary import EscalationReason

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbooks" / "McpRemediationExhausted.md"


def test_every_reason_stands_in_the_runbook_and_no_other() -> None:
    told = set(re.findall(r"^\| `([a-z_]+)` \|", RUNBOOK.read_text(), re.MULTILINE))
    assert told == set(EscalationReason) - {EscalationReason.ADVICE}
