from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from exporter.app import Running, running
from exporter.settings import Settings, settings_of
from fleet.inventory import Address
from tests.exporter.fleets import make_fleet

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
