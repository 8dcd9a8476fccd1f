"""What may be stored, for whom, for how long, and that a hit differs in two spans only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answers import Answer, read_answer
from gateway.caching import MAX_ANSWER_BYTES, CacheSettings, ResponseCache
from gateway.jsonrpc import peek
from gateway.questions import Question, question
from gateway.spans import Span, members, spliced, whole

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
HEADERS = {
    "Host": "127.0.0.1:9846", "Accept": "application/json, text/event-stream", "Content-Type": "application/json",
    "User-Agent": "sdk/1", "Authorization": "Bearer one",
}  # fmt: skip
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}
TOOLS = frozenset({"lookup"})


def asked(
    method: str = "tools/list", identity: Any = 1, *, modern: bool = True, meta: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None, target: str = "/mcp", **params: Any,
) -> Question | None:  # fmt: skip
    own = {**(MODERN if modern else {}), **(meta or {})}
    request = {"jsonrpc": "2.0", "id": identity, "method": method, "params": {**params, "_meta": own}}
    return read(json.dumps(request).encode(), {**HEADERS, **(headers or {})}, target)


def read(body: bytes, headers: dict[str, str], target: str = "/mcp") -> Question | None:
    (message,) = peek(body).messages
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return question(target, raw, body, message, lambda tool: tool in TOOLS)


def sure(found: Question | None) -> Question:
    assert found is not None
    return found


def result(identity: Any = 1, ttl: float | None = 60_000, scope: str | None = None, **more: Any) -> bytes:
    told = {"ttlMs": ttl, "cacheScope": scope, **more}
    content = {"resultType": "complete", **{key: value for key, value in told.items() if value is not None}}
    return json.dumps({"jsonrpc": "2.0", "id": identity, "result": content}).encode()


def cache(**changes: Any) -> ResponseCache:
    found = ResponseCache(**changes)
    found.apply(CacheSettings(enabled=True, tool_seconds=10.0, tools=TOOLS))
    return found


def stores(given: ResponseCache, what: Question, body: bytes, now: float = 0.0, headers: dict[str, str] = JSON) -> bool:
    return given.store(given.ask(what), headers, body, now)


def body_of(answer: Answer | None) -> Any:
    return None if answer is None else json.loads(answer.body)


# ---- spans

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)
SPACINGS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


def dumped(value: Any, spacing: tuple[str, str], *, ascii_only: bool) -> bytes:
    return json.dumps(value, separators=spacing, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@given(OBJECTS, SPACINGS, st.booleans(), st.sampled_from(["", " ", "\r\n"]))
def test_every_member_is_found_where_it_stands(
    value: dict[str, Any], spacing: tuple[str, str], ascii_only: bool, around: str
) -> None:
    text = around.encode() + dumped(value, spacing, ascii_only=ascii_only) + around.encode()
    found = members(text, whole(text))
    assert found is not None
    assert {key: json.loads(span.of(text)) for key, span in found.items()} == value
    assert all(span.of(text) == span.of(text).strip() for span in found.values())


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(text: bytes) -> None:
    members(text, whole(text))
    read_answer(sure(asked()), JSON, text)
    read_answer(sure(asked()), SSE, text)


def test_what_is_no_object_or_says_a_thing_twice() -> None:
    assert members(b"[1]", Span(0, 3)) is None
    assert members(b'{"a":1,"\\u0061":2}', Span(0, 18)) is None
    assert members(b"{}", Span(0, 2)) == {}


# ---- a hit

IDS = st.integers() | st.text(max_size=20)


@given(
    st.dictionaries(st.text(), VALUES, max_size=3), IDS, IDS, st.integers(1, 10**9), st.floats(0, 10**6), SPACINGS,
    st.sampled_from([JSON, SSE]),
)  # fmt: skip
def test_a_hit_differs_in_two_spans_only(
    more: dict[str, Any], first: Any, second: Any, ttl: int, age: float, spacing: tuple[str, str], kind: dict[str, str]
) -> None:
    taken = {"isError", "task", "inputRequests", "cacheScope", "resultType", "ttlMs"}
    content = {
        **{key: value for key, value in more.items() if key not in taken},
        "ttlMs": ttl,
        "z": ['"ttlMs":1,"id":'],
    }
    sent = {"result": content, "id": first, "jsonrpc": "2.0"}
    text = dumped(sent, spacing if kind is JSON else (",", ":"), ascii_only=True)
    body = text if kind is JSON else b": hello\nevent: message\ndata: " + text + b"\n\n"
    stored = read_answer(sure(asked(identity=first)), kind, body)
    assert stored is not None
    assert stored.ttl_span is not None
    answer = stored.for_request(json.dumps(second).encode(), age).body
    cut = answer if kind is JSON else answer.split(b"data: ")[1]
    expected = {**sent, "id": second, "result": {**content, "ttlMs": max(0, int((ttl / 1000 - age) * 1000))}}
    assert json.loads(cut) == expected
    back = spliced(body, [(stored.id_span, b"ID"), (stored.ttl_span, b"TTL")])
    again = read_answer(sure(asked(identity=second)), kind, answer)
    assert again is not None
    assert again.ttl_span is not None
    assert spliced(answer, [(again.id_span, b"ID"), (again.ttl_span, b"TTL")]) == back


def test_the_id_is_the_clients_own_spelling_and_the_ttl_is_what_remains() -> None:
    given = cache()
    assert stores(given, sure(asked(identity=1)), result(1, 5000))
    body = b'{"jsonrpc":"2.0","id": 1.50 ,"method":"tools/list","params":{"_meta":%s}}' % json.dumps(MODERN).encode()
    answer = given.look_up(sure(read(body, HEADERS)), 2.0)
    assert answer is not None
    assert b'"id": 1.50,' in answer.body
    assert json.loads(answer.body)["result"]["ttlMs"] == 3000
    assert answer.headers == (("Content-Type", "application/json"),)
    assert given.look_up(sure(asked(identity="x")), 5.0) is None, "stale"
    assert given.figures.entries == 0


# ---- what is stored

REFUSED = [
    result(isError=True), result(resultType="input_required"), result(resultType="task"), result(task={"taskId": "1"}),
    result(inputRequests={}), result(ttl=0), result(ttl=None), result(ttl=-5), result(ttl="60"), result(identity=2),  # type: ignore[arg-type]
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}', b"[" + result() + b"]", b"", b"<html>",
    b'{"id":1,"id":1,"result":{"ttlMs":9}}', b'{"id":1,"result":{"ttlMs":9,"ttlMs":8}}', result()[:-1],
]  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_answers_that_are_never_stored(body: bytes) -> None:
    given = cache()
    assert not stores(given, sure(asked()), body)
    assert (given.figures.requests, given.figures.entries) == (0, 0)


@pytest.mark.parametrize(
    "headers",
    [{"Set-Cookie": "a=b"}, {"Content-Encoding": "gzip"}, {"Content-Type": "text/plain"}, {"Content-Type": ""}],
)
def test_headers_that_forbid_storing(headers: dict[str, str]) -> None:
    assert not stores(cache(), sure(asked()), result(), headers={**JSON, **headers})


DATA = b"data: " + result() + b"\n\n"
NOTICE = b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'


@pytest.mark.parametrize(
    ("stream", "kept"),
    [
        (DATA, True), (b": ping\r\n\r\nevent: message\r\n" + DATA, True), (NOTICE + DATA, False),
        (DATA + NOTICE, False), (b"id: 7\n" + DATA, False), (b"event: other\n" + DATA, False), (DATA[:-1], False),
        (b"data: {\ndata: }\n\n", False), (b"data\n" + DATA, False), (b"\xef\xbb\xbf" + DATA, False),
    ],
)  # fmt: skip
def test_streams_that_hold_one_result_and_nothing_else(stream: bytes, kept: bool) -> None:
    assert (read_answer(sure(asked()), SSE, stream) is not None) is kept


NEVER_ASKED = [
    asked("tools/call", name="lookup", task={"ttl": 1}), asked("tools/call", name="lookup", requestState="x"),
    asked("tools/call", name="lookup", inputResponses={}), asked("tools/call", name="borrow"), asked("prompts/get"),
    asked("tools/list", modern=False), asked("completion/complete"), asked(headers={"Content-Encoding": "gzip"}),
    read(b'{"id":1,"method":"tools/call","params":{"name":"lookup","name":"lookup"}}', HEADERS),
]  # fmt: skip


@pytest.mark.parametrize("found", NEVER_ASKED)
def test_requests_that_are_never_looked_up(found: Question | None) -> None:
    assert found is None


PARAMS = st.dictionaries(
    st.sampled_from(["name", "uri", "_meta", "arguments", "cursor", "task"]) | st.text(max_size=3), VALUES, max_size=4
)
METHODS = st.sampled_from(["tools/call", "tools/list", "resources/read", "initialize"])


@settings(max_examples=300)
@given(METHODS, PARAMS | VALUES, VALUES, SPACINGS, st.dictionaries(st.text("aM-", max_size=4), st.text(max_size=4)))
def test_no_request_makes_it_raise(
    method: str, params: Any, identity: Any, spacing: tuple[str, str], headers: dict[str, str]
) -> None:
    body = dumped({"id": identity, "method": method, "params": params}, spacing, ascii_only=True)
    for message in peek(body).messages:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        found = question("/mcp", raw, body, message, lambda _: True)
        if found is not None:
            assert json.loads(found.id) == identity
            cache().look_up(found, 0.0)


@given(st.binary(max_size=40))
def test_no_bytes_of_a_request_make_it_raise(noise: bytes) -> None:
    body = b'{"id":1,"method":"tools/call","params":{"name":"lookup","a":' + noise + b"}}"
    for message in peek(body).messages:
        question("/mcp", [], body, message, lambda _: True)


# ---- for whom

NO_MATTER = st.sampled_from(["user-agent", "Accept-Encoding", "Content-Length", "traceparent", "X-Request-Id"])
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True)


@given(NAMES, st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=8))
def test_a_header_that_may_be_a_credential_keeps_answers_apart(name: str, value: str) -> None:
    no_matter = {
        "user-agent", "accept-encoding", "content-length", "traceparent", "tracestate", "baggage", "x-request-id",
        "expect", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "content-encoding",
    }  # fmt: skip
    if name.lower() in no_matter or any(name.lower() == known.lower() for known in HEADERS):
        return
    given = cache()
    assert stores(given, sure(asked()), result())
    assert given.look_up(sure(asked(headers={name: value})), 1.0) is None
    assert given.look_up(sure(asked()), 1.0) is not None


@given(NO_MATTER, st.text("abc", max_size=5), IDS, st.text("xyz", max_size=5))
def test_what_changes_no_answer_does_not(name: str, value: str, identity: Any, token: str) -> None:
    given = cache()
    assert stores(given, sure(asked()), result())
    meta = {"progressToken": token, "io.modelcontextprotocol/clientInfo": {"name": token}}
    other = sure(asked(identity=identity, headers={name: value}, meta=meta))
    assert body_of(given.look_up(other, 1.0))["id"] == identity


LOCAL = st.sampled_from(["localhost", "127.0.0.1", "[::1]", "127.0.0.2", "LOCALHOST"])
FOREIGN = st.sampled_from(["evil.example", "gateway.internal", "127.0.0.1.evil.example", "localhost.evil.example"])


@given(LOCAL | FOREIGN, LOCAL | FOREIGN, st.integers(1, 65535), st.integers(1, 65535))
def test_this_machine_is_one_place_and_every_other_name_its_own(one: str, other: str, port: int, another: int) -> None:
    given = cache()
    first, second = {"Host": f"{one}:{port}"}, {"Host": f"{other}:{another}"}
    assert stores(given, sure(asked(headers=first)), result(scope="public"))
    local = [not name.endswith((".example", ".internal")) for name in (one, other)]
    same = all(local) or first == second
    assert (given.look_up(sure(asked(headers=second)), 1.0) is not None) is same


def test_only_a_public_answer_crosses_authorizations() -> None:
    other = {"Authorization": "Bearer two"}
    for scope, shared in ((None, False), ("private", False), ("strange", False), ("public", True)):
        given = cache()
        assert stores(given, sure(asked()), result(scope=scope))
        assert (given.look_up(sure(asked(headers=other)), 1.0) is not None) is shared
        for mine in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Accept": "application/json"}):
            assert given.look_up(sure(asked(headers=mine)), 1.0) is None


@pytest.mark.parametrize(
    "other",
    [
        asked(cursor="2"), asked(target="/other"), asked("prompts/list"),
        asked(meta={"io.modelcontextprotocol/protocolVersion": "2099-01-01"}),
        asked(meta={"io.modelcontextprotocol/clientCapabilities": {"x": {}}}),
        asked(headers={"Mcp-Param-City": "Ulm"}), asked(headers={"MCP-Protocol-Version": "2025-11-25"}),
    ],
)  # fmt: skip
def test_what_may_change_the_answer_keeps_apart(other: Question) -> None:
    given = cache()
    assert stores(given, sure(asked()), result(scope="public"))
    assert given.look_up(other, 1.0) is None


# ---- tools

LEGACY_CALL = sure(asked("tools/call", modern=False, name="lookup", headers={"Mcp-Session-Id": "s1"}))


def test_results_of_tools_live_as_long_as_the_file_says_at_most() -> None:
    for ttl, lives in ((None, 10.0), (4000, 4.0), (60_000, 10.0)):
        given, call = cache(), sure(asked("tools/call", name="lookup", arguments={"title": "a"}))
        assert stores(given, call, result(ttl=ttl))
        found = body_of(given.look_up(call, lives - 0.5))
        assert found["result"].get("ttlMs") == (None if ttl is None else ttl - int((lives - 0.5) * 1000))
        assert given.look_up(call, lives) is None
        assert given.look_up(sure(asked("tools/call", name="lookup", arguments={"title": "b"})), 0.0) is None


def test_a_shorter_life_counts_for_what_is_stored_already() -> None:
    given = cache()
    assert stores(given, LEGACY_CALL, result(ttl=None))
    given.apply(CacheSettings(enabled=True, tool_seconds=0.01, tools=TOOLS))
    assert given.look_up(LEGACY_CALL, 0.02) is None


def test_a_legacy_client_gets_its_id_and_nothing_else_changes() -> None:
    given = cache()
    assert stores(given, LEGACY_CALL, result(ttl=5000))
    other = sure(asked("tools/call", "b", modern=False, name="lookup", headers={"Mcp-Session-Id": "s1"}))
    assert body_of(given.look_up(other, 6.0)) == {**json.loads(result(ttl=5000)), "id": "b"}


def test_legacy_sessions_are_apart_and_end_with_their_answers() -> None:
    given = cache()
    other = sure(asked("tools/call", modern=False, name="lookup", headers={"Mcp-Session-Id": "s2"}))
    assert stores(given, LEGACY_CALL, result())
    assert given.look_up(other, 1.0) is None
    assert stores(given, other, result())
    given.session_ended(LEGACY_CALL.session)
    assert given.look_up(LEGACY_CALL, 1.0) is None
    assert given.look_up(other, 1.0) is not None


# ---- what makes stale

READ_A, READ_B = (sure(asked("resources/read", uri=f"file:///{name}")) for name in "ab")


@pytest.mark.parametrize(
    ("method", "uri", "left"),
    [
        ("notifications/tools/list_changed", "", {"resources/read a", "resources/read b"}),
        ("notifications/resources/updated", "file:///a", {"tools/list", "resources/read b"}),
        ("notifications/resources/updated", "", {"tools/list"}),
        ("notifications/resources/list_changed", "", {"tools/list"}),
        ("notifications/progress", "", {"tools/list", "resources/read a", "resources/read b"}),
    ],
)
def test_notifications_make_stale_what_they_name(method: str, uri: str, left: set[str]) -> None:
    given = cache()
    named = {"tools/list": sure(asked()), "resources/read a": READ_A, "resources/read b": READ_B}
    assert all(stores(given, each, result()) for each in named.values())
    given.notified(method, uri)
    assert {name for name, each in named.items() if given.look_up(each, 1.0)} == left


def test_an_answer_that_became_stale_on_its_way_is_not_stored() -> None:
    given = cache()
    ticket = given.ask(sure(asked()))
    given.notified("notifications/tools/list_changed", "")
    assert not given.store(ticket, JSON, result(), 0.0)
    ticket = given.ask(sure(asked()))
    assert given.clear() == 0
    assert not given.store(ticket, JSON, result(), 0.0)
    ticket = given.ask(sure(asked()))
    given.apply(CacheSettings(enabled=False))
    given.apply(CacheSettings(enabled=True))
    assert not given.store(ticket, JSON, result(), 0.0)


# ---- bounds and figures


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 3000)), max_size=60))
def test_it_stays_within_its_bounds_and_its_figures_add_up(steps: list[tuple[bool, int, int]]) -> None:
    given = cache(max_entries=5, max_bytes=12_000)
    hits = stored = 0
    last: dict[int, str] = {}
    for storing, page, size in steps:
        what = sure(asked(cursor=str(page)))
        if storing:
            last[page] = "x" * size
            stored += stores(given, what, result(text=last[page]))
        else:
            found = body_of(given.look_up(what, 1.0))
            hits += found is not None
            assert found is None or found["result"]["text"] == last[page]
        figures = given.figures
        assert figures.entries <= 5
        assert given.stored_bytes <= 12_000
        assert (figures.hits, figures.requests) == (hits, hits + stored)
    given.clear()
    assert (given.stored_bytes, given.figures.entries) == (0, 0)


def test_the_one_unused_for_longest_goes_first() -> None:
    given = cache(max_entries=2)
    first, second, third = (sure(asked(cursor=str(number))) for number in range(3))
    assert stores(given, first, result())
    assert stores(given, second, result())
    assert given.look_up(first, 1.0) is not None
    assert stores(given, third, result())
    assert given.look_up(second, 1.0) is None
    assert given.look_up(first, 1.0) is not None
    assert given.figures.evictions == 1


def test_too_large_an_answer_is_not_stored() -> None:
    assert not stores(cache(), sure(asked()), result(text="x" * MAX_ANSWER_BYTES))


def test_turned_off_it_forgets_and_counts_nothing() -> None:
    given = cache()
    assert stores(given, sure(asked()), result())
    given.apply(CacheSettings(enabled=False))
    assert given.figures.entries == 0
    assert not stores(given, sure(asked()), result())
    assert given.figures.requests == 1
