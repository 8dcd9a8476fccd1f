"""Every panel of every dashboard, drawn by Grafana's own components after a closed loop with a fault.

Not a part of every run: it installs 700 MB of npm packages once and takes two minutes. MCP_MEDIC_WEB=1 switches it on.
The pictures stay in run/dashboards.
"""

from __future__ import annotations

import os

import pytest

from bench.dashboards.__main__ import look, problems
from bench.dashboards.browser import SCREENSHOTS, dashboards, missing
from bench.dashboards.story import EMPTY_HERE

pytestmark = [
    pytest.mark.web,
    pytest.mark.end_to_end,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("MCP_MEDIC_WEB") != "1", reason="drawn only where MCP_MEDIC_WEB=1 asks for it"),
    pytest.mark.skipif(missing() != "", reason=missing() or "nothing is missing"),
]

PNG = b"\x89PNG\r\n\x1a\n"
LEAST_BYTES = 20_000
"""A picture of five panels is larger; a black one is smaller."""


async def test_every_panel_shows_data_or_says_why_not() -> None:
    drawn = await look(SCREENSHOTS, ("errors",))
    assert len(drawn) > 100
    assert not problems(drawn)
    full = {(panel.dashboard, panel.title) for panel in drawn}
    assert set(EMPTY_HERE) <= full, "a reason is written for a panel that no dashboard has"
    for file in dashboards():
        picture = (SCREENSHOTS / f"{file.stem}.png").read_bytes()
        assert picture.startswith(PNG)
        assert len(picture) > LEAST_BYTES
