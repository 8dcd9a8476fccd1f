"""The telemetry body: what is written is read again, what is wrong is refused with a reason, nothing crashes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import telemetry
from fleet.errors import PermanentError
from fleet.telemetry import BOUNDS, ERROR_TYPES, Operations, Telemetry, error_type_of_code


def snapshot(**changes: object) -> dict[str, object]:
    return {"schema": 1, "source": "host-1-2", "started_at": 2.0, **changes}


def encoded(body: object) -> bytes:
    return msgspec.json.encode(body)


def test_a_body_survives_the_way() -> None:
    operations = [Operations(method="tools/call", tool="echo", count=2, sum=0.5, buckets=[0] * 5 + [2] * 10)]
    sent = Telemetry(source="host-1-2", started_at=2.0, operations=operations)
    assert telemetry.decode(telemetry.encode(sent)) == sent
    assert b'"schema":1' in telemetry.encode(sent)
    assert b'"in":0' in telemetry.encode(sent)


def test_unknown_fields_are_ignored() -> None:
    assert telemetry.decode(encoded(snapshot(news=1))).source == "host-1-2"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a telemetry body"),
        (b"[]", "not a telemetry body"),
        (b"\xff\xfe", "not a telemetry body"),
        (encoded(snapshot(schema=2)), "telemetry schema 2 is not known here; this reads schema 1"),
        (encoded(snapshot(source="")), "telemetry source must have 1 to 200 characters"),
        (encoded(snapshot(bounds=[2.0, 1.0])), "telemetry bounds must rise and be at most 64"),
        (
            encoded(snapshot(operations=[{"method": "ping", "count": 1, "sum": 1.0, "buckets": [1]}])),
            "operation 'ping' has 1 buckets for 15 bounds",
        ),
        (
            encoded(snapshot(operations=[{"method": "ping", "count": 1, "sum": 1.0, "buckets": [2, *[1] * 14]}])),
            "operation 'ping' has buckets that are not cumulative",
        ),
        (encoded(snapshot(in_flight=-1)), "not a telemetry body: Expected `int` >= 0 - at `$.in_flight`"),
        (encoded(snapshot(up={"value": 2})), "not a telemetry body: Expected `int` <= 1 - at `$.up.value`"),
    ],
)
def test_what_is_wrong_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(PermanentError) as raised:
        telemetry.decode(body)
    assert str(raised.value).startswith(reason)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(body: bytes) -> None:
    with pytest.raises(PermanentError):
        telemetry.decode(body)


@given(st.integers())
def test_error_codes_fall_into_the_closed_set(code: int) -> None:
    assert error_type_of_code(code) in ERROR_TYPES


def test_the_thresholds_stand_on_bounds() -> None:
    assert {3.0, 5.0} <= set(BOUNDS)
    assert list(BOUNDS) == sorted(BOUNDS)
