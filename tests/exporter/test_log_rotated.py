"""Real logrotate under a program that writes a thousand lines a second, and kill -9 of the real exporter meanwhile.

With ``copytruncate`` logrotate itself loses what is written between its copy and its truncation. What counts is what it
left: every line that stands in some file at the end was seen exactly once. A line that it lost may have been seen in
time; it too is seen once at most.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from exporter.readings import LogPosition
from exporter.sources.following import LINGER_SECONDS, follow
from fleet.inventory import Address
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import PROJECT, ToolMissingError, peer
from tests.exporter.fleets import parsed

LINES_PER_SECOND = 1000
WITHIN = 60.0


@pytest.fixture(scope="module")
def logrotate() -> Path:
    """The real one."""
    installed = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if installed is not None:
        return Path(installed)
    try:
        return peer("logrotate", "logrotate", ["libpopt0"])
    except ToolMissingError as error:
        pytest.skip(f"no logrotate: {error}")


class Writer:
    """Writes numbered lines until it is stopped, and opens its file again when it finds ``reopen``."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0
        self.reopen = path.with_name("reopen")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")

    def _run(self) -> None:
        began, file = time.monotonic(), self.path.open("ab", buffering=0)
        while not self._stop.wait(0.01):
            if self.reopen.exists():
                file.close()
                file = self.path.open("ab", buffering=0)
                self.reopen.unlink()
            for _ in range(int((time.monotonic() - began) * LINES_PER_SECOND) - self.written):
                file.write(b'{"duration_ms":1,"number":%d}\n' % self.written)
                self.written += 1
        file.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.stop()


_SIGNAL = """  touch {reopen}"""
_SIGNAL_AND_WAIT = """  touch {reopen}
  i=0; while [ -e {reopen} ] && [ $i -lt 1000 ]; do sleep 0.01; i=$((i+1)); done"""
"""Where the file is compressed at once: what is written to it afterwards would be logrotate's loss."""


class Rotation:
    """logrotate with a configuration of its own, forced."""

    def __init__(self, program: Path, path: Path, options: str) -> None:
        self._program, self._folder = program, path.parent
        self._configuration = path.with_name("rotate.conf")
        at_once = "compress" in options and "delaycompress" not in options
        script = (_SIGNAL_AND_WAIT if at_once else _SIGNAL).format(reopen=path.with_name("reopen"))
        self._configuration.write_text(
            f"{path} {{\n rotate 100\n missingok\n{options}\n postrotate\n{script}\n endscript\n}}\n"
        )
        self._configuration.chmod(0o644)

    def __call__(self) -> None:
        argv: list[str | Path] = [self._program, "--force", "--state", self._folder / "state", self._configuration]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, check=False)
        assert done.returncode == 0, done.stderr


def left_on_disk(path: Path) -> set[bytes]:
    """Every line that stands in some file of the log."""
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    texts = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
    return {line for text in texts for line in text.splitlines()}


@pytest.mark.parametrize(
    "options",
    [" create", " create\n compress", " create\n compress\n delaycompress", " create\n dateext\n dateformat -%Y%m%d-%s",
     " copytruncate", " copytruncate\n compress"],
    ids=["create", "compress", "delaycompress", "dateext", "copytruncate", "copytruncate, compress"],
)  # fmt: skip
def test_logrotate_costs_no_line_and_doubles_none(tmp_path: Path, logrotate: Path, options: str) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "calls.log"
    path.touch()
    rotate, writer = Rotation(logrotate, path, options), Writer(path)
    seen: Counter[bytes] = Counter()
    trail: tuple[LogPosition, ...] = ()
    rotations, due = 0, 300
    step = 1100 if "dateext" in options else 400  # a name of its own each second

    def read(later: float = 0.0) -> None:
        nonlocal trail
        followed = follow(path, trail, time.time() + later, lambda data: seen.update(data.splitlines()))
        assert followed.problem == ""
        trail = followed.trail

    read()
    with writer.writing():
        while rotations < 4 or writer.written < due:
            if writer.written >= due:
                rotate()
                rotations, due = rotations + 1, writer.written + step
            time.sleep(0.1)
            read()
    read()
    read(LINGER_SECONDS + 1)
    assert max(seen.values()) == 1
    on_disk = left_on_disk(path)
    assert on_disk <= seen.keys()
    if "copytruncate" not in options:
        assert len(seen) == len(on_disk) == writer.written


async def test_the_exporter_is_killed_while_a_log_grows_and_is_rotated(tmp_path: Path, logrotate: Path) -> None:
    path = tmp_path / "calls.log"
    path.touch()
    address = Address(LOOPBACK, free_ports(1)[0])
    (tmp_path / "fleet.yml").write_text(
        f"exporter: {{listen: '{address}', state_file: exporter.state}}\n"
        "servers: [{name: codex, transport: stdio, command: [codex], logs: [{path: calls.log}]}]\n"
    )
    shown = 0.0

    async def counted() -> float:
        """What a scrape shows, which never goes down."""
        nonlocal shown
        try:
            async with ClientSession(address.url) as client, client.get("/metrics") as answer:
                scrape = parsed(await answer.text())
        except (ClientError, OSError):
            return shown
        calls = {
            name: value for (name, labels), value in scrape.items() if name.endswith("operation_duration_seconds_count")
        }
        now = sum(calls.values())
        assert now >= shown
        shown = now
        return now

    rotate, writer = Rotation(logrotate, path, " create\n compress"), Writer(path)
    async with Processes(tmp_path) as processes:

        async def start() -> None:
            argv = [sys.executable, "-m", "exporter", "--config", "fleet.yml"]
            program = await processes.start("exporter", argv, tmp_path, {"PYTHONPATH": str(PROJECT)})
            await wait_ready(program, address, "/-/ready", WITHIN)
            await counted()

        await start()
        with writer.writing():
            for _ in range(2):
                before = shown

                async def grown(before: float = before) -> bool:
                    return await counted() > before

                assert await poll(grown, WITHIN)
                await processes["exporter"].kill()
                await asyncio.to_thread(rotate)
                await asyncio.to_thread(rotate)
                await start()

        async def complete() -> bool:
            return await counted() == writer.written

        assert await poll(complete, WITHIN), f"{shown} of {writer.written}"
        assert writer.written > 1000
