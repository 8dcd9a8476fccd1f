"""Two real Alertmanagers in a cluster and one receiver: outages, silences and flaps, and how the incidents end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from fleet.control_client import request
from fleet.inventory import Address
from fleet.signals import SignalName
from receiver.app import running
from stack.ports import free_ports
from stack.processes import Processes, poll
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer
from tests.receiver.shell.recorded import PATIENCE, Alertmanager, posted, start_alertmanager
from tests.receiver.shell.world import LIMITS, TOKEN, Client, World, client_of, new_world, start_peers

pytestmark = [pytest.mark.alertmanager, pytest.mark.asyncio(loop_scope="module")]
ERRORS: Final = SignalName.ERROR_RATIO
SERVERS: Final = ("away", "ended", "began", "hushed", "treated", "flapping", *(f"well-{n}" for n in range(8)))
"""More than twice as many as fall ill in these tests: no storm."""

RECONCILE_SECONDS: Final = 0.5


@dataclass
class Cluster:
    """Both Alertmanagers, and the surroundings of the receiver that they deliver to."""

    members: tuple[Alertmanager, Alertmanager]
    world: World
    session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[Client]:
        """It listens where they deliver, while the block runs."""
        async with running(self.world.settings()) as started:
            yield client_of(self.session, started)

    async def tell(self, server: str, *, firing: bool = True, severity: str = "critical", age: float = 600.0) -> None:
        """As Prometheus does it: both hear of it."""
        for member in self.members:
            await member.tell(posted(server, ERRORS, severity=severity, firing=firing, age=age))

    async def silence(self, server: str) -> str:
        """Silence a server, and wait until both know it."""
        silence = await self.members[0].silence(server)

        async def is_known() -> bool:
            return not await self.members[1].active(server) and await self._knows(silence)

        assert await poll(is_known, PATIENCE)
        return silence

    async def _knows(self, silence: str) -> bool:
        async with self.session.get(f"{self.members[1].address.url}/api/v2/silences") as answer:
            return silence in {one["id"] for one in await answer.json()}

    async def failed(self, member: Alertmanager) -> float:
        """How many of its requests to the webhook have failed."""
        answer = await request(member.address, "GET", "/metrics", timeout=PATIENCE)
        found = re.findall(rb'^alertmanager_notification_requests_failed_total{integration="webhook".*} (\S+)$',
                           answer.body, re.MULTILINE)  # fmt: skip
        return sum(map(float, found))

    async def until_failed(self) -> None:
        """Both have tried in vain once more."""
        before = [await self.failed(member) for member in self.members]

        async def in_vain() -> bool:
            now = [await self.failed(member) for member in self.members]
            return all(later > earlier for later, earlier in zip(now, before, strict=True))

        assert await poll(in_vain, PATIENCE), "both should have tried to deliver"

    def restarts(self, server: str) -> int:
        """How often the server was restarted."""
        return len(self.world.gateways[server].restarts)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    # Not tmp_path: a unix socket's address must stay short.
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-")))
        world = new_world(folder, PrometheusPeer(), AlertmanagerPeer(), SERVERS)
        await start_peers(world, stack)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        processes = await stack.enter_async_context(Processes(folder))
        world.listen = f"127.0.0.1:{free_ports(1)[0]}"
        world.timing = replace(world.timing, reconcile_seconds=RECONCILE_SECONDS)
        # Long enough that the two halves of a flap never lie in two incidents; and the end is one rung away.
        world.limits = {**LIMITS, "healthy_seconds": 3, "actions": {"count": 50, "per_seconds": 60}}
        world.ladders = {"error_ratio": ["evidence", "restart", "escalate"]}
        first, second = await _members(processes, folder, world)
        world.alertmanager.url = first.url
        yield Cluster((Alertmanager(first, session), Alertmanager(second, session)), world, session)
        for member in processes.programs.values():  # asked to stop they would try to deliver for seconds
            await member.kill()


async def _members(processes: Processes, folder: Path, world: World) -> tuple[Address, Address]:
    (folder / "token").write_text(TOKEN)
    credentials = {"authorization": {"credentials_file": str(folder / "token")}}
    webhook = {"url": f"http://{world.listen}/api/v1/alerts", "send_resolved": True, "http_config": credentials}
    route = {"receiver": "remediator", "group_by": ["server"], "group_wait": "0s", "group_interval": "1s",
             "repeat_interval": "4h"}  # fmt: skip
    config = {"route": route, "receivers": [{"name": "remediator", "webhook_configs": [webhook]}]}
    gossip = [Address("127.0.0.1", port) for port in free_ports(2)]
    flags = ("--cluster.gossip-interval=50ms", "--cluster.pushpull-interval=1s", "--cluster.peer-timeout=1s",
             f"--cluster.peer={gossip[0]}")  # fmt: skip
    first, second = await asyncio.gather(
        *(
            start_alertmanager(
                processes, folder, f"member-{number}", config,
                cluster=(*flags, f"--cluster.listen-address={at}", f"--cluster.advertise-address={at}"),
            )
            for number, at in enumerate(gossip)
        )
    )  # fmt: skip
    return first, second


async def of(client: Client, server: str) -> list[dict[str, Any]]:
    """The incidents of one server, newest first."""
    return [one for one in await client.incidents() if one["server"] == server]


async def until_state(client: Client, server: str, state: str) -> dict[str, Any]:
    """The only incident of a server, once it is in this state."""

    async def there() -> bool:
        return [one["state"] for one in await of(client, server)] == [state]

    assert await poll(there, PATIENCE), f"never {state}: {json.dumps(await of(client, server), indent=1)}"
    [incident] = await of(client, server)
    return incident


async def until_restarted(cluster: Cluster, server: str, times: int = 1) -> None:
    async def there() -> bool:
        return cluster.restarts(server) >= times

    assert await poll(there, PATIENCE), f"{server} was restarted {cluster.restarts(server)} times"


async def readings(client: Client, count: int) -> None:
    """Wait until Alertmanager was read so many times more."""

    async def read() -> float:
        return sum(
            [await client.metric(f'mcp_remediation_reconciles_total{{result="{result}"}}')
             for result in ("changed", "unchanged")]
        )  # fmt: skip

    before = await read()

    async def enough() -> bool:
        return await read() >= before + count

    assert await poll(enough, PATIENCE)


async def test_what_fires_while_the_receiver_is_away_is_treated_once_when_it_is_back(cluster: Cluster) -> None:
    async with cluster.receiver() as client:  # one incident is known before the outage
        await cluster.tell("ended", severity="warning")
        opened = await until_state(client, "ended", "waiting")
    cluster.world.fall_ill("away", ERRORS)
    await cluster.tell("away")
    await cluster.tell("began", severity="warning")
    await cluster.until_failed()
    await cluster.tell("ended", firing=False, severity="warning")
    await cluster.tell("began", firing=False, severity="warning")
    await cluster.until_failed()
    async with cluster.receiver() as client:
        await until_restarted(cluster, "away")
        await cluster.tell("away", firing=False)
        incident = await until_state(client, "away", "closed")
        assert incident["closed_reason"] == "healed"
        known = await until_state(client, "ended", "closed")
        assert (known["id"], known["closed_reason"]) == (opened["id"], "resolved")

        async def over() -> bool:  # a retry that was under way may still have told of its beginning
            return all(one["state"] == "closed" for one in await of(client, "began"))

        assert await poll(over, PATIENCE)
        assert all(one["closed_reason"] == "resolved" for one in await of(client, "began"))
    assert [cluster.restarts(server) for server in ("away", "ended", "began")] == [1, 0, 0]


async def test_a_silence_holds_and_its_end_loses_nothing(cluster: Cluster) -> None:
    async with cluster.receiver() as client:
        cluster.world.fall_ill("hushed", ERRORS)
        silence = await cluster.silence("hushed")
        await cluster.tell("hushed")
        await readings(client, 4)
        assert await of(client, "hushed") == []
        await cluster.members[0].unsilence(silence)
        await until_restarted(cluster, "hushed")
        await cluster.tell("hushed", firing=False)
        await until_state(client, "hushed", "closed")
    assert cluster.restarts("hushed") == 1


async def test_a_silence_over_what_is_being_treated_stops_it_until_it_ends(cluster: Cluster) -> None:
    """Fired, silenced, and not silenced any more: Alertmanager sends no webhook for that; it has to be asked."""
    gateway = cluster.world.gateways["treated"]
    gateway.release.clear()
    cluster.world.fall_ill("treated", ERRORS)
    gateway.cured.clear()  # no restart helps
    async with cluster.receiver() as client:
        await cluster.tell("treated")
        await asyncio.wait_for(gateway.began.wait(), PATIENCE)
        silence = await cluster.silence("treated")

        async def quiet() -> bool:
            return not (await of(client, "treated"))[0]["firing"]

        assert await poll(quiet, PATIENCE)
        gateway.release.set()

        async def judged() -> bool:
            return bool((await of(client, "treated"))[0]["acts"][-1]["verdict"] == "not_healed")

        assert await poll(judged, PATIENCE), await of(client, "treated")
        await readings(client, 4)
        [incident] = await of(client, "treated")
        assert [act["action"] for act in incident["acts"]] == ["evidence", "restart"]
        assert incident["state"] not in {"escalated", "closed"}
        await cluster.members[0].unsilence(silence)
        await until_state(client, "treated", "escalated")
    assert cluster.restarts("treated") == 1


async def test_a_flap_inside_the_group_interval_is_one_illness(cluster: Cluster) -> None:
    gateway = cluster.world.gateways["flapping"]
    gateway.release.clear()
    cluster.world.fall_ill("flapping", ERRORS)
    async with cluster.receiver() as client:
        await cluster.tell("flapping")
        await asyncio.wait_for(gateway.began.wait(), PATIENCE)
        for _ in range(3):
            await cluster.tell("flapping", firing=False)
            await cluster.tell("flapping", age=0.0)
        gateway.release.set()
        await until_restarted(cluster, "flapping")
        await cluster.tell("flapping", firing=False)
        incident = await until_state(client, "flapping", "closed")
        assert incident["closed_reason"] == "healed"
    assert cluster.restarts("flapping") == 1
