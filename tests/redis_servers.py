"""Real Redis servers for tests: on free loopback ports, nothing written to disk, gone at the end of the test."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from stack.ports import free_ports
from stack.tools import ToolMissingError, find

READY_SECONDS = 20.0
"""Longest wait for a server to answer: seconds on a machine that does other things too."""

PASSWORD = "a-password-of-the-tests"


@dataclass
class RedisServer:
    """One running server. ``port`` is where it speaks, under TLS when it was started so."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    password: str | None = None

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    @property
    def unix_socket(self) -> Path:
        """Its second door."""
        return self.folder / "redis.sock"

    def client(self, **more: Any) -> redis.Redis:
        """A plain client, through the unix socket, which every server has."""
        return redis.Redis(unix_socket_path=str(self.unix_socket), password=self.password, **more)

    def stop(self) -> None:
        """End it at once; idempotent."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(READY_SECONDS)


def start_redis(
    folder: Path, *more: str, port: int | None = None, password: str | None = None, sentinel: bool = False
) -> RedisServer:
    """A server without persistence; ``more`` are options such as ``--cluster-enabled``, ``yes``.

    With ``--tls-cert-file`` among them it speaks TLS only. ``folder`` is short: its unix socket lies there, whose
    path has 107 bytes at most. Without Redis the test is skipped.
    """
    try:
        program = find("redis-server")
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        chosen = free_ports(1)[0] if port is None else port
        server = RedisServer(chosen, folder, _started(program, folder, chosen, more, password, sentinel), password)
        if _ready(server):
            return server
        server.stop()
    pytest.fail(f"redis-server did not start: {(folder / 'log').read_text()[-2000:]}")


def _started(
    program: Path, folder: Path, port: int, more: Sequence[str], password: str | None, sentinel: bool
) -> subprocess.Popen[bytes]:
    if "--tls-cert-file" in more:
        more = ["--port", "0", *more]
    options = [
        "--tls-port" if "--tls-cert-file" in more else "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--unixsocket", str(folder / "redis.sock"), "--logfile", str(folder / "log"), "--daemonize", "no",
    ]  # fmt: skip
    if not sentinel:
        options += ["--save", "", "--appendonly", "no"]
    if password is not None:
        options += ["--requirepass", password]
    # Sentinel writes what it learns into its file; a cluster's node needs none.
    file = [str(folder / "sentinel.conf")] if sentinel else []
    return subprocess.Popen(
        [program, *file, *options, *more, *(["--sentinel"] if sentinel else [])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _ready(server: RedisServer) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            with server.client(socket_timeout=5) as client:
                client.ping()
            with socket.create_connection(("127.0.0.1", server.port), timeout=5):
                return True
        except (redis.ConnectionError, OSError):
            time.sleep(0.01)
    return False
