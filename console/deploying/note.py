"""The note of a deployment: on the disk before anything is changed, gone when it is over. Whoever finds one goes back.

It stands beside the copies of the server's TOML, which outlive a boot as it does; of a server without a TOML in
``control_dir``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console.deploying.gates import Course
from fleet.backups import folder_of
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from fleet.inventory import Server


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """``stamp`` names the copies that belong to it. ``digest`` is that of the configuration before, "" without one.

    ``to_resume``: automation was not paused before, so its pause is this deployment's.
    """

    server: str
    stamp: str
    began_at: float
    course: Course
    digest: str = ""
    to_resume: bool = False


@dataclass(frozen=True, slots=True)
class Notebook:
    """Where the note of one server stands, and what else a deployment leaves there."""

    folder: Path
    server: str

    @property
    def file(self) -> Path:
        """The note."""
        return self.folder / f"{self.server}.deployment.json"

    def output(self, name: str) -> Path:
        """Where the output of a command is kept."""
        return self.folder / f"{self.server}.{name}.log"

    def read(self) -> Note | None:
        """The note that an earlier deployment left.

        Raises:
            PermanentError: there is one, and it cannot be read.
        """
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=Note)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PermanentError(f"{self.file} cannot be read: {error.strerror or error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PermanentError(
                f"{self.file} is no note of a deployment ({error}): look whether the server runs as it should, then"
                " remove it"
            ) from error

    def write(self, note: Note) -> None:
        """On the disk, whole or not at all.

        Raises:
            PermanentError: it cannot be written.
        """
        temporary = self.file.with_suffix(".tmp")
        try:
            with temporary.open("wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(msgspec.json.encode(note))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.file)
            self._sync()
        except OSError as error:
            raise PermanentError(f"{self.file} cannot be written: {error.strerror or error}") from error

    def forget(self) -> None:
        """It is over.

        Raises:
            PermanentError: it cannot be removed.
        """
        try:
            self.file.unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise PermanentError(f"{self.file} cannot be removed: {error.strerror or error}") from error

    def holder(self) -> int | None:
        """The process that deploys this server now."""
        try:
            with self._lock.open("rb") as stream:
                if _taken(stream.fileno()):
                    return None
                text = stream.read(20)
        except OSError:
            return None
        return int(text) if text.isdigit() else 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else deploys this server inside the block. The lock ends with the process, however that ends.

        Raises:
            PermanentError: somebody does, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermanentError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        try:
            if not _taken(descriptor):
                raise PermanentError(f"another deployment of {self.server} is under way: process {self.holder()}")
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            os.close(descriptor)

    @property
    def _lock(self) -> Path:
        return self.folder / f"{self.server}.deployment.lock"

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def notebook(server: Server, control_dir: Path) -> Notebook:
    """The place of this server's note."""
    folder = control_dir if server.config is None else folder_of(server.config.file)
    return Notebook(folder, server.name)


def _taken(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
