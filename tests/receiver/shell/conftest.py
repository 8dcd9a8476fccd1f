from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
import trustme

from receiver.app import running
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer
from tests.receiver.shell.world import Client, World, client_of, new_world, start_peers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Two servers, alpha and beta, with every peer served."""
    # Not tmp_path: a unix socket's address must stay short.
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            made = new_world(Path(folder), PrometheusPeer(), AlertmanagerPeer())
            await start_peers(made, stack)
            yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


Start = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def start(world: World, session: aiohttp.ClientSession) -> Start:
    """``async with start() as client``: a receiver in this process with the world's fleet.yml as it is now."""

    @contextlib.asynccontextmanager
    async def started() -> AsyncIterator[Client]:
        async with running(world.settings()) as receiver:
            yield client_of(session, receiver)

    return started


@pytest.fixture
def authority(world: World) -> trustme.CA:
    """Signs server.pem, which lies with its key and ca.pem beside fleet.yml."""
    signer = trustme.CA()
    own = signer.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(world.folder / "server.key")
    own.cert_chain_pems[0].write_to_path(world.folder / "server.pem")
    signer.cert_pem.write_to_path(world.folder / "ca.pem")
    return signer
