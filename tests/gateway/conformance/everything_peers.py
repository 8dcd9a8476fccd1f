"""npm's server-everything on its three transports, and the MCP Inspector's command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stack import node
from stack.tools import ToolMissingError
from tests.gateway.peers import WITHIN, free_port

LOOPBACK_ONLY = Path(__file__).with_name("loopback.cjs")
FIXED = {"DO_NOT_TRACK": "1", "NO_COLOR": "1"}


def program(package: node.Package, *arguments: str) -> list[str]:
    """The argv of a package's program; the test is skipped, with the reason, where it cannot be had."""
    try:
        runtime, *script = node.command(package)
    except ToolMissingError as error:
        pytest.skip(str(error))
    return [runtime, "--require", str(LOOPBACK_ONLY), *script, *arguments]


@contextlib.contextmanager
def everything(transport: str, folder: Path) -> Iterator[str]:
    """server-everything over ``sse`` or ``streamableHttp``; the URL that clients are given."""
    port = free_port()
    with (folder / f"{transport}.log").open("wb") as log:
        argv = program(node.Package.SERVER_EVERYTHING, transport)
        process = subprocess.Popen(argv, env={**os.environ, "PORT": str(port)}, stdout=log, stderr=log)
        try:
            _wait_listening(port, process)
            yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
        finally:
            process.kill()
            process.wait()


def _wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        assert process.poll() is None, "server-everything ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("server-everything does not listen")


async def inspected(folder: Path, server: Sequence[str], *arguments: str) -> tuple[int, Any]:
    """Ask ``server`` (a URL with its transport, or ``--`` and a command) one thing with the Inspector's command line.

    Returns:
        Its exit status, and what it printed as JSON: on stdout, or on stderr where it failed.
    """
    argv = program(node.Package.INSPECTOR, "--cli", *arguments, "--format", "json", "--quiet", *server)
    # The Inspector keeps a catalog in the home folder: not in the developer's.
    environ = {**os.environ, **FIXED, "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(*argv, env=environ, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(WITHIN):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out if process.returncode == 0 else err
    try:
        return process.returncode or 0, json.loads(said)
    except ValueError as error:
        raise AssertionError(f"the Inspector said {said!r} {err!r}") from error
