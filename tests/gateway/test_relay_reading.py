"""However the bytes are cut, the same requests and answers come out, and h11 reads them alike."""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.answer_reader import AnswerReader
from gateway.http.fields import Fields, Sorted
from gateway.http.framing import MAX_HEAD_BYTES, Framing, Malformed, of_answer, of_request
from gateway.http.heads import answer_head, request_head, to_client
from gateway.http.reader import Request, RequestReader
from gateway.http.reuse import IDLE_SECONDS, idle_seconds, may_resend

TOKENS = st.text("abcXYZ-09", min_size=1, max_size=12).map(lambda text: b"X-" + text.encode())
VALUES = st.text("az09 ;,=?é", max_size=20).map(lambda text: text.strip().encode())
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=5)
BODIES = st.binary(max_size=200)
CUTS = st.lists(st.integers(0, 4000), max_size=12)


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in fields)


def _chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request as bytes, framed in any way that is allowed."""
    fields, body = draw(FIELDS), draw(BODIES)
    start = b"%b /mcp?%d HTTP/1.1\r\nHost: a\r\n" % (
        draw(st.sampled_from([b"POST", b"PUT", b"DELETE"])), draw(st.integers(0, 9)),
    )  # fmt: skip
    upgrade = draw(st.sampled_from([b"", b"", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"]))
    head = start + _lines(fields) + upgrade
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "length":
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        case "chunked":
            trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body, draw(st.integers(1, 60)), trailers)
    return head + b"\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def _read(reader: RequestReader, parts: list[bytes]) -> list[tuple[str, str, list[tuple[bytes, bytes]], bytes, bytes]]:
    found: list[Request] = []
    for part in parts:
        reader.feed(part)
        assert reader.fault is None
        found.extend(reader.requests)
        reader.requests.clear()
    assert all(each.complete for each in found)
    return [(each.method, each.target, each.fields.raw, b"".join(each.body), each.trailers) for each in found]


def _as_h11_reads(data: bytes) -> list[tuple[str, str, list[tuple[bytes, bytes]], bytes]]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []
    while not isinstance(event := connection.next_event(), type(h11.NEED_DATA)) and event is not h11.PAUSED:
        if isinstance(event, h11.Request):
            found.append((event.method.decode(), event.target.decode(), list(event.headers.raw_items()), b""))
        elif isinstance(event, h11.Data):
            method, target, fields, body = found[-1]
            found[-1] = (method, target, fields, body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()
    return found


@given(st.lists(requests(), min_size=1, max_size=4), CUTS)
def test_any_cut_of_any_requests_gives_what_h11_reads(messages: list[bytes], cuts: list[int]) -> None:
    expected = [each for message in messages for each in _as_h11_reads(message)]
    assert len(expected) == len(messages)
    data = b"".join(messages)
    whole, cut = _read(RequestReader(), [data]), _read(RequestReader(), pieces(data, cuts))
    one_by_one = _read(RequestReader(), messages)
    assert cut == whole == one_by_one
    assert [each[:2] for each in whole] == [each[:2] for each in expected]
    assert [each[3] for each in whole] == [each[3] for each in expected]
    for ours, theirs in zip(whole, expected, strict=True):
        assert [(name.lower(), value) for name, value in ours[2]] == [(n.lower(), v) for n, v in theirs[2]]


@given(requests(), BODIES, BODIES, CUTS)
def test_a_head_that_comes_again_is_read_as_the_first_time(
    message: bytes, one: bytes, two: bytes, cuts: list[int]
) -> None:  # fmt: skip
    """The short way for a known head must not be told from the long one, whatever follows it."""

    def sized(body: bytes) -> bytes:
        return b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    messages = [sized(one), sized(one), sized(two), message, message, sized(one), sized(one)]
    again = _read(RequestReader(), messages)
    assert again == [each for single in messages for each in _read(RequestReader(), [single])]
    assert again == _read(RequestReader(), pieces(b"".join(messages), cuts))


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """An answer as bytes, its body, and whether the connection's close ends it."""
    fields, body = draw(FIELDS), draw(BODIES)
    early = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]))
    head = early + b"HTTP/1.1 %d Fine\r\n" % draw(st.sampled_from([200, 202, 404, 500])) + _lines(fields)
    match draw(st.sampled_from(["length", "chunked", "close"])):
        case "length":
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body, False
        case "chunked":
            chunked = _chunked(body, draw(st.integers(1, 60)))
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked, body, False
    return head + b"\r\n" + body, body, True


@given(st.lists(answers(), min_size=1, max_size=4), CUTS)
def test_any_cut_of_any_answers_gives_the_same(messages: list[tuple[bytes, bytes, bool]], cuts: list[int]) -> None:
    whole, cut = AnswerReader(), AnswerReader()
    for message, body, by_close in messages:
        for reader, parts in ((whole, [message]), (cut, pieces(message, cuts))):
            reader.expect("POST")
            for part in parts:
                assert not reader.ended
                reader.feed(part)
            assert reader.fault is None
            assert reader.ended != by_close
            assert reader.at_end()
            assert b"".join(reader.body) == body
            assert reader.keeps_alive != by_close
            reader.interim.clear()
        assert whole.head is not None
        assert cut.head is not None
        assert (whole.head.status, whole.head.fields.raw) == (cut.head.status, cut.head.fields.raw)
        if by_close:
            break


@given(st.binary(max_size=300), CUTS)
def test_any_bytes_are_read_without_an_error(junk: bytes, cuts: list[int]) -> None:
    requests_, answers_ = RequestReader(), AnswerReader()
    answers_.expect("GET")
    for part in pieces(junk, cuts):
        requests_.feed(part)
        answers_.feed(part)


