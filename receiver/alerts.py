"""Alertmanager's words in, ours out: the webhook body (version 4, 0.25 to 0.34) and GET /api/v2/alerts. Pure.

The status of each alert counts, never the group's: a truncated group can say "resolved" while one of its alerts
fires. Labels are bounded and otherwise kept as they came, because they only ever select.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from fleet.errors import PermanentError
from receiver.events import Alert, Delivered

MAX_LABEL: Final = 200
"""Characters kept of a label's value."""


class UnreadableBody(PermanentError):  # noqa: N818 - it names what came, not what went wrong here
    """A body that is no Alertmanager message; the text says why in one short line, safe to store and to answer."""


def body_hash(body: bytes) -> str:
    """SHA-256 of a body in hex: "the same delivery", never "the same incident"."""
    raise NotImplementedError


def read_webhook(body: bytes) -> Delivered:
    """A webhook body as an event, via WEBHOOK, with its ``body_hash``.

    Alerts without a label ``server`` or ``signal`` are counted in ``unusable``. Severity and server are not judged
    here: an unknown server is recorded like any other.

    Raises:
        UnreadableBody: not UTF-8 JSON, not this shape, or another version.
    """
    raise NotImplementedError


def read_active(body: bytes) -> list[Alert]:
    """The alerts of GET /api/v2/alerts whose ``status.state`` is "active" and that carry server and signal.

    Raises:
        UnreadableBody: not UTF-8 JSON or not this shape.
    """
    raise NotImplementedError


def differences(believed: Iterable[Alert], active: Iterable[Alert], configured: Collection[str]) -> list[Alert]:
    """What Alertmanager knows and the fold does not: alerts of configured servers that newly fire, then those that
    no longer do (``firing=False``). ``believed`` is ``Book.firing_alerts()``. Empty when both agree.
    """
    raise NotImplementedError
