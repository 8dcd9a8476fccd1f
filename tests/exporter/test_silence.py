"""ENABLE_PROMETHEUS_METRICS=false: /metrics answers 404 with a sentence, and everything else goes on as before."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout

from exporter.app import running
from exporter.settings import settings_of
from exporter.silence import SENTENCE
from fleet.inventory import Address
from fleet.telemetry import encode
from tests.exporter.fleets import body, make_fleet, operations, write_fleet


async def answers(folder: Path, environ: Mapping[str, str]) -> dict[str, object]:
    """What an exporter in ``environ`` answers: the status of its doors, and what /metrics says."""
    fleet = make_fleet(folder)
    settings = settings_of(fleet, Address("127.0.0.1", 0), environ)
    headers = {"Content-Type": "application/json"}
    async with running(fleet, settings) as exporter, ClientSession(timeout=ClientTimeout(10)) as session:
        url = exporter.address.url
        push = encode(body(operations=[operations(3)]))
        async with session.post(f"{url}/telemetry/v1/servers/codex", data=push, headers=headers) as answer:
            pushed = answer.status
        async with session.get(f"{url}/-/healthy") as answer:
            healthy = answer.status
        async with session.get(f"{url}/metrics") as answer:
            return {"pushed": pushed, "healthy": healthy, "metrics": answer.status, "text": await answer.text()}


async def test_switched_off_only_metrics_are_gone_and_the_answer_says_why(tmp_path: Path) -> None:
    answered = await answers(tmp_path, {"ENABLE_PROMETHEUS_METRICS": "false"})
    assert answered == {"pushed": 204, "healthy": 200, "metrics": 404, "text": SENTENCE}


async def test_switched_on_they_are_there(tmp_path: Path) -> None:
    answered = await answers(tmp_path, {"ENABLE_PROMETHEUS_METRICS": "true"})
    assert (answered["pushed"], answered["healthy"], answered["metrics"]) == (204, 200, 200)
    assert "mcp_server_up" in str(answered["text"])


async def test_the_program_reads_both_variables_of_its_own_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporter", "--config", str(write_fleet(tmp_path)), "--listen", "127.0.0.1:0"]
    environ = {**os.environ, "ENABLE_PROMETHEUS_METRICS": "false", "MCP_DEBUG_LEVEL": "verbose"}
    program = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[2], env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert program.stderr is not None
        async with asyncio.timeout(60):
            passed_over = (await program.stderr.readline()).decode()
            listens = (await program.stderr.readline()).decode()
        assert "MCP_DEBUG_LEVEL is 'verbose', which means nothing here" in passed_over
        address = re.search(r"address=(\S+)", listens)
        assert address is not None, listens
        async with (
            ClientSession(timeout=ClientTimeout(10)) as session,
            session.get(f"http://{address.group(1)}/metrics") as answer,
        ):
            assert (answer.status, await answer.text()) == (404, SENTENCE)
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()
