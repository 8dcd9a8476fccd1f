"""The everything-server of the official Python SDK: an example in its source distribution, unpacked into ``.tools``.

    python -m stack.everything --port PORT

The distribution is fetched by pip with the digests of ``requirements-dev.lock``, so it is the version that the tests
use anyway. The example runs as it is, but with ``ttlMs`` above its 0: a cache has something to store.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final, get_args

import mcp.server.mcpserver
from mcp.server.caching import CacheableMethod, CacheHint

from stack.tools import PROJECT, TOOLS, ToolMissingError

MODULE: Final = "mcp_everything_server"
FETCH_SECONDS: Final = 120
TTL_MS: Final = 60_000
_LOCK: Final = PROJECT / "requirements-dev.lock"
_INSIDE: Final = f"examples/servers/everything-server/{MODULE}/"
_REMEDY: Final = "It is fetched by `pip download --no-binary mcp`, which needs the package index."


def folder() -> Path:
    """The folder that ``PYTHONPATH`` must name for ``python -m mcp_everything_server``, fetched when it is missing.

    Raises:
        ToolMissingError: it cannot be fetched, or the distribution holds no such example.
    """
    place = TOOLS / f"mcp-{importlib.metadata.version('mcp')}"
    if not place.is_dir():
        try:
            TOOLS.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="mcp-", dir=TOOLS) as name:
                staging = Path(name)
                _unpack(_download(staging), staging / "unpacked")
                # Another run may have been faster; its copy is as good.
                if not place.is_dir():
                    shutil.move(staging / "unpacked", place)
        except OSError as error:
            raise ToolMissingError(f"the SDK's example could not be unpacked: {error}. {_REMEDY}") from error
    return place


def _download(staging: Path) -> Path:
    requirement = staging / "requirements.txt"
    requirement.write_text(_pinned(_LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += [
        "--no-binary",
        "mcp",
        "--retries",
        "1",
        "--require-hashes",
        "--dest",
        str(staging),
        "--requirement",
        str(requirement),
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolMissingError(f"pip did not finish: {error}. {_REMEDY}") from error
    archives = list(staging.glob("mcp-*.tar.gz"))
    if done.returncode != 0 or not archives:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise ToolMissingError(f"pip could not fetch the SDK's source distribution: {said[-1]}. {_REMEDY}")
    return archives[0]


def _pinned(lock: str) -> str:
    """The lines of ``mcp`` in a lock file of pip."""
    found = re.search(r"^mcp==\S+(?: \\\n    --hash=\S+)+", lock, re.MULTILINE)
    if found is None:
        raise ToolMissingError(f"{_LOCK.name} pins no mcp. {_REMEDY}")
    return found.group() + "\n"


def _unpack(archive: Path, target: Path) -> None:
    (target / MODULE).mkdir(parents=True)
    with tarfile.open(archive) as opened:
        for member in opened:
            _, _, path = member.name.partition("/")
            content = opened.extractfile(member) if path.startswith(_INSIDE) and path.endswith(".py") else None
            if content is not None:
                (target / MODULE / Path(path).name).write_bytes(content.read())
    if not (target / MODULE / "__main__.py").is_file():
        raise ToolMissingError(f"{archive.name} holds no {_INSIDE}")


def main() -> None:
    """Run the server with the arguments of the command line, until it is stopped."""
    sys.path.insert(0, str(folder()))
    # The SDK asks for plain uvicorn, which parses with h11. Our environment also holds httptools, which keeps white
    # space at the end of a header's value: then the server by itself fails a check that it passes at home.
    sys.modules["httptools"] = None  # type: ignore[assignment]
    hints: dict[CacheableMethod, CacheHint] = {method: CacheHint(ttl_ms=TTL_MS) for method in get_args(CacheableMethod)}
    mcp.server.mcpserver.MCPServer = functools.partial(mcp.server.mcpserver.MCPServer, cache_hints=hints)  # type: ignore[assignment,misc]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
