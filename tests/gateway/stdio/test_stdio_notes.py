"""The note of an earlier start: it starts the server sooner, says the same as fleet.yml, and gives no secret away."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stdio import recall as notes
from gateway.stdio.vanguard import SURE_BYTES
from tests.gateway.peers import until
from tests.gateway.stdio.clients import LINE_SERVER, connected, environ, gateway_command

SECRET = "hunter2 with\nlines"
SHOW = (
    "import os, sys, json\n"
    "print(json.dumps([sys.argv[1:], os.environ.get('TOKEN'), os.getcwd()]), flush=True)\n"
    "sys.stdin.read()"
)


def write(folder: Path, word: str = "one", more: str = "") -> Path:
    """A fleet whose server shows how it was started; its token comes from the environment."""
    file = folder / "fleet.yml"
    file.write_text(
        "gateway: {control_dir: control}\nexporter: {url: 'http://127.0.0.1:1'}\nservers:\n"
        f"  - name: demo\n    transport: stdio\n    command: {json.dumps([sys.executable, '-c', SHOW, word])}\n"
        '    env: {TOKEN: "key ${SECRET:-none} end"}\n' + more
    )
    return file


async def shown(file: Path, **variables: str) -> tuple[list[str], str, str]:
    """How the server was started: arguments, its token, its folder."""
    given = environ(file.parent, **variables)
    process = await asyncio.create_subprocess_exec(*gateway_command(file), stdin=PIPE, stdout=PIPE, env=given)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        arguments, token, folder = json.loads(await process.stdout.readline())
        await process.communicate(b"")
    assert process.returncode == 0
    return arguments, token, folder


def note_of(folder: Path) -> Path:
    return folder / "cache" / "mcp-medic" / "stdio" / ("demo@" + str(folder / "fleet.yml").replace("/", "%2F"))


def believed(folder: Path, **variables: str) -> notes.Note | None:
    return notes.recall(str(folder / "fleet.yml"), "demo", environ(folder, **variables))


async def aged(*files: Path) -> None:
    """Wait until a file is old enough for its change to be told from the next one."""
    newest = max(file.stat().st_ctime for file in files)
    await until(lambda: _now(files[0].parent) > newest + 0.15)


def _now(folder: Path) -> float:
    probe = folder / "now"
    probe.touch()
    return probe.stat().st_ctime


async def noted(folder: Path, **variables: str) -> tuple[list[str], str, str]:
    file = write(folder)
    await aged(file)
    return await shown(file, **variables)


async def test_a_note_starts_the_server_as_the_file_does(folder: Path) -> None:
    first = await noted(folder, SECRET=SECRET)
    assert first == (["one"], f"key {SECRET} end", str(folder))
    note = note_of(folder)
    assert (note.stat().st_mode & 0o777, note.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert believed(folder, SECRET=SECRET) is not None
    inode = note.stat().st_ino
    assert await shown(folder / "fleet.yml", SECRET=SECRET) == first
    assert note.stat().st_ino == inode  # nobody had to read the file


async def test_no_value_of_a_variable_stands_in_a_note(folder: Path) -> None:
    await noted(folder, SECRET=SECRET)
    text = note_of(folder).read_text()
    assert "hunter2" not in text
    assert "SECRET" in text


def _other_word(folder: Path) -> None:
    write(folder, "two")


def _other_code(folder: Path) -> None:
    note = note_of(folder)
    note.write_text(note.read_text().replace("/fleet/loading.py", "/fleet/errors.py"))


def _readable(folder: Path) -> None:
    note_of(folder).chmod(0o640)


def _damaged(folder: Path) -> None:
    note_of(folder).write_text(note_of(folder).read_text()[:-30])


def _linked(folder: Path) -> None:
    other = folder / "other"
    note_of(folder).rename(other)
    note_of(folder).symlink_to(other)


CHANGES: list[Callable[[Path], None]] = [_other_word, _other_code, _readable, _damaged, _linked]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_note_that_may_be_wrong_is_not_believed(folder: Path, change: Callable[[Path], None]) -> None:
    await noted(folder)
    assert believed(folder) is not None
    change(folder)
    assert believed(folder) is None
    word = "two" if change is _other_word else "one"
    assert await shown(folder / "fleet.yml") == ([word], "key none end", str(folder))


@pytest.mark.parametrize("variables", [{"SECRET": "other"}, {"SECRET": ""}, {"HOME": "/nowhere"}])
async def test_another_environment_needs_another_reading(folder: Path, variables: dict[str, str]) -> None:
    await noted(folder, SECRET=SECRET)
    assert believed(folder, SECRET=SECRET) is not None
    assert believed(folder, **{"SECRET": SECRET, **variables}) is None
    assert believed(folder, SECRET=SECRET, UNRELATED="x") is not None


async def test_a_link_that_leads_elsewhere_is_noticed(folder: Path) -> None:
    for name in ("blue", "green"):
        (folder / name).mkdir()
    (folder / "current").symlink_to("blue")
    file = write(folder, more="    working_directory: current\n")
    await aged(file)
    assert (await shown(file))[2] == str(folder / "blue")
    assert believed(folder) is not None
    (folder / "current").unlink()
    (folder / "current").symlink_to("green")
    assert (await shown(file))[2] == str(folder / "green")


async def test_nothing_is_noted_of_a_file_that_may_be_changing(folder: Path) -> None:
    file = write(folder)
    os.utime(file, ns=(1, 2**62))  # its clock runs ahead of ours
    await shown(file)
    assert not note_of(folder).exists()


async def test_notes_of_files_that_are_gone_are_removed(folder: Path) -> None:
    gone = note_of(folder).with_name("demo@%2Fno%2Fsuch%2Ffleet.yml")
    gone.parent.mkdir(parents=True)
    gone.touch()
    await noted(folder)
    assert note_of(folder).exists()
    assert not gone.exists()


async def test_without_a_home_or_with_one_that_cannot_be_written_all_works(folder: Path) -> None:
    file = write(folder)
    await aged(file)
    (folder / "file").touch()
    for cache in ("", str(folder / "file")):
        process = await asyncio.create_subprocess_exec(
            *gateway_command(file), stdin=PIPE, stdout=PIPE, env=environ(XDG_CACHE_HOME=cache)
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(b""), 20)
        assert json.loads(output)[0] == ["one"]


_TEXTS = st.text(st.characters(blacklist_characters="\0\1", blacklist_categories=["Cs"]))


@given(_TEXTS, st.dictionaries(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), _TEXTS))
def test_hidden_values_are_shown_again_exactly(text: str, variables: dict[str, str]) -> None:
    names = [*variables, "UNSET"]
    for value in variables.values():
        text += value + "|"
    hidden = notes.hidden(text, names, variables)
    assert notes.shown(hidden, variables) == text
    left = "".join(hidden.split(notes.NAMED)[::2])
    assert not any(value and name not in notes.OPEN and value in left for name, value in variables.items())


# ---- what passes before the gateway is there


async def test_lines_of_every_length_pass_in_order_while_the_gateway_is_imported(folder: Path) -> None:
    """From one start to the next the relay takes over somewhere else in this stream."""
    file = folder / "fleet.yml"
    file.write_text("gateway: {control_dir: control}\nservers:\n  - {name: demo, transport: stdio, command: [cat]}\n")
    lines = [b"%d " % number + b"x" * (number * 7919 % (3 * SURE_BYTES)) + b"\n" for number in range(60)]
    process = await asyncio.create_subprocess_exec(
        *gateway_command(file), stdin=PIPE, stdout=PIPE, env=environ(folder), limit=1 << 20
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(30):
        for line in lines:
            process.stdin.write(line[:5])
            await process.stdin.drain()
            process.stdin.write(line[5:])
            assert await process.stdout.readline() == line
        process.stdin.write(b"no end")
        rest, _ = await process.communicate(b"")
    assert rest == b"no end"


async def test_the_handshake_that_passed_early_is_measured_and_replayed(folder: Path) -> None:
    file = folder / "fleet.yml"
    command = json.dumps(LINE_SERVER)
    file.write_text(
        f"gateway: {{control_dir: control}}\nservers:\n  - {{name: demo, transport: stdio, command: {command}}}\n"
    )
    await aged(file)
    for _ in range(2):
        async with connected(file) as client:
            assert (await client.restart())["detail"] == "restarted and ready"
            assert await client.text("echo") == "{}"
            assert (await client.status())["in_flight"] == 0
            await client.close()
    assert len((folder / "initialized.log").read_text().splitlines()) == 4
