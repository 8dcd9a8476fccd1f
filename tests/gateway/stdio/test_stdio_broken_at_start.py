"""A stdio gateway whose server's TOML is broken, or that of another server: its client gets the server all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.stdio.clients import LINE_SERVER, RawClient, connected, fleet_file
from tests.gateway.stdio.test_stdio_notes import aged, believed

BROKEN = "[mcp\n"
WELL = "[performance]\ninitial_response_timeout = 20000\n"


async def reloaded(client: RawClient) -> str:
    return str(json.loads((await client.control("POST", "/-/reload")).body)["detail"])


def said(errors: Path) -> list[str]:
    """What the gateway's stderr tells of files that are broken; nobody takes its telemetry here, which it tells too."""
    return [line for line in errors.read_text().splitlines() if "is not TOML" in line]


@pytest.mark.parametrize("enforced", ["", "    enforce: [sessions]\n"])
async def test_it_starts_with_the_defaults_says_so_once_and_takes_the_mended_file(folder: Path, enforced: str) -> None:
    file, errors, toml = fleet_file(folder, LINE_SERVER, toml=BROKEN, more=enforced), folder / "errors", "server.toml"
    problem = f"{folder / toml}:1: is not TOML"
    async with connected(file, errors=errors) as client:
        assert await client.text("echo") == "{}"
        assert (await reloaded(client)).startswith(f"not taken, the values in force stay: {problem}")
        (line,) = said(errors)
        assert line.startswith(f"mcp-gateway: {problem}")
        assert line.endswith("Until then the defaults hold")
        (folder / toml).write_text(WELL)
        assert await reloaded(client) == "taken"
        assert await client.text("echo") == "{}"
        assert await client.close() == 0
    assert said(errors) == [line]


async def test_no_note_holds_the_defaults_of_a_broken_file(folder: Path) -> None:
    file, errors = fleet_file(folder, LINE_SERVER, toml=BROKEN), folder / "errors"
    await aged(file, folder / "server.toml")
    for _ in range(2):  # every start says it
        async with connected(file, errors=errors) as client:
            await client.status()
            assert await client.close() == 0
        assert len(said(errors)) == 1
    assert believed(folder) is None
    (folder / "server.toml").write_text(WELL)
    await aged(file, folder / "server.toml")
    async with connected(file, errors=errors) as client:
        await client.status()
        assert await client.close() == 0
    assert said(errors) == []
    assert believed(folder) is not None


async def test_another_servers_broken_file_is_not_its_business(folder: Path) -> None:
    (folder / "other.toml").write_text(BROKEN)
    other = "  - {name: other, transport: stdio, command: ['true'], config_file: other.toml}\n"
    file, errors = fleet_file(folder, LINE_SERVER, toml=WELL, more=other), folder / "errors"
    await aged(file, folder / "server.toml", folder / "other.toml")
    async with connected(file, errors=errors) as client:
        assert await client.text("echo") == "{}"
        await client.status()
        assert await client.close() == 0
    assert said(errors) == []
    assert believed(folder) is not None, "what it starts its server by is known and well"
