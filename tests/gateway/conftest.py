"""Fixtures of the gateway's tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.gateway.peers import SDK_SERVER, WITHIN, Exporter, free_port, listening


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder: the paths of unix sockets are short."""
    with tempfile.TemporaryDirectory(prefix="gw-") as name:
        yield Path(name)


@pytest.fixture
async def exporter() -> AsyncIterator[Exporter]:
    found = Exporter()
    async with listening(found.take) as url:
        found.url = url
        yield found


@pytest.fixture(scope="module", params=["sse", "json"])
def sdk_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The official SDK's server, with both ways of a legacy answer."""
    port = free_port()
    command = [sys.executable, str(SDK_SERVER), "--port", str(port)]
    process = subprocess.Popen(command + (["--json"] if request.param == "json" else []))
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:

    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not listen")
