"""Leaves the note that ``recall`` finds: written in the side thread, after fleet.yml was read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.inventory import Fleet
from gateway.stdio.brief import Brief, as_note
from gateway.stdio.recall import Launch, Note, Sources, digest, fleet_file_of, folder_of, place_of, stamp, written

JUST_BEFORE_SECONDS = 0.1
"""A file that was changed so shortly before it was read may have been changed again at the same time of its clock."""


class Noticed(Mapping[str, str]):
    """An environment that knows which of its variables were looked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return self.given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of a fleet file: what it gave, and what it looked at.

    ``links`` are the paths that lead elsewhere, ``since`` when the reading began (UNIX seconds).
    """

    fleet: Fleet
    links: Mapping[str, str]
    looked_for: Noticed
    since: float


def remember(read: Read, launch: Launch, brief: Brief) -> None:
    """Leave a note, unless something of what it is made from changed since it was read.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a text holds what no note can hold.
    """
    file, names, environ = str(read.fleet.file), list(read.looked_for.names), read.looked_for.given
    place, folder = place_of(file, brief.server, environ), folder_of(environ)
    stamps = {each: stamp(each) for each in _read_files(read.fleet)}
    if place is None or folder is None or any(_is_late(each, read.since) for each in stamps.values()):
        return
    links = {**read.links, file: os.path.realpath(file)}
    note = Note(Sources(stamps, links, names, digest(names, environ)), launch, as_note(brief, names, environ))
    _put(Path(folder), Path(place), written(note, environ))
    _tidy(Path(folder))


def _read_files(fleet: Fleet) -> list[str]:
    tomls = [str(server.config.file) for server in fleet.servers.values() if server.config is not None]
    code = [
        module.__file__
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "fleet" or name == "gateway.stdio.brief"
    ]
    return [str(fleet.file), *tomls, *(file for file in code if file)]


def _is_late(then: str, read_since: float) -> bool:
    changed = [int(figure) / 1e9 for figure in then.split()[:2]]
    return not changed or max(changed) > read_since - JUST_BEFORE_SECONDS


def _put(folder: Path, place: Path, text: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unborn = folder / f".{os.getpid()}"
    try:
        fd = os.open(unborn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(os.fsencode(text))
        unborn.replace(place)
    except BaseException:
        unborn.unlink(missing_ok=True)
        raise


def _tidy(folder: Path) -> None:
    """Notes about fleet files that are gone."""
    for note in folder.iterdir():
        about = fleet_file_of(note.name)
        if about.startswith("/") and not Path(about).exists():
            note.unlink(missing_ok=True)
