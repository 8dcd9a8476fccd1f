"""Draws dashboards in a headless Chromium; what it needs of npm is installed into ``.tools`` from a lock file."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grafana.generate import DASHBOARDS
from stack.tools import PROJECT, TOOLS, ToolMissingError

SOURCE: Final = Path(__file__).parent
INSTALLED: Final = TOOLS / "dashboards"
SCREENSHOTS: Final = PROJECT / "run" / "dashboards"
WIDTH: Final = 1440

_PINS: Final = ("package.json", "package-lock.json")
_CODE: Final = ("page.jsx", "build.mjs")
_INSTALL_SECONDS: Final = 400.0
_BUNDLE_SECONDS: Final = 240.0
_DRAW_SECONDS: Final = 150.0
_CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn: ``prometheus`` is its URL, ``since`` and ``until`` UNIX seconds, ``server`` a server's name."""

    prometheus: str
    since: float
    until: float
    server: str
    rate_interval: str

    def variables(self, dashboard: Mapping[str, Any]) -> dict[str, str]:
        """What stands for the dashboard's variables."""
        several = {variable["name"] for variable in dashboard["templating"]["list"] if variable.get("multi")}
        server = ".*" if "server" in several else self.server
        every = dict.fromkeys(("$job", "$instance", "$tool"), ".*")
        return {"$__rate_interval": self.rate_interval, "$server": server, **every}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One panel as it was drawn. ``queries`` of its queries gave a number; ``problem`` is "" when it is well."""

    dashboard: str
    title: str
    queries: int
    of: int
    problem: str


class NotDrawnError(Exception):
    """The browser did not draw; the message says what it said."""


def missing() -> str:
    """What cannot be had here, as a sentence with its remedy; "" when nothing is missing."""
    absent = [program for program in ("node", "npm") if shutil.which(program) is None]
    if _chromium() is None:
        absent.append("chromium")
    return f"{', '.join(absent)} not on PATH; on Debian: apt-get install nodejs npm chromium" if absent else ""


async def prepared() -> Path:
    """The script of the page, bundled now when a source of it or a package changed.

    Raises:
        ToolMissingError: a program is missing, or npm could not install.
    """
    lacking = missing()
    if lacking:
        raise ToolMissingError(lacking)
    with _alone():
        if not _stands(INSTALLED / ".complete", SOURCE, _PINS):
            await _install()
        bundle = INSTALLED / "page.js"
        if not _stands(INSTALLED / ".bundled", SOURCE, (*_PINS, *_CODE)):
            await _run(_BUNDLE_SECONDS, "node", str(SOURCE / "build.mjs"), str(SOURCE), str(INSTALLED), str(bundle))
            _remember(INSTALLED / ".bundled", (*_PINS, *_CODE))
    return bundle


async def draw(file: Path, scene: Scene, folder: Path) -> list[Drawn]:
    """Draw one dashboard's JSON into ``folder``/UID.png; what became of each panel.

    Raises:
        NotDrawnError, ToolMissingError
    """
    page = _written(file, scene, folder, await prepared())
    picture = page.with_suffix(".png")
    with tempfile.TemporaryDirectory(prefix="medic-chromium-") as profile:
        shoot = (str(SOURCE / "shoot.mjs"), str(INSTALLED), str(_chromium()), profile, str(page), str(picture))
        said = json.loads(await _run(_DRAW_SECONDS, "node", *shoot))
    page.unlink()
    if "outcomes" not in said:
        raise NotDrawnError(f"{file.stem}: {said.get('failure', '')} {said.get('said', '')}")
    return [_drawn(file.stem, outcome) for outcome in said["outcomes"]]


def dashboards() -> list[Path]:
    """Every committed dashboard."""
    return sorted(DASHBOARDS.glob("*.json"))


def _drawn(uid: str, outcome: Mapping[str, Any]) -> Drawn:
    problem = outcome["error"]
    if outcome["unknown_units"]:
        problem = f"Grafana does not know the units {outcome['unknown_units']}"
    return Drawn(uid, outcome["title"], outcome["queries"], outcome["of"], problem)


def _written(file: Path, scene: Scene, folder: Path, bundle: Path) -> Path:
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    given = {
        "dashboard": dashboard,
        "prometheus": scene.prometheus,
        "variables": scene.variables(dashboard),
        "from": scene.since,
        "to": scene.until,
        "width": WIDTH,
    }
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{file.stem}.html"
    page.write_text(_page(given, bundle), encoding="utf-8")
    return page


def _page(given: Mapping[str, Any], bundle: Path) -> str:
    # "</script>" inside a string would end the script.
    text = json.dumps(given).replace("</", "<\\/")
    return (
        '<!doctype html><meta charset="utf-8"><body style="margin:0;background:#111217"><div id="root"></div>'
        f'<script>window.input = {text}; window.__grafana_public_path__ = "";</script>'
        f'<link rel="stylesheet" href="{bundle.with_suffix(".css").as_uri()}"><script src="{bundle.as_uri()}"></script>'
    )


async def _install() -> None:
    shutil.rmtree(INSTALLED / "node_modules", ignore_errors=True)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in _PINS:
        shutil.copyfile(SOURCE / name, INSTALLED / name)
    print("dashboards: npm installs Grafana's components into .tools/dashboards (once, 700 MB)", flush=True)
    argv = ("npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix")
    await _run(_INSTALL_SECONDS, *argv, str(INSTALLED))
    _remember(INSTALLED / ".complete", _PINS)


async def _run(seconds: float, *argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        raise NotDrawnError(f"{argv[0]} {Path(argv[1]).name} took longer than {seconds:g} s") from None
    finally:
        if process.returncode is None:
            # With its children: a Chromium that outlives its driver would stay for ever.
            os.killpg(process.pid, 9)
            await process.wait()
    if process.returncode != 0:
        raise NotDrawnError(f"{argv[0]} {Path(argv[1]).name}: {err.decode(errors='replace').strip()[-600:]}")
    return out.decode()


def _stands(mark: Path, folder: Path, names: tuple[str, ...]) -> bool:
    return mark.exists() and mark.read_text(encoding="ascii") == _digest(folder, names)


def _remember(mark: Path, names: tuple[str, ...]) -> None:
    mark.write_text(_digest(SOURCE, names), encoding="ascii")


def _digest(folder: Path, names: tuple[str, ...]) -> str:
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def _chromium() -> str | None:
    return next((found for name in _CHROMIUMS if (found := shutil.which(name))), None)


@contextmanager
def _alone() -> Iterator[None]:
    """Two runs on a fresh clone must not install over each other."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "dashboards.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
