"""Alertmanager's words in, ours out: the webhook body (version 4, 0.25 to 0.34) and GET /api/v2/alerts. Pure.

The status of each alert counts, never the group's: a truncated group can say "resolved" while one of its alerts
fires. Labels are bounded and otherwise kept as they came, because they only ever select.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from fleet.errors import PermanentError
from fleet.signals import BY_NAME, Severity
from receiver.events import Alert, Delivered
from receiver.vocabulary import Via

MAX_LABEL: Final = 200
"""Characters kept of a label's value: three times the longest name that a server can have."""

T = TypeVar("T")

_VERSION: Final = "4"
_SEVERITIES: Final = frozenset(severity.value for severity in Severity)


class UnreadableBody(PermanentError):  # noqa: N818 - it names what came, not what went wrong here
    """A body that is no Alertmanager message; the text says why in one short line, safe to store and to answer."""


class _WebhookAlert(msgspec.Struct, rename="camel"):
    status: Literal["firing", "resolved"]
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    starts_at: str = ""
    fingerprint: str = ""


class _Webhook(msgspec.Struct, rename="camel"):
    version: str
    alerts: list[_WebhookAlert]
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


class _ActiveStatus(msgspec.Struct):
    state: str


class _ActiveAlert(msgspec.Struct, rename="camel"):
    status: _ActiveStatus
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    starts_at: str = ""
    fingerprint: str = ""


_WEBHOOK: Final = msgspec.json.Decoder(_Webhook)
_ACTIVE: Final = msgspec.json.Decoder(list[_ActiveAlert])


def body_hash(body: bytes) -> str:
    """SHA-256 of a body in hex: "the same delivery", never "the same incident"."""
    return hashlib.sha256(body).hexdigest()


def read_webhook(body: bytes) -> Delivered:
    """A webhook body as an event, via WEBHOOK, with its ``body_hash``.

    Alerts without a label ``server`` or ``signal`` are counted in ``unusable``. Severity and server are not judged
    here: an unknown server is recorded like any other.

    Raises:
        UnreadableBody: not UTF-8 JSON, not this shape, or another version.
    """
    message = _decoded(_WEBHOOK, body)
    if message.version != _VERSION:
        raise UnreadableBody(f"version {message.version[:20]!r} of Alertmanager's message, known is {_VERSION!r}")
    alerts = [_alert(each, each.status == "firing") for each in message.alerts if _is_usable(each.labels)]
    return Delivered(
        via=Via.WEBHOOK,
        alerts=alerts,
        body_hash=body_hash(body),
        truncated=message.truncated_alerts,
        unusable=len(message.alerts) - len(alerts),
    )


def read_active(body: bytes) -> list[Alert]:
    """The alerts of GET /api/v2/alerts whose ``status.state`` is "active" and that carry server and signal.

    Raises:
        UnreadableBody: not UTF-8 JSON or not this shape.
    """
    found = _decoded(_ACTIVE, body)
    return [_alert(each, True) for each in found if each.status.state == "active" and _is_usable(each.labels)]


def identity(alert: Alert) -> str:
    """What makes two alerts of one server the same: the fingerprint, or the labels that we read where it is missing."""
    return alert.fingerprint or f"{alert.alertname}/{alert.signal}/{alert.severity}"


def is_judged(alert: Alert) -> bool:
    """True for alerts that can be part of an incident: a known signal, critical, or a warning of one that is treated.

    A warning of what nobody treats (a security check, a budget that burns slowly) stands for days: an incident that it
    kept open for so long would have tried its ladder when the server falls ill. Advice opens none for the same reason.
    """
    signal = BY_NAME.get(alert.signal)
    if signal is None or alert.severity not in _SEVERITIES:
        return False
    return signal.treated or alert.severity == Severity.CRITICAL


def differences(believed: Iterable[Alert], active: Iterable[Alert], configured: Collection[str]) -> list[Alert]:
    """What Alertmanager knows and the fold does not: alerts of configured servers that newly fire, then those that
    no longer do (``firing=False``). ``believed`` is ``Book.firing_alerts()``. Empty when both agree.
    """
    known = {(alert.server, identity(alert)): alert for alert in believed}
    present = {
        (alert.server, identity(alert)): alert for alert in active if alert.server in configured and is_judged(alert)
    }
    begun = [alert for key, alert in present.items() if key not in known]
    ended = [msgspec.structs.replace(alert, firing=False) for key, alert in known.items() if key not in present]
    return begun + ended


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise UnreadableBody("nests too deep") from error
    except msgspec.ValidationError as error:
        raise UnreadableBody(f"not an Alertmanager message: {_short(error)}") from error
    except msgspec.DecodeError as error:
        raise UnreadableBody(f"not JSON: {_short(error)}") from error


def _short(error: Exception) -> str:
    return str(error)[:MAX_LABEL]


def _is_usable(labels: dict[str, str]) -> bool:
    return bool(labels.get("server")) and bool(labels.get("signal"))


def _alert(source: _WebhookAlert | _ActiveAlert, firing: bool) -> Alert:
    def label(name: str) -> str:
        return source.labels.get(name, "")[:MAX_LABEL]

    return Alert(
        server=label("server"),
        signal=label("signal"),
        severity=label("severity"),
        alertname=label("alertname"),
        firing=firing,
        fingerprint=source.fingerprint[:MAX_LABEL],
        starts_at=source.starts_at[:MAX_LABEL],
    )
