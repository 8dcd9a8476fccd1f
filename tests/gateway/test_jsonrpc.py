"""The peek against a full parse, and against bytes of any kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clipped import peek_clipped
from gateway.copies import Clip
from gateway.jsonrpc import Era, Kind, canonical, peek

VERSION = "io.modelcontextprotocol/protocolVersion"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ids = st.integers(-(2**53), 2**53) | st.text()


def one(body: dict[str, Any]) -> Any:
    found = peek(json.dumps(body).encode())
    assert found.unreadable == 0
    (message,) = found.messages
    return message


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    found = peek(body)
    assert found.unreadable + len(found.messages) >= 0
    peek_clipped(body, body[-10:])


@given(st.lists(json_values, max_size=4))
def test_each_item_of_a_batch_is_counted_once(items: list[Any]) -> None:
    found = peek(json.dumps(items).encode())
    assert found.unreadable + len(found.messages) == len(items)


@given(ids, st.text(), st.text(), json_values)
def test_a_request_is_read_as_a_full_parse_reads_it(identity: Any, method: str, tool: str, arguments: Any) -> None:
    body = {"jsonrpc": "2.0", "id": identity, "method": method, "params": {"name": tool, "arguments": arguments}}
    message = one(body)
    assert message.kind is Kind.REQUEST
    assert message.method == method
    assert message.id == canonical(json.dumps(identity).encode())
    assert message.tool == (tool if method == "tools/call" else "")


def test_text_and_number_are_different_ids_and_spellings_of_one_text_are_not() -> None:
    assert canonical(b'"1"') != canonical(b"1")
    assert canonical(rb'"\u0061"') == canonical(b'"a"')
    assert canonical(b'"\xff broken') == b'"\xff broken'


@pytest.mark.parametrize("meta", [{VERSION: "2026-07-28"}, {VERSION: 7, "x": 1}])
def test_meta_decides_the_era(meta: dict[str, Any]) -> None:
    assert one({"id": 1, "method": "ping", "params": {"_meta": meta}}).era is Era.MODERN
    assert one({"id": 1, "method": "ping", "params": {"_meta": {"progressToken": 1}}}).era is Era.LEGACY
    assert one({"id": 1, "method": "ping", "params": [1, 2]}).era is Era.LEGACY


def test_answers_tell_their_error() -> None:
    assert one({"id": 1, "result": {"isError": True}}).is_error
    assert not one({"id": 1, "result": {"isError": "true"}}).is_error
    assert not one({"id": 1, "result": {"structuredContent": {"isError": True}}}).is_error
    assert one({"id": 1, "error": {"code": -32603, "message": "x"}}).error_code == -32603
    assert one({"id": None, "error": "odd"}).error_code == 0
    assert one({"id": 1, "result": {"tools": [{"name": "a"}, {"no": 1}, {"name": "b"}]}}).tools == ("a", "b")


def test_a_notification_has_no_id_and_a_cancellation_names_one() -> None:
    message = one({"method": "notifications/cancelled", "params": {"requestId": "7"}})
    assert message.kind is Kind.NOTIFICATION
    assert message.cancels == b'"7"'


def test_nesting_beyond_all_measure_is_one_unreadable_item() -> None:
    assert peek(b"[" * 100_000).unreadable == 1
    assert peek(b'{"id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}").unreadable == 1


@given(
    identity=ids,
    is_error=st.booleans(),
    filler=st.text(min_size=1),
    nested=json_values,
    id_last=st.booleans(),
    spaced=st.booleans(),
)
def test_a_large_answer_is_told_from_its_ends(
    identity: Any, is_error: bool, filler: str, nested: Any, id_last: bool, spaced: bool
) -> None:
    text = (filler + '{"isError":true},"id":99,') * 1000
    result = {"content": [{"type": "text", "text": text}], "structuredContent": {"a": nested}, "isError": is_error}
    members = [("jsonrpc", "2.0"), ("id", identity), ("result", result)]
    body = dict(reversed(members)) if id_last else dict(members)
    encoded = json.dumps(body, separators=None if spaced else (",", ":")).encode()
    # The deciding members stand within the last 4 KB here unless `nested` is huge; then they count as unreadable.
    found = peek_clipped(encoded[:3000], encoded[-3000:])
    if found.unreadable:
        return
    (message,) = found.messages
    assert message.kind is Kind.RESPONSE
    if message.legible:
        assert message.id == canonical(json.dumps(identity).encode())
        assert message.is_error is is_error


@given(ids, st.text(alphabet=st.characters(codec="utf-8"), max_size=50), st.booleans())
def test_a_large_request_is_told_from_its_ends(identity: Any, tool: str, name_last: bool) -> None:
    arguments = {"name": "not this", "text": 'x","name":"nor this' * 1000, "id": 3, "method": "nor"}
    params = {"arguments": arguments, "name": tool} if name_last else {"name": tool, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params}
    encoded = json.dumps(body).encode()
    (message,) = peek_clipped(encoded[:2000], encoded[-2000:]).messages
    assert message.tool == tool
    assert message.id == canonical(json.dumps(identity).encode())


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(1, 100))
def test_a_clip_keeps_the_head_and_the_tail(chunks: list[bytes], bound: int) -> None:
    clip, everything = Clip(bound), b"".join(chunks)
    for chunk in chunks:
        clip.add(chunk)
    assert clip.total == len(everything)
    assert clip.head == everything[:bound]
    assert clip.whole == (len(everything) <= bound)
    assert everything.endswith(clip.tail)
    assert clip.whole or clip.tail
