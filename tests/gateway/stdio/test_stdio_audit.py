"""Audit log, cost and sensitive data of a stdio server."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fleet.telemetry import Telemetry
from tests.gateway.peers import until
from tests.gateway.stdio.clients import LINE_SERVER, connected, fleet_file

PRICES = "prices: {m: {input_usd_per_million_tokens: 2, output_usd_per_million_tokens: 10}}\n"
DETECTS = "[security]\nsensitive_data_detection = true\n"


@pytest.mark.parametrize("arguments", [True, False])
async def test_who_called_what_and_what_it_cost(
    tmp_path: Path, reports: tuple[str, dict[str, Telemetry]], arguments: bool
) -> None:
    url, latest = reports
    path = tmp_path / "audit.log"
    audit = f"    audit_log: {{path: {path}, arguments: {json.dumps(arguments)}}}\n"
    file = fleet_file(tmp_path, LINE_SERVER, exporter=url, toml=DETECTS, more=audit)
    file.write_text(PRICES + file.read_text())
    for _ in range(2):  # the second one begins with the note of the first
        async with connected(file) as client:
            await client.call("echo", usage={"input_tokens": 1_000_000}, model="m", to="max@example.com")
            await client.call("fail")
            await until(lambda: any(each.cost[0].usd > 0 for each in latest.values()))
            assert (await client.status())["audit_log"]["problem"] == ""
            assert await client.close() == 0
        told = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(each["method"], each.get("tool"), each["outcome"]) for each in told] == [
            ("initialize", None, "ok"), ("tools/call", "echo", "ok"), ("tools/call", "fail", "tool_error"),
        ]  # fmt: skip
        assert {each["client"] for each in told} == {"t/1"}
        assert ("max@example.com" in path.read_text()) is arguments
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (report,) = latest.values()
        assert [(each.model, each.usd) for each in report.cost] == [("m", 2.0)]
        assert report.sensitive == {"email": 1}
        latest.clear()
        path.unlink()
