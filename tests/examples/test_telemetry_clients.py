"""The telemetry clients of examples/ against a real exporter: what they count is what it publishes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import running
from exporter.settings import settings_of
from fleet.inventory import Address
from stack import node
from stack.tools import ToolMissingError
from tests.exporter.fleets import make_fleet

EXAMPLES = Path(__file__).parents[2] / "examples" / "telemetry"
PYTHON = """
import sys, telemetry
for seconds in (0.04, 0.4, 4.0): telemetry.called("search", seconds)
telemetry.called("search", 0.3, "tool_error")
for final in (False, True): telemetry.push(sys.argv[1], "codex", sessions=2, final=final, token=sys.argv[2])
"""
TYPESCRIPT = """
import { called, push } from "./telemetry.ts";
for (const seconds of [0.04, 0.4, 4.0]) called("search", seconds);
called("search", 0.3, "tool_error");
for (const final of [false, true]) await push(process.argv[2], "codex", 2, final, process.argv[3]);
"""
TOKEN = "a-token-of-the-tests"


def python(folder: Path) -> list[str]:
    (folder / "telemetry.py").write_text((EXAMPLES / "telemetry.py").read_text())
    (folder / "main.py").write_text(PYTHON)
    return [sys.executable, "main.py"]


def typescript(folder: Path) -> list[str]:
    try:
        program = node.node()
    except ToolMissingError as error:
        pytest.skip(str(error))
    (folder / "telemetry.ts").write_text((EXAMPLES / "telemetry.ts").read_text())
    (folder / "main.mts").write_text(TYPESCRIPT)
    return [str(program), "--disable-warning=ExperimentalWarning", "--experimental-strip-types", "main.mts"]


@pytest.mark.parametrize("client", [python, typescript])
async def test_what_a_client_counts_is_published(tmp_path: Path, client: object) -> None:
    argv = python(tmp_path) if client is python else typescript(tmp_path)
    fleet = make_fleet(tmp_path)
    settings = settings_of(fleet, Address("127.0.0.1", 0))
    async with running(fleet, settings) as exporter, ClientSession(exporter.address.url) as session:
        done = await asyncio.to_thread(
            subprocess.run,
            [*argv, exporter.address.url, TOKEN],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        async with session.get("/metrics") as answer:
            text = await answer.text()
    samples = {
        (sample.name, sample.labels.get("le", ""), sample.labels.get("error_type", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("server") == "codex" and sample.labels.get("mcp_method_name", "tools/call") == "tools/call"
    }
    duration = "mcp_server_operation_duration_seconds"
    assert samples[f"{duration}_count", "", ""] == 3
    assert samples[f"{duration}_sum", "", ""] == pytest.approx(4.44)
    assert [samples[f"{duration}_bucket", bound, ""] for bound in ("0.02", "0.05", "0.5", "3.0", "5.0")] == [
        0,
        1,
        2,
        2,
        3,
    ]
    assert samples["mcp_server_errors_total", "", "tool_error"] == 1
