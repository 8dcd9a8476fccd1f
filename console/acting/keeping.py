"""Copies of a server's TOML: made, listed, and compared with what the file says now. They are files of this host; only
which of them was measured healthy is the receiver's to say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from console.report import Report, ServiceReport, gap
from fleet.backups import digest_of, folder_of, listed
from fleet.config_change import keep, read_raw
from fleet.errors import MedicError, PermanentError
from fleet.server_settings import KNOWN, LOG_LEVELS, Setting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from console.desk import Desk
    from fleet.backups import Backup
    from fleet.config_change import Raws
    from fleet.inventory import Server

SETTINGS: Final[frozenset[Setting]] = frozenset((*(setting for setting, _ in KNOWN.values()), *LOG_LEVELS))


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One server's copy. ``path`` is where it stands, null where nothing could be kept: ``detail`` says why.

    ``size`` is in bytes.
    """

    server: str
    path: str | None
    size: int
    detail: str


class Copies(Report, frozen=True, kw_only=True):
    """What was kept."""

    copies: tuple[Copy, ...]

    def failed(self) -> bool:
        """True when something that was asked for could not be kept."""
        return not self.copies or any(copy.path is None for copy in self.copies)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. ``at`` is when it was made; until then the file said so.

    ``differs`` are our settings that the file says otherwise now, as ``mcp.batch_size 5 <- 8``: what a restore would
    write, and over what. ``other_lines``: only something else differs. ``same``: nothing does. ``broken`` says why it
    cannot be restored, null where it can. ``last_good``: the newest under which the server was measured healthy, which
    a restore without a name takes.
    """

    name: str
    at: float
    size: int
    same: bool
    differs: tuple[str, ...]
    other_lines: bool
    broken: str | None
    last_good: bool = False


class Backups(ServiceReport, frozen=True, kw_only=True):
    """The backups of one server's TOML, newest first."""

    server: str
    file: str
    backups: tuple[Kept, ...]


def kept(servers: Sequence[Server], stamp: str) -> Copies:
    """Keep a copy of each server's file as it stands, broken or not. Blocks while it writes."""
    return Copies(copies=tuple(_copied(server, stamp) for server in servers if server.config is not None))


async def backups_of(desk: Desk, server: Server, *, directly: bool) -> Backups:
    """Every backup of one server; ``directly`` asks no receiver which was good.

    Raises:
        PermanentError: fleet.yml names no config_file for it.
    """
    if server.config is None:
        raise PermanentError(f"fleet.yml names no config_file for {server.name}: there is nothing to restore")
    found = await asyncio.to_thread(_compared, server.name, server.config.file)
    if directly or not found.backups:
        return found
    service = desk.receiver.service
    try:
        good = (await service.fetch(f"/api/v1/servers/{quote(server.name)}/backups")).get("last_good")
    except MedicError as error:
        return replace(found, unreachable=(gap(service.name, service.url, error, "which of them was good last"),))
    return replace(found, backups=tuple(replace(each, last_good=each.name == good) for each in found.backups))


def _compared(server: str, file: Path) -> Backups:
    now, digest = _settings(file)[0], digest_of(file)
    found = tuple(_kept(file, backup, now, digest) for backup in listed(file))
    return Backups(server=server, file=str(file), backups=found)


def _copied(server: Server, stamp: str) -> Copy:
    assert server.config is not None  # noqa: S101 - asked by ``kept``
    file = server.config.file
    try:
        data = file.read_bytes()
        path = keep(file, data, stamp=stamp)
    except OSError as error:
        why = f"{file} cannot be read: {error.strerror or error}"
        return Copy(server=server.name, path=None, size=0, detail=why)
    except MedicError as error:
        return Copy(server=server.name, path=None, size=0, detail=str(error))
    return Copy(server=server.name, path=str(path), size=len(data), detail=f"{file} as it stands")


def _kept(file: Path, backup: Backup, now: Raws, digest: str) -> Kept:
    path = folder_of(file) / backup.name
    then, broken = _settings(path)
    same = bool(digest) and digest_of(path) == digest
    differs = () if broken else tuple(
        f"{each} {_word(then.get(each))} <- {_word(now.get(each))}"
        for each in sorted(SETTINGS)
        if then.get(each) != now.get(each)
    )  # fmt: skip
    return Kept(
        name=backup.name, at=backup.at, size=backup.size, same=same, differs=differs,
        other_lines=not same and not differs, broken=broken,
    )  # fmt: skip


def _settings(file: Path) -> tuple[Raws, str | None]:
    """How our settings stand in a file, and why that cannot be said."""
    try:
        return read_raw(file, SETTINGS), None
    except MedicError as error:
        return {}, str(error).partition("\n")[0]


def _word(raw: str | None) -> str:
    return "absent" if raw is None else raw
