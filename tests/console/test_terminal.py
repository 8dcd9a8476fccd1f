"""Each command in a real terminal of 40 columns, without colour, and piped, with Japanese in the names of tools."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.console.acting_world import clinic
from tests.console.conftest import Place, Remembered
from tests.console.examples import commands, example_of
from tests.console.fakes import WATCHDOG, act, alert, alerting, incident, receiving
from tests.console.past import CLOCK, NOW, TOOL
from tests.console.typed import PROJECT

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

COLUMNS = 40
LONGEST_SECONDS = 300.0
SHOWN = [*([name] for name in commands()), ["metrics", "codex", "--detailed"], ["metrics", "--capacity-planning"],
         ["alerts", "--history"], ["incidents", "codex-17"]]  # fmt: skip
"""What is typed, beginning with the command; alone it is the example of its help."""
FIRST_HEADS = {"alert", "figure", "incident", "breaker", "check", "treatment"}
"""What stands over the names of rows, where a row becomes a paragraph that begins with its name."""
LINES_OF_ANY_LENGTH = {"check-config"}
"""One line a finding, as compilers do it: for grep, and the terminal breaks it."""
ONE_AFTER_THE_OTHER = """
import json, sys, time
real, past = time.time, float(sys.argv[1])
begin = real()
time.time = lambda: real() - begin + past  # what the clock showed when there was something to measure
from console.__main__ import main
for arguments in json.loads(sys.argv[2]):
    print("\\x1e" + " ".join(arguments), flush=True)
    try:
        main(arguments, prog_name="mcp-medic")
    except SystemExit:
        pass
    sys.stdout.flush()
"""
ILL = incident("codex-17", ["error_ratio"], NOW - 60, None, [act(f"restart {TOOL}", NOW - 30, "not_healed")])
EVENTS = [{"at": NOW - 60 + more, "kind": kind, "detail": f"{TOOL} refuses"} for more, kind in enumerate(("opened",))]


@pytest.fixture
async def config(place: Place, remembering: Remembered) -> AsyncIterator[Path]:
    """Prometheus is real and has a past; of Alertmanager and the receiver there is what speaks of a Japanese tool."""
    firing = [alert("McpErrorRatioHigh", "critical", server="codex", signal="error_ratio"), WATCHDOG]
    async with alerting(firing) as alertmanager, receiving([ILL], EVENTS) as receiver:
        file = place.write(remembering.url, alertmanager, receiver)
        nobody = place.nobody.removeprefix("http://")
        # Whatever listens at the usual addresses of this machine is not meant.
        text = file.read_text(encoding="utf-8").replace("127.0.0.1:3001", nobody)
        more = f"gateway: {{listen: '{nobody}', control_dir: control}}\nexporter: {{url: 'http://{nobody}'}}\n"
        file.write_text(more + text, encoding="utf-8")
        yield file


def arguments_of(shown: list[str]) -> list[str]:
    return example_of(shown[0]) if len(shown) == 1 else shown


def visible(text: str) -> str:
    """What a terminal shows: without what it obeys."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def too_wide(text: str, columns: int = COLUMNS) -> list[str]:
    return [line for line in visible(text).splitlines() if cell_len(line) > columns]


async def shown(config: Path, environ: Mapping[str, str], *, columns: int = COLUMNS, terminal: bool) -> dict[str, str]:
    """What each command wrote, one after the other: into a terminal so wide, or into a pipe."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MCP_", "REDIS_")) and name not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    }
    given = {**inherited, "MCP_MEDIC_CONFIG": str(config), **({} if terminal else {"COLUMNS": str(columns)}), **environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ONE_AFTER_THE_OTHER, str(CLOCK), json.dumps([arguments_of(each) for each in SHOWN]),
        cwd=PROJECT, stdin=asyncio.subprocess.DEVNULL, stdout=theirs, stderr=asyncio.subprocess.PIPE, env=given,
    )  # fmt: skip
    os.close(theirs)
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            text, (_, err) = await asyncio.gather(asyncio.to_thread(read_all, ours), process.communicate())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
    assert "Traceback" not in err.decode()
    parts = text.replace("\r\n", "\n").split("\x1e")[1:]
    found = {first: rest for first, _, rest in (part.partition("\n") for part in parts)}
    assert list(found) == list(dict.fromkeys(" ".join(arguments_of(each)) for each in SHOWN)), err.decode()
    return found


def read_all(terminal: int) -> str:
    """To the end: the last program has closed it."""
    shown = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    return shown.decode()


def fitting(found: Mapping[str, str], columns: int = COLUMNS) -> None:
    """Nothing is wider than the terminal, and nothing was cut off."""
    wide = {name: too_wide(text, columns) for name, text in found.items() if name.split()[0] not in LINES_OF_ANY_LENGTH}
    assert {name: lines for name, lines in wide.items() if lines} == {}
    assert [name for name, text in found.items() if "\N{HORIZONTAL ELLIPSIS}" in text] == []
    assert TOOL in found["metrics codex --detailed"]


async def test_a_narrow_terminal(config: Path) -> None:
    found = await shown(config, {"TERM": "xterm-256color"}, terminal=True)
    fitting({name: visible(text) for name, text in found.items()})
    assert "\x1b[1;31mcritical" in found["alerts --history --period 30d"]


@pytest.mark.parametrize(
    ("environ", "columns", "allowed"),
    # A dumb terminal is taken to have 80 columns, whatever it says.
    [({"NO_COLOR": "1", "TERM": "xterm"}, COLUMNS, r"\x1b\[(0|1|2|1;2)m"), ({"TERM": "dumb"}, 80, r"(?!)")],
)
async def test_a_terminal_without_colour(config: Path, environ: Mapping[str, str], columns: int, allowed: str) -> None:
    found = await shown(config, environ, columns=columns, terminal=True)
    plain = {name: re.sub(allowed, "", text) for name, text in found.items()}
    assert [name for name, text in plain.items() if "\x1b" in text] == []
    fitting(plain, columns)


async def test_a_pipe(config: Path) -> None:
    narrow = await shown(config, {}, terminal=False)
    wide = await shown(config, {}, columns=300, terminal=False)
    fitting(narrow)
    for name, text in narrow.items():
        assert "\x1b" not in text + wide[name], name
        folded = "".join(text.split())
        assert {word for word in words(wide[name]) - words(text) if word not in folded} <= FIRST_HEADS, name


def words(text: str) -> set[str]:
    """The words that the narrowest cell holds whole."""
    return set(re.findall(r"[^\W\d_]{5,12}", text))


ACTS = ("restart", "emergency", "backup", "restore", "stop", "pause")


async def test_what_was_done_fits_a_narrow_terminal() -> None:
    async with clinic() as here:
        told = {name: await here.types(*example_of(name, "alpha"), columns=COLUMNS) for name in ACTS}
    assert {name: wide for name, each in told.items() if (wide := too_wide(each.out))} == {}
    assert {name: each.err for name, each in told.items() if not each.out} == {}
    assert not any("\x1b" in each.out + each.err for each in told.values())
