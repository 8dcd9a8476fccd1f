"""When a configuration counts as good: the server was healthy under it for the healthy period. Pure.

A server reads its file when it starts, so one that began to stand after that has proved nothing yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from receiver.incident import Incident

CLOCK_SLACK: Final = 2.0
"""Seconds by which a process' start, counted from boot, and the clock of the file system may disagree."""


@dataclass(frozen=True, slots=True)
class Found:
    """What Prometheus says of the server now.

    ``well``: there are fresh facts, the server is up and no alert of it fires. ``started_at``: when its newest
    process started, UNIX seconds; None where nobody reports that, and then standing alone must do.
    """

    well: bool
    started_at: float | None = None


def healthy_since(changed_at: float, watched_since: float, incidents: Iterable[Incident]) -> float | None:
    """Since when this content stands without an incident, and is watched; None while one is open.

    ``changed_at``: when the file began to say it. ``watched_since``: when the receiver started: what was while it was
    away, nobody knows. ``incidents`` are those of the server.
    """
    since = max(changed_at, watched_since)
    for incident in incidents:
        if incident.closed_at is None:
            return None
        since = max(since, incident.closed_at)
    return since


def proves(found: Found, changed_at: float) -> bool:
    """Whether what was found, after the healthy period, proves the content that stands since ``changed_at``."""
    was_read = found.started_at is None or found.started_at >= changed_at - CLOCK_SLACK
    return found.well and was_read
