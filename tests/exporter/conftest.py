from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from exporter.app import Running, running
from exporter.facts import ServerFacts
from exporter.readings import ProcessReading
from exporter.settings import Settings, settings_of
from exporter.sources.process import ProcessSource
from exporter.sources.process_table import Machine
from fleet.inventory import Address
from tests.exporter.fleets import codex, make_fleet
from tests.exporter.processes import MACHINES, Read, Tree

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A free loopback port and no token."""
    return settings_of(make_fleet(tmp_path), Address("127.0.0.1", 0))


@pytest.fixture
async def exporter(tmp_path: Path, settings: Settings) -> AsyncIterator[Running]:
    """A running exporter of the servers ``codex`` and ``other``."""
    async with running(make_fleet(tmp_path, servers=("codex", "other")), settings) as started:
        yield started


@pytest.fixture
async def guarded(tmp_path: Path, settings: Settings) -> AsyncIterator[Running]:
    """A running exporter that asks for TOKEN."""
    door = replace(settings.door, tokens=(TOKEN,))
    async with running(make_fleet(tmp_path), replace(settings, door=door)) as started:
        yield started


@pytest.fixture
async def client(exporter: Running) -> AsyncIterator[ClientSession]:
    """A client of ``exporter``."""
    async with ClientSession(exporter.address.url) as session:
        yield session


@pytest.fixture
def tree() -> Iterator[Tree]:
    """A running server with one child, ended with the test."""
    tree = Tree(uuid.uuid4().hex)
    yield tree
    tree.end()


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each way to look at this machine: every test that takes it runs once with each."""
    made: Machine = request.param()
    return made


@pytest.fixture
def read(machine: Machine) -> Read:
    """One read of a server whose processes are found so."""

    def read_once(folder: Path, selector: str, known: ServerFacts | None = None, now: float = 100.0) -> ProcessReading:
        server = codex(folder, f", process: {{{selector}}}")
        return ProcessSource(machine).read(server, known or ServerFacts(), now)

    return read_once
