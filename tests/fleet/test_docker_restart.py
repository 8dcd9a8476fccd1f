"""Restart via docker against a real engine, started by the test from unpacked packages; as root on Linux only."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pytest

from fleet.control_client import request
from fleet.inventory import Server
from fleet.lifecycle import docker
from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.loading import load_fleet
from stack import tools

PACKAGES: Final = ("docker.io", "containerd", "runc", "tini", "busybox-static")
START_SECONDS: Final = 30
ANSWER: Final = """#!/bin/sh
printf 'Content-Type: application/json\\r\\n\\r\\n{"jsonrpc": "2.0", "id": 1, "result": {}}'
"""
FLAGS: Final = (
    "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
    "--storage-driver=vfs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Engine:
    """A running Docker Engine."""

    socket: Path
    client: Path

    def docker(self, *argv: str, stdin: IO[bytes] | None = None) -> str:
        done = subprocess.run(
            [self.client, "--host", f"unix://{self.socket}", *argv], stdin=stdin, capture_output=True, check=True
        )
        return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of the test's own needs root")
    try:
        programs = tools.engine("docker", PACKAGES)
    except tools.ToolMissingError as error:
        pytest.skip(f"no Docker Engine can be had: {error}")
    with tempfile.TemporaryDirectory(prefix="medic-docker-") as folder:
        place = Path(folder)
        log = place / "log"
        paths = f"{programs}/usr/bin:{programs}/usr/sbin:{os.environ['PATH']}"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                [
                    programs / "usr/sbin/dockerd", *FLAGS, f"--host=unix://{place}/engine.sock",
                    f"--data-root={place}/data", f"--exec-root={place}/exec", f"--pidfile={place}/pid",
                ],
                stdout=output, stderr=output, env={**os.environ, "PATH": paths},
            )  # fmt: skip
        try:
            wait_for(place / "engine.sock", daemon, log)
            yield Engine(place / "engine.sock", programs / "usr/bin/docker")
        finally:
            daemon.terminate()
            daemon.wait(START_SECONDS)
            # The engine leaves its namespace's file mounted; the folder could not be removed.
            subprocess.run(["umount", "--lazy", place / "exec/netns/default"], check=False, capture_output=True)


def wait_for(file: Path, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(file)) == 0:
                return
        if daemon.poll() is not None or time.monotonic() > end:
            pytest.skip(f"a Docker Engine does not run here: {log.read_text()[-300:]}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """An image of busybox alone, whose web server answers every POST as an MCP server would."""
    busybox = tools.engine("docker", PACKAGES) / "bin/busybox"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(busybox, "bin/busybox")
        for name in ("sh", "httpd", "printf"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        script = tarfile.TarInfo("www/cgi-bin/mcp")
        script.size, script.mode = len(ANSWER), 0o755
        archive.addfile(script, io.BytesIO(ANSWER.encode()))
    with tempfile.TemporaryFile() as file:
        file.write(buffer.getvalue())
        file.seek(0)
        return engine.docker("import", "-", "medic-test", stdin=file)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def container(engine: Engine, image: str, port: int) -> Iterator[str]:
    argv = ("/bin/httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "/www")
    name = f"medic-{port}"
    engine.docker("run", "--detach", "--init", "--network", "host", "--name", name, image, *argv)
    yield name
    engine.docker("rm", "--force", name)


def server_in(folder: Path, engine: Engine, container: str, port: int) -> Server:
    file = folder / "fleet.yml"
    restart = f"{{via: docker, container: {container}, socket: {engine.socket}}}"
    url = f"http://127.0.0.1:{port}/cgi-bin/mcp"
    file.write_text(f"servers: [{{name: codex, transport: http, url: '{url}', restart: {restart}}}]")
    return load_fleet(file, {}).servers[next(iter(load_fleet(file, {}).servers))]


async def restart(server: Server, folder: Path, act: str) -> RestartOutcome:
    assert server.restart is not None
    return await METHODS[server.restart.via].restart(server, folder / "control", act)


def started_at(engine: Engine, container: str) -> str:
    return engine.docker("inspect", "--format", "{{.State.StartedAt}}", container)


async def test_a_container_is_restarted_once_for_an_id_and_answers(
    tmp_path: Path, engine: Engine, container: str, port: int
) -> None:
    server = server_in(tmp_path, engine, container, port)
    before = started_at(engine, container)
    done = await restart(server, tmp_path, "act-1")
    assert (done.outcome, done.detail) == (
        Outcome.SUCCEEDED, f"Docker restarted {container}; {server.url} answers server/discover",
    )  # fmt: skip
    after = started_at(engine, container)
    assert after > before
    assert await restart(server, tmp_path, "act-1") == done
    assert started_at(engine, container) == after


async def test_a_container_that_stands_still_is_started(
    tmp_path: Path, engine: Engine, container: str, port: int
) -> None:
    engine.docker("kill", container)
    done = await restart(server_in(tmp_path, engine, container, port), tmp_path, "act-1")
    assert done.outcome is Outcome.SUCCEEDED, done.detail


async def test_a_container_is_stopped_and_started_again_and_twice_is_as_once(
    tmp_path: Path, engine: Engine, container: str, port: int
) -> None:
    server = server_in(tmp_path, engine, container, port)
    for _ in range(2):
        done = await docker.stop(server, tmp_path, "act-1")
        assert (done.outcome, done.detail) == (Outcome.SUCCEEDED, f"Docker stopped {container}")
        assert engine.docker("inspect", "--format", "{{.State.Running}}", container) == "false"
    for _ in range(2):
        done = await docker.start(server, tmp_path, "act-2")
        assert done.outcome is Outcome.SUCCEEDED, done.detail
        assert done.detail.startswith(f"Docker started {container}; ")
        assert engine.docker("inspect", "--format", "{{.State.Running}}", container) == "true"


async def test_an_unknown_container_is_a_sentence(tmp_path: Path, engine: Engine, port: int) -> None:
    done = await restart(server_in(tmp_path, engine, "nobody", port), tmp_path, "act-1")
    assert (done.outcome, done.detail) == (
        Outcome.FAILED, "Docker knows no container nobody: No such container: nobody",
    )  # fmt: skip


async def test_a_container_whose_server_answers_nothing_failed(
    tmp_path: Path, engine: Engine, container: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.lifecycle.ready.READY_SECONDS", 0.5)
    server = server_in(tmp_path, engine, container, port + 1 if port < 65535 else port - 1)
    done = await restart(server, tmp_path, "act-1")
    assert done.outcome is Outcome.FAILED
    assert done.detail.startswith(f"Docker restarted {container}, but ")
    assert done.detail.endswith(f"; see docker logs {container}")


async def test_an_engine_that_is_not_there_is_a_sentence(tmp_path: Path, port: int) -> None:
    nowhere = Engine(tmp_path / "none.sock", Path(shutil.which("true") or "/bin/true"))
    done = await restart(server_in(tmp_path, nowhere, "codex", port), tmp_path, "act-1")
    assert (done.outcome, done.detail) == (
        Outcome.FAILED, f"the Docker Engine: {nowhere.socket} cannot be reached: No such file or directory",
    )  # fmt: skip


async def test_the_engines_other_answers_are_told(tmp_path: Path, port: int) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"message": "cannot restart container codex: device busy"}'
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        writer.close()

    with tempfile.TemporaryDirectory(prefix="medic-") as folder:
        fake = Engine(Path(folder) / "s", Path("/bin/true"))
        async with await asyncio.start_unix_server(refuse, fake.socket):
            assert (await request(fake.socket, "GET", "/")).status == 500
            done = await restart(server_in(tmp_path, fake, "codex", port), tmp_path, "act-1")
    assert (done.outcome, done.detail) == (
        Outcome.FAILED, "Docker answered 500 for codex: cannot restart container codex: device busy",
    )  # fmt: skip
