"""The Inspector's command line in both eras against the official SDK's server, with and without the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.conformance.everything_peers import inspected
from tests.gateway.peers import Exporter, fleet, running, server

pytestmark = pytest.mark.mcp_server

ASKED = [
    ("--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=süß"),
    ("--method", "tools/call", "--tool-name", "fail"),
]


@pytest.mark.parametrize("sdk_url", ["sse"], indirect=True)
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_sees_the_same_in_each_era(
    sdk_url: str, folder: Path, exporter: Exporter, tmp_path: Path, era: str
) -> None:
    async with running(fleet(folder, exporter.url, server(sdk_url))) as gateway:
        routes = (sdk_url, f"{gateway.addresses['demo'].url}/mcp")
        for arguments in ASKED:
            seen = [
                await inspected(tmp_path, (url, "--transport", "http", "--protocol-era", era), *arguments)
                for url in routes
            ]
            assert seen[1] == seen[0]
        operations = gateway.services["demo"].vitals.ledger.operations
        assert {(each.tool, each.error_type): each.count for each in operations if each.method == "tools/call"} == {
            ("echo", ""): 1, ("fail", "tool_error"): 1,
        }  # fmt: skip
        assert any(each.method == "initialize" for each in operations) == (era == "legacy")
