"""docs/console.md against a stack that runs now: the same headings, columns, rows and keys; figures are others."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest

from stack.console_page import PAGE, Neutral, drifted, forms_of, options, page, said_by
from stack.console_scene import Scene, Shot
from stack.loop import Loop

pytestmark = [
    pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server,
    pytest.mark.timeout(900),
]  # fmt: skip


def mistakes(shots: list[Shot]) -> Iterator[str]:
    """Where what was printed with --json is none of the documented forms."""
    for shot in shots:
        forms = forms_of(shot.arguments[0])
        if shot.json and forms:
            said = json.loads(shot.json)
            if not any(jsonschema.Draft202012Validator(form).is_valid(said) for form in forms):
                yield f"{' '.join(shot.arguments)}: {shot.json[:300]}"


async def test_the_page_shows_what_the_commands_say() -> None:
    async with Loop(options()) as loop:
        shots = await Scene(loop, short=True).play()
        now = page(said_by(shots, Neutral(loop)))
    assert list(mistakes(shots)) == []
    assert any(shot.json for shot in shots)
    assert not any("Traceback" in shot.text for shot in shots)
    assert drifted(PAGE.read_text(encoding="utf-8"), now) == []
