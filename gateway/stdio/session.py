"""One client's session, from what is known of its server to the server's exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

from gateway.exchange import Limits
from gateway.stdio.beside import Beside
from gateway.stdio.brief import Brief
from gateway.stdio.instance import Instance
from gateway.stdio.outlet import Outlet
from gateway.stdio.relay import Relay
from gateway.stdio.spawn import Guardian, Spawned
from gateway.stdio.vanguard import Vanguard
from gateway.vitals import Vitals

if TYPE_CHECKING:
    from gateway.audit_log import AuditLog


def hold(
    brief: Brief,
    start: Callable[[], Spawned],
    guardian: Guardian,
    begun: tuple[Spawned, Vanguard] | None,
    remember: Callable[[], None] | None,
) -> int:
    """Relay until everything is over; the server's exit status, negative for the signal that ended it.

    ``begun`` is the server that runs already, and what passed before anybody could measure it; without it a server
    is started when there is room. ``remember`` leaves a note of fleet.yml.
    """
    tuning = brief.tuning
    limits = Limits(tuning.initial_response_seconds, tuning.inactivity_seconds)
    vitals = Vitals(limits, tuning.session_seconds, clock=monotonic, wall_clock=time, transport="pipe")
    vitals.apply(tuning, brief.enforce)
    audit_log = _scrutiny(brief, vitals)
    to_client = Outlet(1)
    instance = Instance(brief.server, start, guardian, vitals, to_client)
    instance.comeback.wanted = brief.starts_again
    relay = Relay(instance)
    relay.handle_signals()
    if begun is not None:
        instance.adopt(*begun)
    beside = Beside(brief, instance, vitals, relay, remember, audit_log=audit_log)
    instance.on_answer = beside.begin
    try:
        return relay.run()
    finally:
        instance.talk.close()
        beside.stop()
        to_client.restore()
        if audit_log is not None:
            audit_log.flush()


def _scrutiny(brief: Brief, vitals: Vitals) -> AuditLog | None:
    """What else is looked at in the traffic, where fleet.yml or the TOML asks for it."""
    vitals.inspection.prices = brief.prices
    vitals.inspection.detects = brief.detects
    if brief.audit_log is None:
        return None
    from gateway.audit import Audit  # noqa: PLC0415 - most have none
    from gateway.audit_log import AuditLog  # noqa: PLC0415

    log = AuditLog(Path(brief.audit_log))
    # Over a pipe there is neither a credential nor a session id to name: nobody else's key is needed.
    vitals.audit = Audit(brief.server, log.take, time, key=b"", arguments=brief.audit_arguments)
    return log
