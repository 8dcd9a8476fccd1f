"""What stays known of a server when its entry in fleet.yml changes: totals always, a reading while it means the same.

A reading that rests on what did not change stays, so that a server that was proved broken is not up for a moment
only because somebody wrote another interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from exporter import merging
from exporter.facts import ServerFacts
from exporter.readings import SourceName
from fleet.inventory import Server

_CONTINUED: Final = frozenset({SourceName.LOG, SourceName.TELEMETRY})
"""Their readings go on whatever changes: how far each log file was read, and what was counted up to there."""

_BASIS: Final[Mapping[SourceName, Callable[[Server], object]]] = {
    SourceName.PROCESS: lambda server: server.process,
    SourceName.PROBE: lambda server: (server.transport, server.url, server.command, server.env, server.probe),
    SourceName.CONFIG: lambda server: (server.config and server.config.file, server.written_thresholds),
    SourceName.REDIS: lambda server: (server.sessions_pattern, server.cache_pattern),
}
"""What a source's reading rests on; for the others it is the whole entry."""


def carried(known: ServerFacts, before: Server, after: Server) -> ServerFacts:
    """What is known of the server from now on."""
    stays = {source for source in SourceName if _basis(source, before) == _basis(source, after)}
    readings = {source: reading for source, reading in known.readings.items() if source in stays}
    states = {source: state for source, state in known.states.items() if source in stays}
    lost = {source: reading for source, reading in known.readings.items() if source not in stays}
    if SourceName.PROCESS in lost:
        # Its restarts and CPU time were counted in the reading.
        known = replace(known, earlier=merging.own(replace(known, readings=lost)))
    return replace(known, readings=readings, states=states)


def _basis(source: SourceName, server: Server) -> object:
    if source in _CONTINUED:
        return None
    basis = _BASIS.get(source)
    return server if basis is None else basis(server)
