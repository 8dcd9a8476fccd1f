"""What happens before the dashboards are drawn: a closed loop, faults one after the other, a server that costs."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

import yaml
from aiohttp.test_utils import TestServer

from bench.dashboards.neighbours import Neighbours
from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Enforced
from fleet.tasks import Tasks
from stack.demo import DEADLINE_SECONDS
from stack.loop import SERVER, Loop, LoopOptions
from stack.processes import poll
from stack.scenarios import SCENARIOS
from stack.watch import LOOK_SECONDS, NotSeenError, Watch

FAULTS: Final = ("errors", "slow")
"""One that a restart heals, and one in which cheaper rungs are tried before."""

USD_PER_SECOND: Final = 1.6 / 3600
"""What the server says that it spends: below the default budget."""

EMPTY_HERE: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("mcp-medic-server", "Firing alerts"): "the server of the loop is healed when it is drawn",
        ("mcp-medic-server", "Refused by the gateway"): "a restart may be too quick for a call to be refused meanwhile",
        ("mcp-medic-objectives", "Burn rate"): "a window is judged once a server is known for the whole of it",
        ("mcp-medic-healing", "Kept back by budgets"): "two treatments reach no budget",
        ("mcp-medic-healing", "Refusals by reason"): "one fault that its first rung heals meets no guard",
    }
)
"""Panels that may be empty after one closed loop, and why."""

_SETTINGS: Final = MappingProxyType({"mcp.enable_response_caching": True, "performance.enable_circuit_breaker": True})
_PUSH_SECONDS: Final = 1.0


@asynccontextmanager
async def filled(faults: Sequence[str]) -> AsyncIterator[tuple[Loop, float]]:
    """A running loop in which each fault came and was healed, and when the first one came (UNIX seconds).

    Raises:
        fleet.errors.MedicError: a fault was not healed.
    """
    options = LoopOptions(label="dashboards", settings=_SETTINGS, enforce=frozenset({Enforced.SESSIONS}))
    tasks = Tasks("story")
    async with Loop(options) as loop, TestServer(Neighbours(SERVER).application(), host="127.0.0.1") as neighbours:
        _scraped_too(loop, f"127.0.0.1:{neighbours.port}")
        await loop.start_traffic()
        tasks.start("spend", _spend(loop))
        try:
            began = 0.0
            print(f"calm: {await Watch(loop).calm()}", flush=True)
            for number, fault in enumerate(faults, start=1):
                began = began or time.time()
                await SCENARIOS[fault].switch_on(loop)
                await _healed(loop, fault, number)
            yield loop, began
        finally:
            await tasks.stop()


def _scraped_too(loop: Loop, address: str) -> None:
    file = loop.folder / "prometheus.yml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["scrape_configs"].append({"job_name": "mcp-neighbours", "static_configs": [{"targets": [address]}]})
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    # Prometheus reads its configuration anew.
    loop.program("prometheus").process.send_signal(signal.SIGHUP)


async def _healed(loop: Loop, fault: str, number: int) -> None:
    async def closed() -> bool:
        with suppress(MedicError):
            states = [incident["state"] for incident in await loop.receiver.incidents()]
            return states.count("closed") >= number
        return False

    if not await poll(closed, DEADLINE_SECONDS, every=LOOK_SECONDS):
        raise NotSeenError(f"{DEADLINE_SECONDS:g} s after the fault {fault} its incident is not closed")
    print(f"{fault}: came, was treated and healed", flush=True)


async def _spend(loop: Loop) -> None:
    """Report what tokens cost, as a server that knows it would: beside the gateway's telemetry."""
    started = time.time()
    token = (loop.folder / "telemetry-token").read_text(encoding="utf-8")
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
    while True:
        usd = (time.time() - started) * USD_PER_SECOND
        body = {
            "schema": 1,
            "source": f"spender-1-{started:.0f}",
            "started_at": started,
            "cost": [{"model": "gpt-5-codex", "usd": usd * 0.8}, {"model": "gpt-5-mini", "usd": usd * 0.2}],
        }
        with suppress(MedicError):
            await request(
                loop.addresses["exporter"], "POST", f"/telemetry/v1/servers/{SERVER}",
                headers=headers, body=json.dumps(body).encode(), timeout=5,
            )  # fmt: skip
        await asyncio.sleep(_PUSH_SECONDS)
