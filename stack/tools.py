"""Prometheus, Alertmanager and Redis for whoever lacks them: found on PATH, in ``.tools/``, or fetched into it.

Fetching uses the system's package manager without root: apt downloads the signed packages into a folder of the
project and dpkg-deb unpacks them; nothing is installed and no daemon is started.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fleet.errors import PermanentError

PROJECT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = PROJECT / ".tools"
FETCH_SECONDS: Final = 300
"""Longest time for one step of apt: 40 MB over a slow line."""


class ToolMissingError(PermanentError):
    """A program is neither here nor to be had; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """``names`` are what the program is called, in the order in which PATH is asked; ``package`` is Debian's.

    ``libraries`` are the packages it needs beside the ones that every system has.
    """

    names: tuple[str, ...]
    package: str
    libraries: tuple[str, ...] = ()


KNOWN: Final[Mapping[str, Tool]] = MappingProxyType(
    {
        "prometheus": Tool(("prometheus",), "prometheus"),
        "promtool": Tool(("promtool",), "prometheus"),
        "alertmanager": Tool(("alertmanager", "prometheus-alertmanager"), "prometheus-alertmanager"),
        "amtool": Tool(("amtool",), "prometheus-alertmanager"),
        # Debian's redis-server package holds a link to this program and a service; the program is in redis-tools.
        "redis-server": Tool(("redis-server",), "redis-tools", ("libjemalloc2", "liblzf1", "libatomic1")),
    }
)
"""Every program that can be asked for."""


def find(name: str) -> Path:
    """The path of one program, fetched when it is missing.

    Raises:
        ToolMissingError: it is not here and cannot be fetched.
    """
    return ensure([name])[name]


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """The paths of several programs; those that are missing are fetched in one go.

    Raises:
        ToolMissingError: one is not here and cannot be fetched.
    """
    wanted = list(names)
    missing = [name for name in wanted if present(name) is None]
    if missing:
        with _alone():
            # Another process may have fetched them while this one waited.
            still = [name for name in missing if present(name) is None]
            if still:
                _fetch(still)
    found = {name: path for name in wanted if (path := present(name)) is not None}
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise ToolMissingError(f"the packages were unpacked into {TOOLS} but hold no {', '.join(lacking)}. {_REMEDY}")
    return found


def present(name: str) -> Path | None:
    """Where the program is now, on PATH or in ``.tools/bin``; None when it is in neither."""
    for candidate in KNOWN[name].names:
        on_path = shutil.which(candidate)
        if on_path is not None:
            return Path(on_path)
    for candidate in KNOWN[name].names:
        fetched = TOOLS / "bin" / candidate
        if os.access(fetched, os.X_OK):
            return fetched
    return None


def peer(package: str, program: str, libraries: Sequence[str] = ()) -> Path:
    """A program of a Debian package that only benches and tests use; kept in ``.tools/bench``, apart from our own.

    ``libraries`` are the packages it needs beside the ones that every system has; kept in ``lib`` beside it.

    Raises:
        ToolMissingError: it cannot be fetched.
    """
    kept = TOOLS / "bench" / program
    with _alone():
        if not os.access(kept, os.X_OK):
            with _unpacked([package, *libraries], program) as root:
                found = next((root / "usr").glob(f"*bin/{program}"), None)
                if found is None:
                    raise ToolMissingError(f"the package {package} holds no program {program}")
                kept.parent.mkdir(exist_ok=True)
                _keep_peer(found, kept, root if libraries else None)
    return kept


def engine(name: str, packages: Sequence[str]) -> Path:
    """The folder ``.tools/NAME`` that holds the unpacked files of several Debian packages, for tests of what they do.

    Raises:
        ToolMissingError: they cannot be fetched.
    """
    kept = TOOLS / name
    with _alone():
        if not kept.is_dir():
            with _unpacked(packages, name) as root:
                root.replace(kept)
    return kept


_PEER_WRAPPER: Final = """\
#!/bin/sh
# A Debian program with the libraries that were unpacked with it.
here=$(CDPATH= cd -- "$(dirname "$0")/lib" && pwd) || exit 1
LD_LIBRARY_PATH="$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/{program}" "$@"
"""


