"""One story on a live stack in which every command of the console has something to say.

A person looks at a healthy server, acts on it, and sees it fall ill; each command is typed as a person types it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from console.__main__ import main
from stack.loop import SERVER, Loop
from stack.processes import poll
from stack.shapes import Shape, plain, shape_of
from stack.watch import Watch

COLUMNS: Final = 80
_WIDE: Final = 400
_WITHIN_SECONDS: Final = 180.0
_LONGEST_SECONDS: Final = 300.0
_CALLS: Final = 40
"""Measured in the window of the rules, before anything is said about them."""
_ASKS: Final = ("auto_approve_read_only = true", "auto_approve_read_only = false")
"""From the second one on the receiver asks a person before each act."""

SETTINGS: Final = {
    "mcp.enable_response_caching": True,
    "mcp.enable_request_batching": True,
    "mcp.max_concurrent_sessions": 15,
    "performance.enable_circuit_breaker": True,
}
"""What the story's server has switched on, so that there is something to lower and to give back."""

ENTRY: Final[Mapping[str, object]] = {
    "thresholds": {
        "resident_memory_bytes": {"warning": 160e6},
        # At first a third of what the example client asks is a hit, which is well for it.
        "cache_hit_ratio": {"warning": 0.25, "critical": 0.15},
    },
    "deploy": {"checks": [{"tool": "lookup", "arguments": {"title": "book 1"}}], "first_response_seconds": 30},
}
"""What its entry in fleet.yml says."""

LIMITS: Final[Mapping[str, object]] = {
    "cooldown_seconds": 1,
    "healthy_seconds": 6,
    "verdict_delay_seconds": 3,
    "actions": {"count": 100, "per_seconds": 3600},
    "fleet_actions": {"count": 100, "per_seconds": 600},
    "recovery_actions": {"count": 100, "per_seconds": 3600},
}
"""A person who tries everything in three minutes is no emergency."""

BACKUP: Final = "BACKUP"
"""Stands for the copy that ``backup`` kept."""

_CALM: Final[Sequence[tuple[str, ...]]] = (
    ("performance",),
    ("alerts",),
    ("security",),
    ("check-config",),
    ("test", SERVER, "--dry-run"),
    ("test", SERVER),
    ("health-check",),
    ("diagnose", SERVER),
    ("metrics", "--capacity-planning"),
)
_FREE: Final = frozenset({"recommendations", "optimize"})
"""Whose headings are what it has to say, which is another thing with every figure."""
_CHANGING: Final = frozenset({("alerts",)})
"""What says more or less even while all is well."""
_ACTS: Final[Sequence[tuple[str, ...]]] = (
    ("restart", SERVER),
    ("reset-cache", SERVER),
    ("backup", SERVER),
    ("high-load", SERVER),
    ("low-load", SERVER),
    ("restore", SERVER, "--list"),
    ("restore", SERVER, "--backup", BACKUP, "--yes"),
    ("debug-mode", SERVER, "--for", "30m"),
    ("debug-mode", SERVER, "--off"),
    ("emergency", SERVER, "--yes"),
    ("recover", SERVER),
    ("stop", SERVER, "--yes"),
    ("start", SERVER),
    ("pause", SERVER),
    ("resume", SERVER),
)
_MUCH_ALIKE: Final = frozenset(
    {"reset-cache", "high-load", "low-load", "restore", "debug-mode", "emergency", "recover", "stop", "start"}
)
_ADVICE: Final[Sequence[tuple[str, ...]]] = (
    ("recommendations", SERVER),
    ("recommendations", SERVER, "--config-tuning"),
    ("optimize", SERVER),
    ("optimize", SERVER, "--suggestions"),
)
_DRIVEN: Final[Sequence[tuple[str, ...]]] = (
    ("baseline", SERVER, "--period", "5m"),
    ("optimize", SERVER, "--benchmark", "--tool", "lookup", "--arguments", '{"title": "Dune"}', "--seconds", "2"),
    ("deploy", SERVER, "--yes"),
)
_ILL: Final[Sequence[tuple[str, ...]]] = (
    ("performance", SERVER),
    ("alerts",),
    ("diagnose", SERVER),
    ("incidents",),
)
_AFTERWARDS: Final[Sequence[tuple[str, ...]]] = (
    ("metrics", SERVER, "--detailed"),
    ("alerts", "--history"),
    ("review", SERVER),
    ("report", SERVER),
)


@dataclass(frozen=True, slots=True)
class Shot:
    """What one command said.

    Attributes:
        arguments: what was typed behind ``mcp-medic``.
        code: how it ended.
        text: what it printed, at 80 columns, without colour; what it said on stderr where it printed nothing.
        shape: its headings, names of columns and names of rows.
        steady: whether its rows are the same each time.
        json: what it prints with ``--json``; empty where asking again would act again.
    """

    arguments: tuple[str, ...]
    code: int
    text: str
    shape: Shape
    steady: bool
    json: str = ""


