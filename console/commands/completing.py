"""What the shell completes besides the names of servers: the incidents that the receiver knows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fleet.errors import MedicError
from fleet.loading import load_fleet

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_LONGEST_SECONDS: Final = 3.0


class IncidentType(click.ParamType[str]):
    """The id of an incident; completed with those in ``state``, or with the newest ones of any."""

    name = "incident"

    def __init__(self, state: str | None = None) -> None:
        self._state = state

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click calls by name
        """What the receiver knows; nothing where it does not answer at once: a completion never complains."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell that completes needs it

        chosen = ctx.params.get("config") or os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        try:
            found = asyncio.run(self._known(Path(chosen)))
        except (MedicError, TimeoutError, KeyError):
            return []
        return [
            CompletionItem(one["id"], help=f"{one['state']}, {', '.join(one['signals'])}")
            for one in found
            if one["id"].startswith(incomplete) and self._state in {None, one["state"]}
        ]

    async def _known(self, config: Path) -> list[dict[str, Any]]:
        from console.desk import opened  # noqa: PLC0415 - aiohttp

        filters = {"limit": "50"} | ({} if self._state is None else {"state": self._state})
        async with (
            asyncio.timeout(_LONGEST_SECONDS),
            opened(load_fleet(config, os.environ, tolerated=[]), os.environ) as desk,
        ):
            return await desk.receiver.incidents(**filters)
