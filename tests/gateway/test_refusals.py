"""The codes of the gateway's own errors."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.refusals import Code

DOCS = Path(__file__).parents[2] / "docs" / "fleet-file.md"


def test_every_code_is_outside_the_protocols_range_and_documented_once() -> None:
    assert all(not -32768 <= code <= -32000 for code in Code)
    assert len(Code.__members__) == len(Code), "two names for one number"
    documented = re.findall(r"^\| (-33\d{3}) \|", DOCS.read_text(), re.MULTILINE)
    assert documented == [str(int(code)) for code in sorted(Code, reverse=True)]
