"""The child and the guardian, started with nothing imported that costs time.

The child leads a session of its own, so that its whole tree can be ended and Ctrl-C at a terminal is the client's
affair. Its stderr is ours, as the client gave it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence

_GUARDIAN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/guardian.py"  # noqa: PTH100, PTH120 - pathlib costs its import
_IGNORED_BY_PYTHON = tuple(
    number for name in ("SIGPIPE", "SIGXFSZ") if (number := getattr(signal, name, None)) is not None
)


class SpawnError(Exception):
    """The command cannot be run; the message says why and what to do."""


class Spawned:
    """A child: its pid, which is its session's and group's number too, and our ends of its pipes (non-blocking)."""

    __slots__ = ("pid", "stdin", "stdout")

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout


class Guardian:
    """The process that ends a watched session when this one dies, however it dies."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        nothing = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
        actions = [(os.POSIX_SPAWN_DUP2, reading, 0), *nothing]
        try:
            self.pid = _posix_spawn(sys.executable, [sys.executable, "-I", "-S", _GUARDIAN], os.environ, actions)
        finally:
            os.close(reading)

    def watch(self, session: int) -> None:
        """From now on this session ends with us."""
        self._say(f"+{session}\n")

    def release(self, session: int) -> None:
        """The session is empty; its number may belong to others soon."""
        self._say(f"-{session}\n")

    def close(self) -> None:
        """Let it end what is still watched, and itself."""
        os.close(self._pipe)
        os.waitpid(self.pid, 0)

    def _say(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode("ascii"))
        except OSError:  # it was killed: from now on only kill -9 of this process goes unguarded
            sys.stderr.write("mcp-gateway: the guardian process is gone\n")


def spawn(argv: Sequence[str], environ: Mapping[str, str]) -> Spawned:
    """Start ``argv`` in this process's working directory, without a shell.

    Raises:
        SpawnError: it cannot be run.
    """
    program = _found(argv[0], environ)
    child_in, to_child = os.pipe()
    from_child, child_out = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, child_in, 0), (os.POSIX_SPAWN_DUP2, child_out, 1)]
    try:
        pid = _posix_spawn(program, list(argv), environ, actions)
    except (OSError, ValueError) as error:  # ValueError: an argument or a variable holds a NUL
        os.close(to_child)
        os.close(from_child)
        reason = error.strerror if isinstance(error, OSError) else error
        raise SpawnError(f"command {argv[0]!r} cannot be run: {reason}; correct the entry") from error
    finally:
        os.close(child_in)
        os.close(child_out)
    os.set_blocking(to_child, False)
    os.set_blocking(from_child, False)
    return Spawned(pid, to_child, from_child)


def _posix_spawn(
    program: str, argv: list[str], environ: Mapping[str, str], actions: Sequence[tuple[object, ...]]
) -> int:
    # What Python ignores would stay ignored in a child that does not know of it.
    try:
        return os.posix_spawn(
            program, argv, environ, file_actions=actions, setsid=True, setsigdef=_IGNORED_BY_PYTHON
        )  # fmt: skip
    except NotImplementedError:  # no POSIX_SPAWN_SETSID here: a group of its own
        return os.posix_spawn(
            program, argv, environ, file_actions=actions, setpgroup=0, setsigdef=_IGNORED_BY_PYTHON
        )  # fmt: skip


def _found(name: str, environ: Mapping[str, str]) -> str:
    """The program's path, looked for in the child's PATH."""
    if "/" in name:
        return name
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = (folder or ".") + "/" + name
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113 - pathlib costs its import
            return candidate
    raise SpawnError(f"command {name!r} cannot be run: it is not in PATH; correct the entry")
