from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import merging, metrics
from exporter.facts import Held, ServerFacts
from exporter.quantities import Admitted
from exporter.sources import telemetry
from exporter.sources.source import SourceError
from fleet.errors import PermanentError
from fleet.telemetry import (
    BOUNDS,
    SESSION_BOUNDS,
    Bytes,
    Cost,
    Histogram,
    Operations,
    Sessions,
    Telemetry,
    Up,
    encode,
)
from tests.exporter.fleets import body, codex, operations, process


def counted(pushed: Telemetry) -> dict[tuple[str, ...], int]:
    push = telemetry.understood(telemetry.checked(encode(pushed)), Admitted())
    return {series.labels: counts.count for series, counts in push.totals.histograms.items()}


def with_figure(path: str, figure: Any) -> bytes:
    """A body whose figure at the dotted path is replaced."""
    whole = json.loads(
        encode(body(operations=[operations(1)], processes=[process(1, 1)], cost=[Cost(model="m", usd=1)]))
    )
    *parents, last = path.split(".")
    node = whole
    for parent in parents:
        node = node[int(parent) if parent.isdigit() else parent]
    node[last] = figure
    return json.dumps(whole).encode()


def test_operations_keep_their_labels_and_equal_ones_after_folding_are_added() -> None:
    pushed = body(
        operations=[
            operations(3),
            operations(2, error="tool_error"),
            operations(1, method="x/invented", tool="echo"),
            operations(4, method="y/invented"),
            operations(5, error="boom", transport="carrier pigeon"),
        ]
    )
    assert counted(pushed) == {
        ("tools/call", "echo", "", "tcp"): 3,
        ("tools/call", "echo", "tool_error", "tcp"): 2,
        ("other", "", "", "tcp"): 5,
        ("tools/call", "echo", "other", "other"): 5,
    }


def test_folded_values_are_counted_by_label() -> None:
    pushed = body(operations=[operations(1, method="x", error="y")], refused={"because": 1})
    push = telemetry.understood(pushed, Admitted())
    assert push.folded == {"mcp_method_name": 1, "error_type": 1, "reason": 1}
    assert push.totals.counters[metrics.REFUSED.series("other")] == 1


def test_finer_buckets_are_put_into_ours() -> None:
    finer = [0.001, *BOUNDS[:5], 0.25, *BOUNDS[5:], 1000.0]
    cumulative = list(range(1, len(finer) + 1))
    entry = Operations(method="tools/call", count=99, sum=1.0, buckets=cumulative)
    push = telemetry.understood(telemetry.checked(encode(body(bounds=finer, operations=[entry]))), Admitted())
    (counts,) = push.totals.histograms.values()
    assert counts.buckets == tuple(cumulative[finer.index(bound)] for bound in BOUNDS)
    assert counts.count == 99


def test_buckets_that_lack_one_of_ours_are_refused() -> None:
    with pytest.raises(PermanentError, match=r"^telemetry bounds lack 3; they must contain \[0\.01,"):
        telemetry.checked(encode(body(bounds=[bound for bound in BOUNDS if bound != 3.0])))


def test_ended_sessions() -> None:
    ended = Histogram(count=3, sum=9.0, buckets=[1, 2, *[3] * (len(SESSION_BOUNDS) - 2)])
    assert counted(body(sessions=Sessions(ended=ended))) == {(): 3}
    assert counted(body(sessions=Sessions(ended=Histogram(count=3, sum=9.0)))) == {(): 3}
    with pytest.raises(PermanentError, match=r"^sessions\.ended needs 9 buckets, or none$"):
        telemetry.checked(encode(body(sessions=Sessions(ended=Histogram(count=3, sum=9.0, buckets=[3])))))
    falling = Histogram(count=3, sum=9.0, buckets=[2, 1, *[3] * (len(SESSION_BOUNDS) - 2)])
    with pytest.raises(PermanentError, match="not cumulative"):
        telemetry.checked(encode(body(sessions=Sessions(ended=falling))))


