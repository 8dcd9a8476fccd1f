"""The side thread's thread: it begins once the server has answered, so that its imports delay nobody's greeting."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.audit_log import AuditLog
    from gateway.stdio.brief import Brief
    from gateway.stdio.instance import Instance
    from gateway.stdio.relay import Relay
    from gateway.stdio.side import Side
    from gateway.vitals import Vitals

BEGIN_SECONDS: Final = 0.5
"""When it begins at the latest: a server that does not answer must be seen and restarted too."""

_SIDE_SECONDS: Final = 3.0
"""How long the last push may take."""


class Beside:
    """Imports and runs the side of one relay. ``remember`` leaves a note of fleet.yml, where there was none."""

    def __init__(
        self,
        brief: Brief,
        instance: Instance,
        vitals: Vitals,
        relay: Relay,
        remember: Callable[[], None] | None,
        *,
        audit_log: AuditLog | None = None,
    ) -> None:
        self._given = (brief, instance, vitals, relay, remember)
        self._audit_log = audit_log
        self._side: Side | None = None
        self._stopping = False
        self._may_begin = threading.Event()
        if brief.needs_seat:
            self._may_begin.set()
        self._thread = threading.Thread(target=self._run, name="side", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The server answers."""
        self._may_begin.set()

    def _run(self) -> None:
        self._may_begin.wait(BEGIN_SECONDS)
        brief = self._given[0]
        if not brief.exporter_url.startswith("https:"):
            _import_asyncio_without_tls()
        from gateway.stdio.side import Side  # noqa: PLC0415 - asyncio, h11

        self._side = Side(*self._given, audit_log=self._audit_log)
        if self._stopping:
            self._side.stop()
        self._side.run()

    def stop(self) -> None:
        """Let it push for the last time."""
        self._stopping = True
        self._may_begin.set()
        if self._side is not None:
            self._side.stop()
        self._thread.join(_SIDE_SECONDS)


def _import_asyncio_without_tls() -> None:
    """asyncio takes a Python without ssl as it is: one megabyte in four of this whole process would be OpenSSL."""
    if "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        import asyncio  # noqa: F401, PLC0415
    finally:
        del sys.modules["ssl"]
