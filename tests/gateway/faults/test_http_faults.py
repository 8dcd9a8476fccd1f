"""Every scenario twice: the client at the server itself, then through the gateway. It sees the same, the figures tell
what happened, and nothing is left: no connection, no task, no descriptor."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
import trustme
import uvloop

from gateway.app import Gateway
from tests.gateway.faults.scenarios import CHUNKED, GATEWAYS, HALF, RESULT, SCENARIOS, Scenario, answer, chunk, headed
from tests.gateway.faults.script import CLOSE, RESET, SEEN, Act, Part, Script, playing
from tests.gateway.faults.sight import Seen, Sight, look
from tests.gateway.peers import WITHIN, fleet, patience, running, server, until

SETTLES = 2.0
NOWHERE = "http://127.0.0.1:1"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(serving)
    asking = ssl.create_default_context()
    authority.configure_trust(asking)
    return serving, asking


def _descriptors() -> set[tuple[str, str]]:
    """What this process has open: number and what it is."""
    found = set()
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder itself is listed, and closed by now
            found.add((number.name, str(number.readlink())))
    return found


@dataclass(frozen=True)
class Play:
    """A scenario, each of its calls after ``before`` others over the same connection that are answered well.

    The gateway takes what comes again and again a shorter way, and that has to see the same faults.
    """

    scenario: Scenario
    before: int

    @property
    def parts(self) -> tuple[Part, ...]:
        fine: tuple[Part, ...] = ((answer(RESULT),),) * self.before
        return tuple(chain.from_iterable((*fine, part) for part in self.scenario.parts))

    @property
    def told(self) -> dict[str, int]:
        fine = self.before * len(self.scenario.calls)
        told = Counter(self.scenario.told) + Counter({"": fine})
        return dict(told)

    async def looks(
        self, port: int, script: Script, awaited: tuple[Seen, ...], tls: ssl.SSLContext | None = None
    ) -> list[Sight]:
        each = self.before + 1
        return [
            await look(port, call, seen, script.stage.seen[number * each + self.before], before=self.before, tls=tls)
            for number, (call, seen) in enumerate(zip(self.scenario.calls, awaited, strict=True))
        ]


async def _directly(play: Play, serving: ssl.SSLContext | None, asking: ssl.SSLContext | None) -> list[Sight]:
    async with playing(play.parts, serving) as (script, port):
        sights = await play.looks(port, script, play.scenario.seen, asking)
        await until(lambda: script.stage.open == 0)
    return sights


async def _through(play: Play, serving: ssl.SSLContext | None, folder: Path) -> list[Sight]:
    scenario = play.scenario
    async with playing(play.parts, serving) as (script, port):
        url = f"{'https://localhost' if serving else 'http://127.0.0.1'}:{port}/mcp"
        config = None if scenario.limits is None else patience(*scenario.limits)
        async with running(fleet(folder, NOWHERE, server(url, config=config))) as gateway:
            sights = await play.looks(gateway.addresses["demo"].port, script, scenario.through or scenario.seen)
            await _settled(lambda: _figures(gateway), Figures(play.told, scenario.unreadable, 0))
            await _quiet(gateway, script)
        await until(lambda: script.stage.open == 0)
    return sights


@dataclass(frozen=True)
class Figures:
    """What the gateway tells: operations of tools/call by error type, and the rest."""

    operations: dict[str, int]
    unreadable: int
    in_flight: int


def _figures(gateway: Gateway) -> Figures:
    vitals = gateway.services["demo"].vitals
    assert all(each.method == "tools/call" for each in vitals.ledger.operations)
    operations = {each.error_type: each.count for each in vitals.ledger.operations}
    return Figures(operations, vitals.ledger.unreadable, vitals.ledger.in_flight)


async def _settled(found: Callable[[], object], wanted: object) -> None:
    """Wait until it is what it is to be; after that, say what it is instead."""
    with suppress(TimeoutError):
        await until(lambda: found() == wanted, SETTLES)
    assert found() == wanted


async def _quiet(gateway: Gateway, script: Script) -> None:
    """Nothing of the calls is left while the gateway goes on; its idle connections are all that the server has."""
    await _settled(lambda: (gateway.relay.clients, gateway.relay.under_way), (0, 0))
    (pool,) = gateway.relay._pools.values()
    await _settled(lambda: (pool.live - pool.idle, script.stage.open - pool.idle), (0, 0))
    assert not gateway.services["demo"].vitals._exchanges
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("gateway:connect")]


async def _played(play: Play, authority: trustme.CA, folder: Path) -> None:
    scenario = play.scenario
    serving, asking = _contexts(authority) if scenario.tls else (None, None)
    async with playing(()):
        pass  # with its first listener uvloop opens a descriptor that it keeps
    before, tasks = _descriptors(), asyncio.all_tasks()
    direct = await _directly(play, serving, asking)
    assert tuple(sight.seen for sight in direct) == scenario.seen, "the table is wrong of the server itself"
    through = await _through(play, serving, folder)
    for given, wanted, plain in zip(through, scenario.through or scenario.seen, direct, strict=True):
        _compare(given, wanted, plain)
    await _settled(lambda: _descriptors() - before, set())
    await _settled(lambda: asyncio.all_tasks() - tasks, set())


def _compare(given: Sight, wanted: Seen, plain: Sight) -> None:
    if wanted == GATEWAYS:
        assert (given.seen.status, given.seen.end) == (wanted.status, wanted.end)
        assert b'"id":"a"' in given.seen.body
        return
    assert given == plain


@pytest.mark.parametrize(("loop", "before"), [("asyncio", 0), ("uvloop", 3)], ids=["first", "fourth-on-uvloop"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_client_sees_what_it_would_have_seen(
    scenario: Scenario, loop: str, before: int, authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scenario.tls:
        bundle = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(_played(Play(scenario, before), authority, folder))


def test_no_two_scenarios_are_the_same() -> None:
    assert len({str(scenario) for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_an_old_client_is_not_told_that_a_torn_answer_ended(loop: str, end: Act, folder: Path) -> None:
    """To HTTP/1.0 a close is the end of an answer: one that is torn has to be reset."""

    async def play() -> None:
        part: Part = (headed(CHUNKED, body=chunk(HALF)), SEEN, end)
        async with (
            playing((part,)) as (script, port),
            running(fleet(folder, NOWHERE, server(f"http://127.0.0.1:{port}/mcp"))) as gateway,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.addresses["demo"].port)
            writer.write(b"GET /mcp HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(WITHIN):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(HALF)) == HALF
                script.stage.seen[0].set()
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            writer.transport.abort()
            await _settled(lambda: (gateway.relay.clients, gateway.relay.under_way), (0, 0))

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(play())
