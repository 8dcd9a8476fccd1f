from __future__ import annotations

from tests.receiver.shell.conftest import Start, session, start, world

__all__ = ["Start", "session", "start", "world"]