@dataclass(slots=True)
class Scene:
    """The story told on one running loop; ``short``: without acts that say no more than others do."""

    loop: Loop
    short: bool = False
    shots: list[Shot] = field(default_factory=list)

    async def play(self) -> list[Shot]:
        """Everything, in about three minutes at thirty times the usual pace; the short story in half of that.

        Raises:
            stack.watch.NotSeenError: the server was not healthy at the beginning, or did not fall ill.
        """
        await self.loop.start_traffic(rate=40.0)  # half of it is answered from the cache
        await self._healthy()
        await self._look(_CALM, steady=True)
        await self._act([each for each in _ACTS if not (self.short and each[0] in _MUCH_ALIKE)])
        await self._healthy()
        await self._act(_DRIVEN)
        await self._healthy()
        await self._look(_ADVICE, steady=False)
        await self._fall_ill()
        await self._look(_AFTERWARDS, steady=False)
        await self._lose("prometheus", "performance", SERVER)
        await self._lose("receiver", "restart", SERVER)
        return self.shots

    async def _look(self, several: Sequence[tuple[str, ...]], *, steady: bool) -> None:
        for arguments in several:
            code, text, _ = await self.type(*arguments)
            _, _, wide = await self.type(*arguments, columns=_WIDE)
            _, json, _ = await self.type(*arguments, "--json")
            same = steady and arguments not in _CHANGING
            self.shots.append(Shot(arguments, code, text, _shape(arguments, wide), same, json))

    async def _act(self, several: Sequence[tuple[str, ...]]) -> None:
        for arguments in several:
            await self._once(*(self._backup() if each == BACKUP else each for each in arguments))

    def _backup(self) -> str:
        return min(file.name for file in self.loop.folder.glob("server.toml.backups/backup-*"))

    async def _once(self, *arguments: str) -> None:
        """One act; where the last one ended too short a time ago, again."""
        said = (0, "", "")

        async def done() -> bool:
            nonlocal said
            said = await self.type(*arguments)
            return "again at" not in said[1]

        await poll(done, _WITHIN_SECONDS, every=0.5)
        self.shots.append(Shot(arguments, said[0], said[1], _shape(arguments, said[2]), steady=False))

    async def _fall_ill(self) -> None:
        """Twice: what the receiver wants to do then is approved once and denied once."""
        config = self.loop.server_config
        config.write_text(config.read_text(encoding="utf-8").replace(*_ASKS), encoding="utf-8")
        self.loop.switch_on("errors")
        incident = await self._asking()
        await self._look(_ILL, steady=False)
        await self._once("approve", incident)
        await self._look([("incidents", incident)], steady=False)
        if self.short:
            return
        await self._healthy()
        self.loop.switch_on("errors")
        await self._once("deny", await self._asking())

    async def _healthy(self) -> None:
        """Wait until the figures are well and nothing is treated: a restart would cure what comes next.

        Fewer sessions than there is room for are well, though McpLowLoad says so after a while.
        """
        seen = ""
        prometheus, watch = self.loop.prometheus, Watch(self.loop)

        async def well() -> bool:
            nonlocal seen
            states = {str(each["state"]) for each in await self.loop.receiver.incidents()}
            alerts = {moment.subject.partition(" ")[0] for moment in await watch.alerts(0.0)}
            calls = await prometheus.value(f'mcp:evidence_error_ratio{{server="{SERVER}"}}') or 0.0
            seen = f"incidents {states}, alerts {alerts}, {calls:g} calls"
            return states <= {"closed"} and alerts <= {"McpLowLoad"} and calls >= _CALLS

        await watch.until("a healthy server", well, _WITHIN_SECONDS, lambda: seen)

    async def _asking(self) -> str:
        """The incident that waits for a person."""
        states: dict[str, str] = {}

        async def asks() -> bool:
            states.update({each["id"]: str(each["state"]) for each in await self.loop.receiver.incidents()})
            return "awaiting_approval" in states.values()

        await Watch(self.loop).until("an incident that waits for approval", asks, _WITHIN_SECONDS, lambda: f"{states}")
        return next(name for name, state in states.items() if state == "awaiting_approval")

    async def _lose(self, part: str, *arguments: str) -> None:
        await self.loop.stop(part)
        await self._act([arguments])

    async def type(self, *arguments: str, columns: int = COLUMNS) -> tuple[int, str, str]:
        """The exit code, what a pipe would get (stderr where stdout is empty), and the same in colour."""
        environ = {"MCP_MEDIC_CONFIG": str(self.loop.fleet_file), "COLUMNS": str(columns), "FORCE_COLOR": "1"}
        cleared = dict.fromkeys(name for name in os.environ if name.startswith(("MCP_", "REDIS_", "NO_COLOR")))
        async with asyncio.timeout(_LONGEST_SECONDS):
            found = await asyncio.to_thread(CliRunner().invoke, main, arguments, env={**cleared, **environ})
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        coloured = found.stdout or _complaints(found.stderr)
        return found.exit_code, plain(coloured), coloured


def _shape(arguments: Sequence[str], wide: str) -> Shape:
    return Shape(frozenset(), None) if arguments[0] in _FREE else shape_of(wide)


def _complaints(err: str) -> str:
    """What stderr says, without the progress that a terminal would have shown and wiped away."""
    return "".join(line for line in err.splitlines(keepends=True) if line.startswith("mcp-medic: "))


def helps(name: str) -> str:
    """The ``--help`` of one command at 80 columns; of none, that of ``mcp-medic`` itself."""
    typed = [name, "--help"] if name else ["--help"]
    found = CliRunner().invoke(main, typed, env={"COLUMNS": str(COLUMNS)}, prog_name="mcp-medic")
    return found.output.rstrip()


def folder() -> Path:
    """Where the story's loop lies: as short as ``/etc/mcp-medic``, so that lines break where they would there."""
    return Path("/tmp")  # noqa: S108 - the loop makes a folder of its own in it
