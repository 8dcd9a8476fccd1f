"""At a terminal a person is asked first; Ctrl-C and anything but yes leave everything as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.console.typed import PROJECT

LONGEST_SECONDS = 90.0
AT_ITS_OWN_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C in it is a signal
from console.__main__ import main
main(prog_name="mcp-medic")
"""
QUESTION = "Stop a? Its clients are cut off until it is started again. [y/N]:"


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [(b"y\n", 3, "cannot be reached"), (b"n\n", 1, "nothing was done"), (b"\x03", 1, "nothing was done")],
)
def test_the_question_is_asked_and_its_answer_counts(tmp_path: Path, keys: bytes, code: int, said: str) -> None:
    (tmp_path / "fleet.yml").write_text(
        "receiver: {url: 'http://127.0.0.1:9'}\nservers: [{name: a, transport: http, url: 'http://127.0.0.1:9/mcp'}]\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ITS_OWN_TERMINAL, "stop", "a", "--config", tmp_path / "fleet.yml"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=PROJECT, start_new_session=True,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = _until(ours, QUESTION)
        os.write(ours, keys)
        # A Ctrl-C just before the terminal is read wakes nobody until the next key: a person presses it again.
        shown += _until(ours, None, keys if keys == b"\x03" else b"")
        assert process.wait(LONGEST_SECONDS) == code, shown
        assert said in " ".join(shown.split())
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _until(terminal: int, words: str | None, again: bytes = b"") -> str:
    """What is shown until ``words`` are, or to the end; ``again`` is pressed whenever nothing happens."""
    shown, end = b"", time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end and (words is None or words.encode() not in shown):
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if not ready:
            with contextlib.suppress(OSError):  # it may close in this moment
                os.write(terminal, again)
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the other side has closed it
            break
        if not more:
            break
        shown += more
    text = shown.decode("utf-8", "replace")
    assert words is None or words in text, text
    return text
