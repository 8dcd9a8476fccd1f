"""The demo's command line: wrong use is said plainly, without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fleet.signals import BY_NAME
from stack.demo import FAULTS, LATER_FAULTS
from stack.loop import PROJECT


def demo_with(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack.demo", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("fault", LATER_FAULTS)
def test_a_fault_of_a_later_version(fault: str) -> None:
    done = demo_with("--fault", fault)
    assert done.returncode == 2
    assert done.stderr == f"demo: FAULT={fault} comes in a later version; use one of errors, slow, crash\n"


def test_an_unknown_fault() -> None:
    done = demo_with("--fault", "flood")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "demo: FAULT=flood is unknown; use one of errors, slow, crash\n"


def test_stdio_comes_later() -> None:
    done = demo_with("--transport", "stdio")
    assert done.returncode == 2
    assert done.stderr == "demo: TRANSPORT=stdio comes in a later version; use http\n"


def test_every_fault_has_a_signal_that_rules_judge() -> None:
    assert set(FAULTS) == {"errors", "slow", "crash"}
    assert all(signal in BY_NAME for signal in FAULTS.values())
