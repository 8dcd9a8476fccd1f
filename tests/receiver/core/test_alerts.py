"""Alertmanager's bodies: read, or refused with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.signals import SignalName
from receiver.alerts import MAX_LABEL, UnreadableBody, body_hash, differences, is_judged, read_active, read_webhook
from receiver.book import Book
from receiver.events import Alert, Delivered, Entry
from receiver.vocabulary import Via
from tests.receiver.core.simulated import START, a_delivery, an_alert

T = TypeVar("T")

UNTREATED = {"queue", "availability", "security"}
LABELS = {"alertname": "McpErrorRatioHigh", "server": "codex", "severity": "critical", "signal": "error_ratio"}


def a_body(*alerts: dict[str, Any], **changes: object) -> bytes:
    """As 0.34 sends it, with fields that we do not know."""
    group = {
        "version": "4",
        "groupKey": '{}:{server="codex"}',
        "truncatedAlerts": 0,
        "receiver": r"mcp\.medic",
        "status": "firing",
        "groupLabels": {"server": "codex"},
        "commonLabels": LABELS,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "notification_reason": "new",
        "routeLabels": {},
        "alerts": list(alerts),
    }
    return json.dumps({**group, **changes}).encode()


def an_alert_of_the_body(status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {**LABELS, **labels},
        "annotations": {"summary": "errors"},
        "startsAt": "2026-11-22T16:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "c0ffee",
    }


def test_a_body_becomes_an_event() -> None:
    body = a_body(an_alert_of_the_body())
    assert read_webhook(body) == Delivered(
        via=Via.WEBHOOK,
        body_hash=hashlib.sha256(body).hexdigest(),
        alerts=[
            Alert(
                server="codex",
                signal="error_ratio",
                severity="critical",
                alertname="McpErrorRatioHigh",
                firing=True,
                fingerprint="c0ffee",
                starts_at="2026-11-22T16:00:00Z",
            )
        ],
    )


def test_the_status_of_each_alert_counts_not_the_groups() -> None:
    body = a_body(an_alert_of_the_body(), an_alert_of_the_body("resolved", signal="memory"), status="resolved")
    assert [alert.firing for alert in read_webhook(body).alerts] == [True, False]


def test_alerts_without_server_or_signal_are_counted_and_left_out() -> None:
    no_server, no_signal = an_alert_of_the_body(), an_alert_of_the_body()
    del no_server["labels"]["server"]
    no_signal["labels"]["signal"] = ""
    delivered = read_webhook(a_body(an_alert_of_the_body(), no_server, no_signal, truncatedAlerts=7))
    assert (len(delivered.alerts), delivered.unusable, delivered.truncated) == (1, 2, 7)


def test_hostile_labels_are_bounded_and_otherwise_kept_as_they_came() -> None:
    text = '$(reboot)"} or vector(1) # <script> ../../etc \x1b[2J'
    delivered = read_webhook(a_body(an_alert_of_the_body(server="x" * 100_000, alertname=text)))
    assert delivered.alerts[0].server == "x" * MAX_LABEL
    assert delivered.alerts[0].alertname == text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON: Input data was truncated"),
        (b"server is down", "not JSON: JSON is malformed: invalid character (byte 0)"),
        (b"[]", "not an Alertmanager message: Expected `object`, got `array`"),
        (b"{}", "not an Alertmanager message: Object missing required field `version`"),
        (b'{"version": "4"}', "not an Alertmanager message: Object missing required field `alerts`"),
        (b'{"version": "3", "alerts": []}', "version '3' of Alertmanager's message, known is '4'"),
        (a_body(version=4), "not an Alertmanager message: Expected `str`, got `int` - at `$.version`"),
        (
            a_body(an_alert_of_the_body("suppressed")),
            "not an Alertmanager message: Invalid enum value 'suppressed' - at `$.alerts[0].status`",
        ),
        (a_body(truncatedAlerts=-1), "not an Alertmanager message: Expected `int` >= 0 - at `$.truncatedAlerts`"),
        (b'{"version": "4", "alerts": [], "x": ' + b"[" * 100_000, "nests too deep"),
        (b'{"version": "\xff", "alerts": []}', "not UTF-8 at byte 0"),
    ],
)
def test_what_is_no_message_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadableBody) as caught:
        read_webhook(body)
    assert str(caught.value) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
NEARLY = st.fixed_dictionaries(
    {
        "version": st.just("4") | JSON,
        "alerts": JSON
        | st.lists(
            st.fixed_dictionaries(
                {
                    "status": st.sampled_from(["firing", "resolved"]) | JSON,
                    "labels": st.dictionaries(
                        st.sampled_from(["server", "signal", "severity", "alertname"]), st.text() | JSON
                    ),
                },
                optional={"fingerprint": JSON, "startsAt": JSON},
            ),
            max_size=3,
        ),
    },
    optional={"truncatedAlerts": JSON},
)


def read_or_refused(read: Callable[[bytes], T], body: bytes) -> T | str:
    try:
        return read(body)
    except UnreadableBody as refusal:
        return str(refusal)


@given(st.binary() | NEARLY.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused_and_can_be_journalled(body: bytes) -> None:
    found = read_or_refused(read_webhook, body)
    if isinstance(found, str):
        assert 0 < len(found) < 400
        assert "\n" not in found
    else:
        assert found.body_hash == body_hash(body)
        assert msgspec.json.decode(msgspec.json.encode(found), type=Delivered) == found


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_of_alertmanager_is_read_or_refused(body: bytes) -> None:
    found = read_or_refused(read_active, body)
    assert found == [] or isinstance(found, str)


def test_only_active_alerts_are_read() -> None:
    def listed(state: str, **labels: str) -> dict[str, Any]:
        status = {"state": state, "silencedBy": [], "inhibitedBy": [], "mutedBy": []}
        return {**an_alert_of_the_body(**labels), "status": status, "receivers": [{"name": "mcp-medic"}]}

    watchdog = listed("active")
    watchdog["labels"] = {"alertname": "McpWatchdog"}
    body = json.dumps([listed("active"), listed("suppressed"), listed("unprocessed"), watchdog]).encode()
    alerts = read_active(body)
    assert [(alert.server, alert.signal, alert.firing, alert.fingerprint) for alert in alerts] == [
        ("codex", "error_ratio", True, "c0ffee")
    ]


def test_alertmanagers_own_error_is_refused() -> None:
    with pytest.raises(UnreadableBody, match="Expected `array`, got `object`"):
        read_active(b'{"status": "error"}')


ALERTS = st.builds(
    an_alert,
    st.sampled_from([*SignalName, "queue", "unheard-of"]),
    st.sampled_from(["warning", "critical", "info", ""]),
    firing=st.booleans(),
    server=st.sampled_from(["codex", "other", "unknown"]),
)


@given(st.lists(ALERTS, max_size=12), st.lists(ALERTS, max_size=12))
def test_after_a_reconcile_the_fold_and_alertmanager_agree(delivered: list[Alert], listed: list[Alert]) -> None:
    configured = {"codex", "other"}
    book = Book(configured)
    book.apply(Entry(seq=1, at=START, event=a_delivery(*delivered)))
    active = [msgspec.structs.replace(alert, firing=True) for alert in listed]
    found = differences(book.firing_alerts(), active, configured)
    book.apply(Entry(seq=2, at=START + 1, event=a_delivery(*found)))
    assert differences(book.firing_alerts(), active, configured) == []
    treatable = {
        alert.fingerprint
        for alert in active
        if alert.server in configured
        and alert.signal in set(SignalName)
        and (alert.severity == "critical" or (alert.severity == "warning" and alert.signal not in UNTREATED))
    }
    assert {alert.fingerprint for alert in book.firing_alerts()} == treatable


@pytest.mark.parametrize(
    ("signal", "severities"),
    [
        ("cost", {"critical", "warning"}),
        ("memory", {"critical", "warning"}),
        ("queue", {"critical"}),
        ("availability", {"critical"}),
        ("security", {"critical"}),
        ("low_load", {"critical", "warning"}),  # never sent: its alert is advice
    ],
)
def test_a_warning_of_what_nobody_treats_and_advice_are_part_of_no_incident(signal: str, severities: set[str]) -> None:
    assert {each for each in ("critical", "warning", "info", "") if is_judged(an_alert(signal, each))} == severities
