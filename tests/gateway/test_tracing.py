"""A traced call leaves an exemplar: found in the body first, else in the header, and never a malformed one."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.telemetry import BOUNDS, Exemplar, decode, encode
from gateway.ledger import MAX_EXEMPLARS, Ledger
from gateway.tracing import trace_id, trace_of
from gateway.vitals import Source, Vitals
from tests.gateway.peers import Exporter, fleet, listening, running, server, until
from tests.gateway.stdio.clients import LINE_SERVER, connected, fleet_file

A, B = "0af7651916cd43dd8448eb211c80319c", "b" * 32
JSON = {"Content-Type": "application/json"}
HEXADECIMAL = "0123456789abcdef"


def parent(trace: str, version: str = "00") -> str:
    return f"{version}-{trace}-b7ad6b7169203331-01"


def asked(**meta: Any) -> bytes:
    params = {"name": "echo", "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


@given(st.text(HEXADECIMAL, min_size=32, max_size=32), st.text(HEXADECIMAL, min_size=16, max_size=16))
def test_every_parent_that_is_one_is_understood(trace: str, span: str) -> None:
    valid = set(trace) != {"0"} and set(span) != {"0"}
    assert trace_id(f"00-{trace}-{span}-01") == (trace if valid else "")


@given(st.text(string.hexdigits + "-g", max_size=60) | st.text(max_size=60))
def test_nothing_else_is(text: str) -> None:
    found = trace_id(text)
    assert found == "" or (found == text.split("-")[1] and len(text) >= 55)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (parent(A), A), (parent(A, "01"), A), (parent(A, "01") + "-more", A),
        (parent(A) + "-more", ""), (parent(A, "ff"), ""), (parent("0" * 32), ""), (parent(A.upper()), ""),
        (parent(A) + "\n", ""), (f"00-{A}-0000000000000000-01", ""), (A, ""), ("", ""),
    ],
)  # fmt: skip
def test_parents(text: str, expected: str) -> None:
    assert trace_id(text) == expected


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        (asked(traceparent=parent(A)), None, A),
        (asked(traceparent=parent(A)), parent(B), A),
        (asked(traceparent="?"), parent(B), B),
        (asked(traceparent=7), f" {parent(B)} ", B),
        (asked(), parent(B), B),
        (b"[" + asked(traceparent=parent(A)) + b"]", "", ""),
        (b'{"params": {"_meta": [], "traceparent": "' + parent(A).encode() + b'"}}', "", ""),
        (b"traceparent", None, ""),
        (b"\xfftraceparent", "x", ""),
    ],
)
def test_where_it_stands(body: bytes, header: str | None, expected: str) -> None:
    assert trace_of(body, header) == expected


@given(st.lists(st.tuples(st.floats(0, 1000), st.sampled_from(["", A, B])), max_size=50))
def test_the_latest_traced_call_of_each_bucket_is_told_and_an_exporter_takes_it(calls: list[tuple[float, str]]) -> None:
    ledger, latest = Ledger(), dict[int, Exemplar]()
    for at, (seconds, trace) in enumerate(calls):
        exemplar = Exemplar(value=seconds, trace_id=trace, at=float(at)) if trace else None
        ledger.operation("tools/call", "echo", "", seconds, exemplar)
        if exemplar is not None:
            latest[sum(seconds > bound for bound in BOUNDS)] = exemplar
    for told in ledger.operations:
        assert sorted(told.exemplars, key=lambda each: each.at) == sorted(latest.values(), key=lambda each: each.at)
    vitals = Vitals(None, 1.0, clock=lambda: 0.0, wall_clock=lambda: 0.0)  # type: ignore[arg-type]  # not asked for
    vitals.ledger = ledger
    pushed = encode(vitals.telemetry(Source("h-1-1", 0.0), [], 0, final=False))
    assert decode(pushed).operations == ledger.operations


def test_the_exemplars_of_one_report_are_bounded() -> None:
    ledger = Ledger()
    for number in range(MAX_EXEMPLARS + 10):
        ledger.operation("tools/call", str(number), "", 0.5, Exemplar(value=0.5, trace_id=A, at=1.0))
    ledger.operation("tools/call", "0", "", 0.5, Exemplar(value=0.5, trace_id=B, at=2.0))
    told = [each for one in ledger.operations for each in one.exemplars]
    assert len(told) == MAX_EXEMPLARS
    assert told[0].trace_id == B


# ---- with real peers


def exemplars(exporter: Exporter) -> list[str]:
    """The traces of tools/call in the latest report."""
    report = exporter.latest.get("demo")
    operations = [] if report is None else report.operations
    return [each.trace_id for one in operations if one.method == "tools/call" for each in one.exemplars]


async def test_traces_of_calls_over_http_reach_the_exporter(folder: Path, exporter: Exporter) -> None:
    seen: list[tuple[str | None, bytes]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.headers.get("traceparent"), await request.content.read()))
        return web.Response(body=b'{"jsonrpc":"2.0","id":1,"result":{}}', content_type="application/json")

    async with (
        listening(answer) as url,
        running(fleet(folder, exporter.url, server(f"{url}/mcp"))) as gateway,
        aiohttp.ClientSession(f"{gateway.addresses['demo'].url}") as client,
    ):

        async def post(body: bytes, **headers: str) -> None:
            async with client.post("/mcp", data=body, headers={**JSON, **headers}) as answered:
                assert answered.status == 200
                await answered.read()

        for _ in range(3):  # the later ones of a connection are looked at less closely
            await post(asked())
        await post(asked(traceparent=parent(A)))
        await until(lambda: A in exemplars(exporter))
        await post(asked(), traceparent=parent(B))
        await until(lambda: B in exemplars(exporter))
        (told,) = exporter.latest["demo"].operations
        assert told.count == 5
        assert len(told.exemplars) <= 2
    assert (parent(B), asked()) in seen, "relayed as it came"


async def test_traces_of_calls_over_stdio_reach_the_exporter(folder: Path, exporter: Exporter) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, exporter=exporter.url)) as client:
        await client.call("echo")
        await client.answer(client.ask("tools/call", {"name": "echo", "_meta": {"traceparent": parent(A)}}))
        await client.close()
    await until(lambda: exemplars(exporter) == [A])
