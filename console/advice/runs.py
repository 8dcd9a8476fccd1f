"""The runs of benchmarks that are kept, a file a server beside the exporter's state. Writing blocks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from console.advice.benchmark import Run
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from fleet.inventory import Fleet

KEPT: Final = 20
MAX_BYTES: Final = 4 * 1024 * 1024


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    runs: tuple[Run, ...]


def file_of(fleet: Fleet, server: str) -> Path:
    """Where the runs of a server are kept."""
    return fleet.exporter.state_file.parent / "benchmarks" / f"{server}.json"


def read(file: Path) -> tuple[Run, ...]:
    """The runs that are kept, oldest first; none where there is no file.

    Raises:
        PermanentError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(MAX_BYTES), type=_Kept).runs
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PermanentError(f"{file} holds no runs of a benchmark: {error}") from error


def keep(file: Path, runs: tuple[Run, ...]) -> None:
    """Keep the newest ``KEPT`` of ``runs``, the file replaced at once.

    Raises:
        PermanentError: it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(_Kept(runs=runs[-KEPT:])), indent=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PermanentError(f"{file} cannot be written: {error.strerror or error}") from error
