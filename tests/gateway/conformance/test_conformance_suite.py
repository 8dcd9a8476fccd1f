"""The MCP conformance suite ends the same direct and through a gateway with everything switched on, in both eras."""

from __future__ import annotations

import asyncio

import pytest

from stack.conformance import DIRECT, SHORT, compared, differences, table
from stack.tools import ToolMissingError

pytestmark = pytest.mark.mcp_server
THROUGH = "gateway, everything on"


async def test_every_check_ends_the_same() -> None:
    try:
        outcomes = await asyncio.wait_for(compared(SHORT, [DIRECT, THROUGH]), 170)
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert len(outcomes) == 4
    assert not differences(outcomes), table(outcomes)
    assert all(outcome.statuses["SUCCESS"] > 80 for outcome in outcomes), table(outcomes)
    [modern] = [outcome for outcome in outcomes if (outcome.leg, outcome.route) == ("modern", THROUGH)]
    assert modern.hits, "the cache took part"