@pytest.mark.parametrize(
    "path",
    [
        "up.value", "sessions.active", "sessions.limit", "sessions.ended.count", "sessions.ended.sum",
        "cache.requests", "cache.hits", "cache.entries", "cache.evictions", "queue.length", "queue.limit",
        "in_flight", "bytes.in", "bytes.out", "refused.sessions", "would_refuse.sessions", "stray_output",
        "unreadable", "restarts", "cost.0.usd", "operations.0.sum", "operations.0.count", "processes.0.pid",
        "processes.0.start_time", "processes.0.resident_memory_bytes", "processes.0.cpu_seconds",
        "processes.0.open_fds",
    ],
)  # fmt: skip
@pytest.mark.parametrize("figure", [-1, 2**53 + 2, 10**400])
def test_figures_outside_what_can_be_counted_are_refused(path: str, figure: int) -> None:
    with pytest.raises(PermanentError):
        telemetry.checked(with_figure(path, figure))


def test_no_bounds_at_all_are_refused() -> None:
    entry = Operations(method="tools/call", count=1, sum=1.0, buckets=[])
    with pytest.raises(PermanentError, match=r"^telemetry bounds lack 0\.01"):
        telemetry.checked(encode(body(bounds=[], operations=[entry])))


def test_process_zero_is_refused() -> None:
    with pytest.raises(PermanentError, match=r"^processes name the pid 0"):
        telemetry.checked(with_figure("processes.0.pid", 0))


def test_a_source_that_would_mangle_the_log_is_refused() -> None:
    with pytest.raises(PermanentError, match="printable"):
        telemetry.checked(encode(body("a\nb")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(
    ["source", "bounds", "operations", "up", "sessions", "breakers", "refused", "cost", "processes"]
)
DEEP_PATHS = st.sampled_from(["operations.0.buckets", "operations.0.method", "up.value", "cache.hits", "schema"])


@given(
    st.binary(max_size=200)
    | st.builds(lambda v: json.dumps(v).encode(), JSON)
    | st.builds(with_figure, PATHS | DEEP_PATHS, JSON)
)
def test_any_bytes_are_understood_or_refused_with_a_short_reason(given_: bytes) -> None:
    try:
        pushed = telemetry.checked(given_)
    except PermanentError:
        return
    telemetry.understood(pushed, Admitted())


def test_gauges_and_counters() -> None:
    push = telemetry.understood(
        body(up=Up(value=0), in_flight=2, bytes=Bytes(in_=5, out=6), cost=[Cost(model="m", usd=0.5)]), Admitted()
    )
    assert push.gauges.up == 0
    assert push.gauges.in_flight == 2
    assert push.totals.counters[metrics.BYTES.series("in")] == 5
    assert push.totals.counters[metrics.BYTES.series("out")] == 6
    assert push.totals.counters[metrics.COST.series("m")] == 0.5


def test_kinds_of_sensitive_data_are_a_closed_set() -> None:
    push = telemetry.understood(body(sensitive={"email": 2, "jwt": 1, "Max@example.com": 3, "x": 4}), Admitted())
    assert push.totals.counters[metrics.SENSITIVE_DATA.series("email")] == 2
    assert push.totals.counters[metrics.SENSITIVE_DATA.series("jwt")] == 1
    assert push.totals.counters[metrics.SENSITIVE_DATA.series("other")] == 7
    assert push.folded["kind"] == 2


def test_the_source_works_while_some_gateway_speaks_and_fails_when_all_are_silent(tmp_path: Path) -> None:
    server = codex(tmp_path)
    held, _ = merging.received(Held(), telemetry.understood(body("a"), Admitted()), 0.0)
    held, _ = merging.received(held, telemetry.understood(body("b"), Admitted()), 5.0)
    known = ServerFacts(held=held)
    assert not telemetry.wanted(server, ServerFacts(), 0.0)
    assert telemetry.wanted(server, known, 0.0)
    assert telemetry.read(server, known, 12.0).measured_at == 5.0
    with pytest.raises(SourceError, match=r"'b'.*silent"):
        telemetry.read(server, known, 16.0)
    assert not telemetry.wanted(server, known, 5.1 + merging.AWAITED_SECONDS), "it never comes back"