def test_what_could_be_read_in_two_ways_is_refused() -> None:
    for framing in (
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: b\r\n",
        b"X: 1\r\n folded\r\n",
    ):
        reader = RequestReader()
        reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\nabc")
        assert reader.fault is not None, framing
        assert not reader.requests
    both = Sorted([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")])
    twice = Sorted([(b"Content-Length", b"3"), (b"content-length", b"3")])
    for found in (both, twice):
        assert isinstance(of_request("POST", found), Malformed), "not even if the parser let it pass"
        assert isinstance(of_answer("POST", 200, found), Malformed)


def test_a_head_without_end_is_bounded_in_any_form() -> None:
    line = b"X-Long: " + b"a" * 5000 + b"\r\n"
    heads = [
        [b"GET / HTTP/1.1\r\n", *[line] * 40],
        [b"GET / HTTP/1.1\r\nX: ", *[b"a" * 10_000] * 20],
        [b"GET /" + b"a" * 10_000, *[b"a" * 10_000] * 20],
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", *[line] * 40],
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=", *[b"a" * 10_000] * 20],
        [b"GET / HTTP/1.1\r\n", *[line] * 14, b"\r\n"],
    ]
    for parts in heads:
        reader = RequestReader()
        for part in parts:
            reader.feed(part)
        assert reader.fault is not None
        assert reader.fault.status == 431
    fine = RequestReader()
    for _ in range(200):
        fine.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    assert fine.fault is None, "messages are no head"
    assert len(fine.requests) == 200
    assert MAX_HEAD_BYTES == 65536


def test_an_answer_nobody_asked_for_spoils_the_connection() -> None:
    reader = AnswerReader()
    reader.expect("POST")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert (reader.body, reader.ended, reader.keeps_alive) == ([b"hi"], True, False)
    assert reader.head is not None
    assert reader.head.status == 200


def test_a_head_request_has_no_body_and_its_connection_is_used_no_more() -> None:
    reader = AnswerReader()
    reader.expect("HEAD")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")
    assert (reader.ended, reader.keeps_alive, reader.body) == (True, False, [])


@given(FIELDS, st.lists(TOKENS, max_size=2))
def test_what_passes_passes_in_order_and_what_connection_names_does_not(
    fields: list[tuple[bytes, bytes]], named: list[bytes]
) -> None:
    connection = b", ".join([b"keep-alive", *named, b"Content-Length", b"host"])
    raw = [(b"Host", b"a"), *fields, (b"CONNECTION", connection), (b"Keep-Alive", b"timeout=9"), (b"TE", b"trailers"),
           (b"Upgrade", b"h2c"), (b"Content-Length", b"5")]  # fmt: skip
    dropped = {name.lower() for name in named}
    expected = [
        (b"Host", b"a"),
        *(pair for pair in fields if pair[0].lower() not in dropped),
        (b"Content-Length", b"5"),
    ]
    found = Sorted(raw)
    assert found.lines == _lines(expected)
    assert (found.length, found.hosts, found.kept) == (5, 1, b"timeout=9")
    head = request_head("POST", "/x", found, chunked=False, authority=b"never", closes=False)
    assert head == b"POST /x HTTP/1.1\r\n" + _lines(expected) + b"\r\n"


@given(FIELDS)
def test_fields_are_found_whatever_their_case(fields: list[tuple[bytes, bytes]]) -> None:
    found = Fields(fields)
    assert list(found.items()) == [(name.decode(), value.decode()) for name, value in fields]
    for name, _ in fields:
        first = next(value for each, value in fields if each.lower() == name.lower())
        for spelling in (name.decode(), name.decode().upper(), name.decode().lower()):
            assert found[spelling] == found.get(spelling) == first.decode()
            assert spelling in found
    assert found.get("No-Such") is None
    assert found.get("No-Such", "x") == "x"


@given(st.sampled_from(Framing), st.booleans(), st.booleans())
def test_one_framing_goes_out_and_a_broken_end_can_be_told(framing: Framing, old: bool, closes: bool) -> None:
    out = to_client(framing, old_client=old)
    lines = b"Content-Length: 5\r\n" if framing is Framing.LENGTH else b""
    head = answer_head(200, b"OK", lines, out, closes=closes or out is Framing.CLOSE, old_client=old)
    framed = head.lower().count(b"content-length:") + head.lower().count(b"transfer-encoding:")
    assert framed == (out in {Framing.LENGTH, Framing.CHUNKED})
    assert out is not Framing.CHUNKED or not old, "HTTP/1.0 knows no chunks"
    assert out is not Framing.CLOSE or old, "an end by close cannot be told from a break"


@given(st.sampled_from(["GET", "DELETE", "POST", "PATCH"]), st.booleans(), st.booleans(), st.booleans())
def test_a_post_is_never_sent_twice(method: str, reused: bool, heard: bool, whole: bool) -> None:
    again = may_resend(method, reused=reused, heard=heard, whole=whole)
    assert again == (method in {"GET", "DELETE"} and reused and not heard and whole)


def test_how_long_a_connection_may_idle() -> None:
    assert idle_seconds(b"") == IDLE_SECONDS == 4.0
    assert idle_seconds(b"timeout=60, max=100") == 4.0
    assert idle_seconds(b"max=5, Timeout = 3") == 2.0
    assert idle_seconds(b"timeout=1") == 0.0
    assert idle_seconds(b"timeout=x") == 4.0
