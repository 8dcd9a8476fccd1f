"""The demo's command line: wrong use is said plainly, without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fleet.inventory import Transport
from fleet.signals import BY_NAME, SignalName
from stack.loop import PROJECT
from stack.scenarios import SCENARIOS, shown_over


def demo_with(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack.demo", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


HTTP = "errors, slow, crash, hang, leak, sessions, cache, all"
STDIO = "errors, crash, hang, leak, all"
WRONG = {
    ("--fault", "flood"): f"demo: FAULT=flood is unknown; use one of {HTTP}\n",
    ("--fault", "cache", "--transport", "stdio"): (
        f"demo: FAULT=cache cannot be shown over this transport in this mode; use one of {STDIO}\n"
    ),
    ("--fault", "cache", "--mode", "suggest"): (
        "demo: FAULT=cache cannot be shown over this transport in this mode; "
        f"use one of {HTTP.replace(', cache', '')}\n"
    ),
    ("--repeat", "0"): "demo: --repeat 0 is not from 1 to 100\n",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    done = demo_with(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", WRONG[arguments])


def test_every_row_of_the_threshold_table_has_a_fault_whose_signal_rules_judge() -> None:
    signals = {scenario.signal for scenario in SCENARIOS.values()}
    assert signals <= set(BY_NAME)
    # A queue and a cost are levels of the production file, beside the table.
    beside = {SignalName.QUEUE, SignalName.COST}
    judged_by_thresholds = {name for name, signal in BY_NAME.items() if signal.threshold is not None} - beside
    assert judged_by_thresholds <= signals


def test_the_four_that_stdio_servers_show() -> None:
    assert set(shown_over(Transport.STDIO)) == {"errors", "leak", "hang", "crash"}
