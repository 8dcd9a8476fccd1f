"""Events come out the same however the stream is cut, and compressed copies decode to what was sent."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.copies import HEAD_BYTES, decoder
from gateway.sse import Splitter

lines = st.sampled_from(
    [b"data: a", b"data:b", b"data:", b"data", b": comment", b"id: 7", b"retry: 5", b"event: message", b"", b"datax: c"]
)
streams = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"]))).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)  # fmt: skip


def events_of(chunks: list[bytes], bound: int = HEAD_BYTES) -> list[tuple[bytes, bool]]:
    splitter = Splitter(bound)
    return [(event.data.head, event.has_id) for chunk in chunks for event in splitter.feed(chunk)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(streams, st.lists(st.integers(0, 10_000), max_size=30))
def test_chunk_boundaries_change_nothing(stream: bytes, places: list[int]) -> None:
    assert events_of(cut(stream, places)) == events_of([stream])


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_any_bytes_are_read_without_an_error(chunks: list[bytes]) -> None:
    assert len(events_of(chunks)) <= sum(map(len, chunks))


def test_events_by_the_standard() -> None:
    stream = b': hi\n\nid: 1\r\ndata: {"a":\rdata: 1}\n\ndata:x\n\nretry: 3\n\ndata: cut short'
    assert events_of([stream]) == [(b'{"a":\n1}', True), (b"x", False)]


def test_a_large_event_is_clipped_in_bounded_memory() -> None:
    splitter = Splitter()
    found = splitter.feed(b"data: BEGIN")
    for _ in range(200):
        found += splitter.feed(b"x" * 50_000)
    (event,) = [*found, *splitter.feed(b"END\n\n")]
    assert event.data.total == 200 * 50_000 + 8
    assert not event.data.whole
    assert event.data.head.startswith(b"BEGIN")
    assert event.data.tail.endswith(b"END")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "deflate-raw", ""])
@given(body=st.binary(max_size=5000), size=st.integers(1, 700))
def test_a_copy_is_decoded(encoding: str, body: bytes, size: int) -> None:
    raw = zlib.compressobj(wbits=-15)
    encoded = {
        "gzip": lambda: gzip.compress(body[:100]) + gzip.compress(body[100:]),
        "deflate": lambda: zlib.compress(body),
        "deflate-raw": lambda: raw.compress(body) + raw.flush(),
        "": lambda: body,
    }[encoding]()
    copy = decoder(encoding.removesuffix("-raw"))
    # Raw deflate is recognised by its first chunk, which in practice is never a single byte.
    first = max(size, 2)
    chunks = [encoded[:first], *(encoded[at : at + size] for at in range(first, len(encoded), size))]
    assert b"".join(piece for chunk in chunks for piece in copy.decode(chunk)) == body
    assert copy.legible


@given(st.binary(max_size=200))
def test_what_cannot_be_decoded_is_illegible_and_no_error(body: bytes) -> None:
    for name in ("gzip", "deflate", "br", "gzip, br"):
        copy = decoder(name)
        copy.decode(body)
    assert not decoder("br").legible
