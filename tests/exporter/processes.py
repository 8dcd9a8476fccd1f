"""Real server processes with children, and reads of them, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from exporter.facts import ServerFacts
from exporter.readings import ProcessReading, SourceName
from exporter.sources.process_table import Machine, ProcFs, Psutil

SLEEP = "import time; time.sleep(120)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "print(flush=True); {SLEEP}"], stdout=subprocess.PIPE)
child.stdout.readline()  # it runs, and its memory is what it will be
print(child.pid, flush=True)
time.sleep(120)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


class Tree:
    """A real server process with one child."""

    def __init__(self, mark: str, first: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{first}\n{PARENT}", mark],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.pid, self.child = self.process.pid, int(self.process.stdout.readline())
        self.mark = mark

    def end(self) -> None:
        if self.process.returncode is not None:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


MACHINES: list[type[Machine]] = [ProcFs, Psutil] if psutil.LINUX else [Psutil]
Read = Callable[..., ProcessReading]


def knowing(reading: ProcessReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.PROCESS: reading})


def pid_file(folder: Path, content: object) -> Path:
    file = folder / "server.pid"
    file.write_text(f"{content}\n")
    return file