def _keep_peer(found: Path, kept: Path, root: Path | None) -> None:
    """Move the program to ``kept``; with ``root`` its libraries too, beside it, and a script that names them."""
    if root is None:
        found.replace(kept)
        return
    folder = kept.parent / "lib"
    folder.mkdir(exist_ok=True)
    for library in root.glob("**/lib/**/*.so.*"):
        library.replace(folder / library.name)
    found.replace(folder / kept.name)
    fresh = kept.with_name(f"{kept.name}.new")
    fresh.write_text(_PEER_WRAPPER.replace("{program}", kept.name), encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(kept)


_REMEDY: Final = (
    "Install Prometheus, Alertmanager and Redis so that `prometheus`, `promtool`, `alertmanager`, `amtool` and "
    "`redis-server` are on PATH (Debian, Ubuntu: apt install prometheus prometheus-alertmanager redis-server; macOS: "
    "brew install prometheus alertmanager redis; others: https://prometheus.io/download/ and "
    "https://redis.io/downloads/), or run the whole stack in containers: docker compose up"
)


def _fetch(names: list[str]) -> None:
    packages = {package for name in names for package in (KNOWN[name].package, *KNOWN[name].libraries)}
    with _unpacked(sorted(packages), ", ".join(names)) as root:
        _take_programs(root)


@contextmanager
def _unpacked(packages: Sequence[str], wanted: str) -> Iterator[Path]:
    """The folder into which these Debian packages are unpacked while the block runs; ``wanted`` says what for.

    Raises:
        ToolMissingError: this system has no apt, or a package cannot be had.
    """
    lacking = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if lacking:
        raise ToolMissingError(
            f"{wanted} not found on PATH, and this system has no {' and no '.join(lacking)} to fetch them. {_REMEDY}"
        )
    staging = TOOLS / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _download(packages, staging)
        root = staging / "unpacked"
        for deb in sorted((staging / "debs").glob("*.deb")):
            _say(f"unpacking {deb.name.partition('_')[0]}")
            _run(["dpkg-deb", "-x", str(deb), str(root)], staging)
        yield root
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(packages: Sequence[str], staging: Path) -> None:
    debs = staging / "debs"
    for folder in (debs, staging / "lists" / "partial", staging / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True)
    options = ["-q", "-o", f"Dir::State::lists={staging / 'lists'}", "-o", f"Dir::Cache={staging / 'cache'}"]
    if os.geteuid() == 0:
        # apt would drop to a user who may not write into the project.
        options += ["-o", "APT::Sandbox::User=root"]
    _say("reading the package lists (about 10 MB, no root needed)")
    _run(["apt-get", *options, "update"], staging)
    _say(f"downloading {', '.join(packages)} (30 MB at most)")
    _run(["apt-get", *options, "download", *packages], debs)


def _take_programs(root: Path) -> None:
    (TOOLS / "bin").mkdir(exist_ok=True)
    for program in {candidate for tool in KNOWN.values() for candidate in tool.names}:
        source = root / "usr" / "bin" / program
        if source.is_file():
            source.replace(TOOLS / "bin" / program)
    if (TOOLS / "bin" / "prometheus-alertmanager").is_file():
        _relocate_alertmanager(root)
    if (root / "usr" / "bin" / _REDIS_CHECK).is_file():
        _relocate_redis(root)


_DEBIANS_SHARE: Final = b"/usr/share/prometheus/alertmanager"
_OUR_SHARE: Final = b"share/alertmanager".rjust(len(_DEBIANS_SHARE), b"/").replace(b"//", b"./")
"""As long as Debian's, and the same place as ``share/alertmanager`` of the working directory."""

_WRAPPER: Final = """\
#!/bin/sh
# Debian's Alertmanager reads its templates from /usr/share; this copy reads them from share/alertmanager of its
# working directory. Give it absolute paths.
cd "$(dirname "$0")/.." && exec bin/prometheus-alertmanager "$@"
"""


def _relocate_alertmanager(root: Path) -> None:
    """Make Debian's Alertmanager read its templates from ``.tools``: without root they cannot stand in /usr/share.

    Other builds carry their templates inside; in those there is no such path to replace.
    """
    templates = root / "usr" / "share" / "prometheus" / "alertmanager"
    if not templates.is_dir():
        return
    share = TOOLS / "share" / "alertmanager"
    share.mkdir(parents=True, exist_ok=True)
    for template in templates.glob("*.tmpl"):
        template.replace(share / template.name)
    program = TOOLS / "bin" / "prometheus-alertmanager"
    relocated = program.with_suffix(".relocated")
    relocated.write_bytes(program.read_bytes().replace(_DEBIANS_SHARE, _OUR_SHARE))
    relocated.chmod(0o755)
    relocated.replace(program)
    _write_wrapper("alertmanager", _WRAPPER)


_REDIS_CHECK: Final = "redis-check-rdb"
"""One program under several names: as what it runs is decided by the name it is called by."""

_REDIS_WRAPPER: Final = """\
#!/bin/sh
# Debian's Redis with the libraries that were unpacked with it.
here=$(CDPATH= cd -- "$(dirname "$0")/../lib/redis" && pwd) || exit 1
LD_LIBRARY_PATH="$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/redis-server" "$@"
"""


def _relocate_redis(root: Path) -> None:
    """Keep Redis and its libraries in a folder of their own: no other program must find these libraries."""
    folder = TOOLS / "lib" / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    for library in (root / "usr" / "lib").glob("**/*.so.*"):
        library.replace(folder / library.name)
    (root / "usr" / "bin" / _REDIS_CHECK).replace(folder / "redis-server")
    _write_wrapper("redis-server", _REDIS_WRAPPER)


def _write_wrapper(name: str, text: str) -> None:
    """Last and in one step: whoever finds it finds everything that it needs."""
    wrapper = TOOLS / "bin" / f"{name}.new"
    wrapper.write_text(text, encoding="utf-8")
    wrapper.chmod(0o755)
    wrapper.replace(TOOLS / "bin" / name)


def _run(argv: list[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissingError(f"{argv[0]} did not finish: {error}. {_REMEDY}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
        raise ToolMissingError(f"{' '.join(argv[:1] + argv[-2:])} failed: {last[0]}. {_REMEDY}")


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock on ``.tools``: two runs on a fresh clone must not unpack over each other."""
    try:
        TOOLS.mkdir(exist_ok=True)
        lock = (TOOLS / "lock").open("w")
    except OSError as error:
        raise ToolMissingError(f"{TOOLS} cannot be written: {error.strerror}. {_REMEDY}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another run is fetching them; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"stack.tools: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Print the path of every known program; exit 3 when one cannot be had."""
    try:
        paths = ensure(KNOWN)
    except ToolMissingError as error:
        print(f"stack.tools: {error}", file=sys.stderr)
        return 3
    for name, path in paths.items():
        print(f"{name}\t{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
