"""What fits the form of a head is what a parser would have read, and goes on as it would have gone on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.answer_reader import AnswerReader
from gateway.http.framing import Framing
from gateway.http.heads import request_head
from gateway.http.mould import NO_MOULD
from gateway.http.reader import RequestHead, RequestReader

FIELDS = st.lists(
    st.sampled_from([b"X-A: 1", b"Accept: */*", b"Connection: keep-alive", b"x-content-length: 7", b"TE: x", b"X: "]),
    max_size=4,
)
NAMES = st.sampled_from([b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH:   "])
TAILS = st.sampled_from([b"\r\n", b" \r\n", b"\t \r\n"])
NUMBERS = st.sampled_from(
    [b"", b"0", b"00", b"7", b"07", b"12", b"+5", b"-1", b" 3", b"3,3", b"5\r\nContent-Length: 5"]
)


def message(start: bytes, before: list[bytes], name: bytes, number: bytes, tail: bytes, after: list[bytes]) -> bytes:
    lines = b"".join(line + b"\r\n" for line in before)
    return start + lines + name + number + tail + b"".join(line + b"\r\n" for line in after) + b"\r\n"


@given(FIELDS, NAMES, TAILS, FIELDS, st.binary(min_size=1, max_size=300), st.binary(max_size=300), st.data())
def test_what_fits_is_what_would_be_read(
    before: list[bytes], name: bytes, tail: bytes, after: list[bytes], first: bytes, second: bytes, data: st.DataObject
) -> None:  # fmt: skip
    start = b"POST /mcp HTTP/1.1\r\nHost: a\r\n"
    reader = RequestReader()
    reader.feed(message(start, before, name, b"%d" % len(first), tail, after) + first)
    head = reader.requests.popleft().head
    if head.mould is None:
        return
    head.mould.goes_on_as(_sent(head))
    number = data.draw(st.one_of(st.just(b"%d" % len(second)), NUMBERS))
    other = message(start, before, name, number, tail, after) + second
    other = data.draw(st.sampled_from([other, other, other[:-1], other + b"x", other.replace(b"mcp", b"MCP")]))
    at = reader.usual_body_at(other)
    fresh = RequestReader()
    fresh.feed(other)
    read = len(fresh.requests) == 1 and fresh.fault is None and fresh.requests[0].complete
    if at:
        assert read
        (request,) = fresh.requests
        assert b"".join(request.body) == other[at:]
        assert request.method == "POST"
        assert head.mould.passed_on(other, at, other[at:]) == _sent(request.head) + other[at:]
    else:
        same = other.startswith(message(start, before, name, number, tail, after)) and number == b"%d" % len(second)
        assert not (same and read and second), "nothing but another head is read again"


def _sent(head: RequestHead) -> bytes:
    return request_head("POST", "/other", head.sorted, chunked=False, authority=b"", closes=False)


@given(st.binary(min_size=1, max_size=99), st.binary(min_size=1, max_size=99), st.binary(max_size=9))
def test_answers_as_well(first: bytes, second: bytes, more: bytes) -> None:
    reader = AnswerReader()
    head = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: %d\r\nDate: y\r\n\r\n"
    reader.expect("POST")
    reader.feed(head % len(first) + first)
    assert reader.head is not None
    assert reader.head.framing is Framing.LENGTH
    at = reader.usual_body_at(head % len(second) + second + more)
    assert at == (0 if more else len(head % len(second)))


def test_heads_without_a_length_have_no_form() -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
        reader = RequestReader()
        reader.feed(head)
        assert (reader.usual, reader.usual_body_at(head)) == (None, 0)
    NO_MOULD.goes_on_as(b"x\r\nContent-Length: 1\r\n\r\n")
    assert not NO_MOULD.ready
