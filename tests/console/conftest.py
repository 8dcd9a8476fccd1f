"""One Prometheus with a known past for all tests of what the console reads."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from console.desk import Desk, opened
from fleet.loading import load_fleet
from stack.ports import free_ports
from tests.console.past import CLOCK, CONFIG, Past, fleet_text, made_up, remembered


@dataclass(frozen=True)
class Remembered:
    """The past, and the URL of the Prometheus that holds it."""

    past: Past
    url: str


@pytest.fixture(scope="session")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembered]:
    """A Prometheus with the made-up past, shared by all of a session."""
    past = made_up()
    with remembered(past, tmp_path_factory.mktemp("past")) as url:
        yield Remembered(past, url)


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of something that takes every connection and hangs up.

    In a thread: a loop's server that is closed while it accepts leaves that connection open for good.
    """
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass
class Place:
    """A folder with a fleet file; nobody listens on ``nobody``. ``write`` says where the services are."""

    folder: Path
    nobody: str

    def write(self, prometheus: str = "", alertmanager: str = "", receiver: str = "") -> Path:
        """The fleet file; a service that is not named is not there."""
        (self.folder / "codex.toml").write_text(CONFIG)
        file = self.folder / "fleet.yml"
        text = fleet_text(prometheus or self.nobody, alertmanager or self.nobody, receiver or self.nobody)
        file.write_text(text, encoding="utf-8")
        return file


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fleet none of whose services is there until ``write`` names one."""
    (port,) = free_ports(1)
    return Place(tmp_path, f"http://127.0.0.1:{port}")


NOBODY = "http://127.0.0.1:9"
"""The port of discard, where nobody has listened for decades."""
T = TypeVar("T")


def once(folder: Path, ask: Callable[[Desk], Awaitable[T]], **services: str | AbstractAsyncContextManager[str]) -> T:
    """What one command says at the end of the past, asked in a loop of its own: a module's tests share the answer.

    ``services`` are URLs, or what serves while it is asked.
    """

    async def asked() -> T:
        async with AsyncExitStack() as stack:
            urls = {
                name: each if isinstance(each, str) else await stack.enter_async_context(each)
                for name, each in services.items()
            }
            return await ask(await Desks(Place(folder, NOBODY), stack)(**urls))

    return asyncio.run(asked())


class Desks:
    """Desks whose clock stands just after the end of the past."""

    def __init__(self, place: Place, stack: AsyncExitStack) -> None:
        self._place = place
        self._stack = stack

    async def __call__(self, prometheus: str = "", alertmanager: str = "", receiver: str = "") -> Desk:
        """A desk for one command; a service that is not named is not there."""
        fleet = load_fleet(self._place.write(prometheus, alertmanager, receiver), {})
        desk = await self._stack.enter_async_context(opened(fleet, {}))
        return replace(desk, now=lambda: float(CLOCK))


@pytest.fixture
async def desks(place: Place) -> AsyncIterator[Desks]:
    """Makes desks, and clears them away."""
    async with AsyncExitStack() as stack:
        yield Desks(place, stack)
