"""What a server can do wrong with HTTP and with JSON-RPC, what its client sees of it, and what the figures say.

``seen`` is what a client sees that is connected to the server itself, checked against the server itself. Through the
gateway it sees the same, but where ``through`` says otherwise: without any answer, or with one that two readers could
read in two ways, the gateway answers 502 in words of its own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.gateway.faults.script import CLOSE, HOLD, RESET, SEEN, Part
from tests.gateway.faults.sight import CALL, End, Seen

MODERN: Final = CALL.replace(
    b'"name"', b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"name"'
)  # fmt: skip
RESULT: Final = b'{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"hello"}]}}'
GATEWAYS: Final = Seen(502)
"""The gateway's own 502, whatever its words."""

_OK: Final = {"": 1}
_LOST: Final = {"connection": 1}
_OTHER: Final = {"other": 1}


@dataclass(frozen=True)
class Scenario:
    """``told`` are operations of tools/call by error type, ``unreadable`` what nobody could read."""

    name: str
    parts: tuple[Part, ...]
    seen: tuple[Seen, ...]
    told: Mapping[str, int]
    calls: tuple[bytes, ...] = (CALL,)
    through: tuple[Seen, ...] = ()
    unreadable: int = 0
    tls: bool = False
    limits: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def answer(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json", more: bytes = b"") -> bytes:
    """An answer with its length."""
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n" % (status, kind, more, len(body))
    return head + body


def headed(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Whatever the header says."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Type: application/json", *lines, b"", body])


def events(*lines: bytes, chunked: bool = True) -> bytes:
    """The beginning of an event stream."""
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n" % framing
    return head + (b"".join(chunk(line) for line in lines) if chunked else b"".join(lines))


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def batch(*items: bytes) -> bytes:
    """A batch array."""
    return b"[" + b",".join(items) + b"]"


def called(identity: bytes, body: bytes = CALL) -> bytes:
    """The call, or the result, with another id."""
    return body.replace(b'"a"', identity, 1)


def error(code: int, identity: bytes = b'"a"') -> bytes:
    """A JSON-RPC error."""
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":%d,"message":"no"}}' % (identity, code)


LAST: Final = b"0\r\n\r\n"
HALF: Final = RESULT[:20]
EVENT: Final = b"event: message\ndata: " + RESULT + b"\n\n"
CHUNKED: Final = b"Transfer-Encoding: chunked"
PAGE: Final = b"<html>it is broken</html>"
DEEP: Final = b'{"jsonrpc":"2.0","id":"a","result":' + b"[" * 20_000 + b"]" * 20_000 + b"}"


def _one(name: str, *steps: bytes | object, seen: Seen, told: Mapping[str, int], **more: object) -> Scenario:
    through = more.pop("through", None)
    given = (through,) if isinstance(through, Seen) else ()
    return Scenario(name, (steps,), (seen,), told, through=given, **more)  # type: ignore[arg-type]


NO_ANSWER: Final = Seen(0, b"", End.BROKEN)


def _endings() -> Iterator[Scenario]:
    """The connection ends too early, or in a way that is an end."""
    yield _one("a whole answer", answer(RESULT), seen=Seen(200, RESULT), told=_OK)
    for word, end in (("closes", CLOSE), ("resets", RESET)):
        for what, said in (
            ("before a byte", b""),
            ("within the status line", b"HTTP/1.1 20"),
            ("within the head", b"HTTP/1.1 200 OK\r\nContent-Type: appl"),
            ("after an interim answer", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ):
            yield _one(f"{word} {what}", said, end, seen=NO_ANSWER, told=_LOST, through=GATEWAYS)
        for what, said, part in (
            ("after the head", headed(b"Content-Length: 100"), b""),
            ("within a body of known length", headed(b"Content-Length: 100", body=HALF), HALF),
            ("within a chunk", headed(CHUNKED, body=b"64\r\n" + HALF), HALF),
            ("between two chunks", headed(CHUNKED, body=chunk(HALF)), HALF),
            ("before the last chunk", headed(CHUNKED, body=chunk(RESULT)), RESULT),
        ):
            seen = Seen(200, part, End.BROKEN)
            yield _one(f"{word} {what}", said, SEEN, end, seen=seen, told=_LOST)
    broken = Seen(200, RESULT, End.BROKEN)
    yield _one("ends by close", headed(body=RESULT), CLOSE, seen=Seen(200, RESULT), told=_OK)
    yield _one("ends by reset", headed(body=RESULT), SEEN, RESET, seen=broken, told=_LOST)
    yield _one(
        "is of HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + RESULT, CLOSE,
        seen=Seen(200, RESULT), told=_OK,
    )  # fmt: skip
    early = headed(b"Connection: close", b"Content-Length: %d" % len(RESULT), body=RESULT)
    yield _one("says that it closes and does", early, CLOSE, seen=Seen(200, RESULT), told=_OK)


def _stalls() -> Iterator[Scenario]:
    """The server goes silent. The client leaves: at once, or after more than the limits allow a server."""
    for who, call, limits, end in (
        ("a modern client leaves", MODERN, None, "cancelled"),
        ("the limits pass", CALL, (0.2, 0.2), "timeout"),
    ):
        for what, said, seen in (
            ("before the head", b"", Seen(0, b"", End.OPEN)),
            ("within the head", b"HTTP/1.1 200 OK\r\nConte", Seen(0, b"", End.OPEN)),
            ("within a body", headed(b"Content-Length: 100", body=HALF), Seen(200, HALF, End.OPEN)),
            ("within an event", events(EVENT[:30]), Seen(200, EVENT[:30], End.OPEN)),
            ("after a comment", events(b": ping\n\n"), Seen(200, b": ping\n\n", End.OPEN)),
        ):
            told = {end: 1}
            yield _one(f"stalls {what}, {who}", said, HOLD, seen=seen, told=told, calls=(call,), limits=limits)
    stays = Seen(200, EVENT, End.OPEN)
    yield _one("answers and keeps the stream open", events(EVENT), HOLD, seen=stays, told=_OK)


def _streams() -> Iterator[Scenario]:
    """Events that are cut, odd, or not what was asked for."""
    half = EVENT[:40]
    yield _one("half an event, then a clean end", events(half), LAST, seen=Seen(200, half), told=_LOST)
    yield _one("half an event, then close", events(half, chunked=False), CLOSE, seen=Seen(200, half), told=_LOST)
    cut = Seen(200, half, End.BROKEN)
    yield _one("half an event, then a broken chunk", events(half), SEEN, CLOSE, seen=cut, told=_LOST)
    kept = Seen(200, EVENT, End.BROKEN)
    yield _one("an answer, then a broken stream", events(EVENT), SEEN, RESET, seen=kept, told=_OK)
    for name, body in (
        ("lines that end in CR LF", EVENT.replace(b"\n", b"\r\n")),
        ("lines that end in CR", EVENT.replace(b"\n", b"\r")),
        ("a byte order mark", b"\xef\xbb\xbf" + EVENT),
        ("comments, ids and retry", b": hi\nid: 7\nretry: 10\n\n" + EVENT),
        ("data on two lines", b"data: " + RESULT[:17] + b"\ndata: " + RESULT[17:] + b"\n\n"),
        ("an answer to somebody else first", EVENT.replace(b'"a"', b'"z"') + EVENT),
        ("a request of the server with the same id", EVENT.replace(b'"result":{', b'"method":"m","params":{') + EVENT),
        ("the same answer twice", EVENT + EVENT),
    ):
        whole = Seen(200, body)
        yield _one(f"a stream with {name}", events(body) + LAST, seen=whole, told=_OK)
    bad = b"data: {nonsense\n\n"
    yield _one(
        "a stream with an event that is no JSON", events(bad, EVENT) + LAST,
        seen=Seen(200, bad + EVENT), told=_OK, unreadable=1,
    )  # fmt: skip
    wrong = EVENT.replace(RESULT, error(-32602))
    yield _one("a stream with an error", events(wrong) + LAST, seen=Seen(200, wrong), told={"-32602": 1})


def _framings() -> Iterator[Scenario]:
    """Lengths and chunks that are wrong, or unusual."""
    short = headed(b"Content-Length: %d" % len(HALF), body=RESULT)
    yield _one("a length that is too small", short, HOLD, seen=Seen(200, HALF), told=_OTHER, unreadable=1)
    long = headed(b"Content-Length: %d" % (len(RESULT) + 1), body=RESULT)
    yield _one(
        "a length that is too large", long, SEEN, CLOSE,
        seen=Seen(200, RESULT, End.BROKEN), told=_LOST,
    )  # fmt: skip
    for name, line in (
        ("a length that is no number", b"Content-Length: many"),
        ("a negative length", b"Content-Length: -1"),
        ("two lengths", b"Content-Length: 5\r\nContent-Length: 6"),
        ("an unknown coding", b"Transfer-Encoding: chunked, secret"),
        ("a coding that nobody asked for", b"Transfer-Encoding: gzip, chunked"),
        ("another coding", b"Transfer-Encoding: identity"),
    ):
        said = headed(line, body=RESULT)
        yield _one(name, said, HOLD, seen=NO_ANSWER, told=_LOST, through=GATEWAYS)
    both = headed(b"Content-Length: 5", CHUNKED, body=chunk(RESULT) + LAST)
    yield _one("a length and chunks", both, seen=Seen(200, RESULT), told=_LOST, through=GATEWAYS)
    for name, garbage in (
        ("a chunk's size is no number", b"xyz\r\nabc\r\n"),
        ("a chunk's size is negative", b"-5\r\nabcde\r\n"),
        ("a chunk is longer than its size", b"2\r\nabcdef\r\n"),
        ("a chunk's size is beyond all bounds", b"f" * 30 + b"\r\nabc"),
    ):
        told = Seen(200, HALF + b"ab" if "longer" in name else HALF, End.BROKEN)
        said = headed(CHUNKED, body=chunk(HALF))
        yield _one(name, said, garbage, HOLD, seen=told, told=_LOST)
    fine = headed(CHUNKED, body=b"5;name=value\r\n%b\r\n%x\r\n%b\r\n" % (RESULT[:5], len(RESULT) - 5, RESULT[5:]))
    yield _one("chunks with extensions", fine + LAST, seen=Seen(200, RESULT), told=_OK)
    trailed = headed(CHUNKED, body=chunk(RESULT) + b"0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
    yield _one("trailers", trailed, seen=Seen(200, RESULT), told=_OK)
    yield _one("no body", answer(b""), seen=Seen(200), told=_OTHER)
    yield _one("no content", b"HTTP/1.1 204 No Content\r\n\r\n", seen=Seen(204), told=_OTHER)
    yield _one("accepted, for a request", answer(b"", b"202 Accepted"), seen=Seen(202), told=_OTHER)
    large = RESULT.replace(b"hello", b"x" * 2_000_000)
    yield _one("two megabytes", answer(large), seen=Seen(200, large), told=_OK, unreadable=1)
    marked = large.replace(b'"result":{', b'"result":{"isError":true,')
    yield _one("two megabytes of an error", answer(marked), seen=Seen(200, marked), told={"tool_error": 1})
    two = answer(RESULT)
    yield Scenario(
        "a second answer that nobody asked for",
        ((two + answer(b'{"jsonrpc":"2.0","id":"a","result":{"evil":1}}'),), (two,)),
        (Seen(200, RESULT), Seen(200, RESULT)), {"": 2}, calls=(CALL, CALL),
    )  # fmt: skip
    for word, end in (("closes", CLOSE), ("resets", RESET)):
        yield Scenario(
            f"{word} after a whole answer", ((two, SEEN, end), (two,)),
            (Seen(200, RESULT), Seen(200, RESULT)), {"": 2}, calls=(CALL, CALL),
        )  # fmt: skip


def _heads() -> Iterator[Scenario]:
    """Heads that are odd, large or no heads."""
    whole = Seen(200, RESULT)
    length = b"Content-Length: %d" % len(RESULT)
    for name, said in (
        ("no reason", b"HTTP/1.1 200\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n" + RESULT),
        ("an unusual reason", answer(RESULT, b"200 Fine Indeed")),
        ("a header twice", answer(RESULT, more=b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: 1\r\nx-odd: 2\r\n")),
        ("bytes beyond ASCII", answer(RESULT, more=b"X-Name: \xc3\xbc\xfc\r\nX-Empty:\r\nX-Tab: a\tb\r\n")),
        (
            "a header of one hop",
            answer(RESULT, more=b"Connection: X-Hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=9\r\n"),
        ),
        ("a head of 60 KB", answer(RESULT, more=b"X-Large: " + b"x" * 60_000 + b"\r\n")),
        ("a thousand headers", answer(RESULT, more=b"".join(b"X-%d: y\r\n" % n for n in range(1000)))),
        ("continue and early hints", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n" + answer(RESULT)),
        ("processing twice", b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + answer(RESULT)),
    ):
        yield _one(f"a head with {name}", said, seen=whole, told=_OK)
    too_large = answer(RESULT, more=b"X-Large: " + b"x" * 600_000 + b"\r\n")
    yield _one("a head of 600 KB", too_large, HOLD, seen=whole, told=_LOST, through=GATEWAYS)
    for name, said in (
        ("nonsense", b"\x00\x01\x02 nonsense\r\n\r\n"),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\r\n\r\n"),
        ("a status that is no number", b"HTTP/1.1 abc OK\r\n\r\n"),
        ("a header without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n"),
    ):
        yield _one(f"{name} for a head", said, HOLD, seen=NO_ANSWER, told=_LOST, through=GATEWAYS)


def _messages() -> Iterator[Scenario]:
    """Whole answers that say something wrong."""
    for status, told in (
        (b"500 Internal Server Error", "http_5xx"), (b"503 Service Unavailable", "http_5xx"),
        (b"502 Bad Gateway", "http_5xx"), (b"401 Unauthorized", "http_4xx"), (b"404 Not Found", "http_4xx"),
        (b"429 Too Many Requests", "http_4xx"), (b"307 Temporary Redirect", "other"),
    ):  # fmt: skip
        number = int(status.split()[0])
        more = b"Retry-After: 3\r\nWWW-Authenticate: Bearer\r\nLocation: /elsewhere\r\n"
        page = answer(PAGE, status, b"text/html", more)
        seen = Seen(number, PAGE)
        unreadable = int(number < 400)
        yield _one(f"a page with {number}", page, seen=seen, told={told: 1}, unreadable=unreadable)
    five = answer(error(-32603), b"500 Internal Server Error")
    yield _one("an error of JSON-RPC with 500", five, seen=Seen(500, error(-32603)), told={"-32603": 1})
    odd = answer(error(-31999), b"400 Bad Request")
    yield _one("an unknown code with 400", odd, seen=Seen(400, error(-31999)), told={"http_4xx": 1})
    for name, body, told, unreadable in (
        ("a failed tool", RESULT.replace(b"]}", b'],"isError":true}'), "tool_error", 0),
        ("garbage for JSON", b"{garbage", "other", 1),
        ("a page with 200", PAGE, "other", 1),
        ("JSON of no message", b'{"hello":"world"}', "other", 1),
        ("JSON after JSON", RESULT + RESULT, "other", 1),
        ("null", b"null", "other", 1),
        ("NUL bytes", b"\x00" * 40, "other", 1),
        ("an id of another type", called(b"1", RESULT), "other", 0),
        ("an answer to somebody else", called(b'"z"', RESULT), "other", 0),
        ("an answer without an id", RESULT.replace(b'"id":"a",', b""), "other", 0),
        ("an error that names nobody", error(-32700, b"null"), "other", 0),
        ("a result in a batch", batch(RESULT), "", 0),
        ("white space around it", b" \r\n\t" + RESULT + b"\n\n", "", 0),
        ("its id escaped", called(b'"\\u0061"', RESULT), "", 0),
    ):
        yield _one(f"an answer with {name}", answer(body), seen=Seen(200, body), told={told: 1}, unreadable=unreadable)
    yield _one("an answer nested too deep", answer(DEEP), seen=Seen(200, DEEP), told=_OTHER, unreadable=1)
    packed = gzip.compress(RESULT, mtime=0)
    coded = answer(packed, more=b"Content-Encoding: gzip\r\n")
    yield _one("a packed answer", coded, seen=Seen(200, packed), told=_OK)
    damaged = packed[:10] + b"\xff" * 20
    spoilt = answer(damaged, more=b"Content-Encoding: gzip\r\n")
    yield _one("a damaged packed answer", spoilt, seen=Seen(200, damaged), told=_OK, unreadable=1)
    torn = answer(packed[:-20], more=b"Content-Encoding: gzip\r\n")
    yield _one("a torn packed answer", torn, seen=Seen(200, packed[:-20]), told=_OTHER, unreadable=1)
    secret = answer(RESULT, more=b"Content-Encoding: zstd\r\n")
    yield _one("an answer packed in a way unknown", secret, seen=Seen(200, RESULT), told=_OK, unreadable=1)


def _identities() -> Iterator[Scenario]:
    """Ids of every kind, used once and again, alone and in batches."""
    for identity in (b"1", b'"1"', b"0", b"-7", b"1.5", b'""', b"123456789012345678901", '"ü"'.encode(), b'"a\\"b"'):
        call, result = called(identity), called(identity, RESULT)
        name = f"the id {identity.decode()}"
        yield _one(name, answer(result), seen=Seen(200, result), told=_OK, calls=(call,))
    both = batch(called(b"1"), called(b'"1"'))
    mixed = batch(called(b'"1"', RESULT), called(b"1", error(-32603)))
    yield _one(
        "a batch with the ids 1 and '1'", answer(mixed), seen=Seen(200, mixed),
        told={"": 1, "-32603": 1}, calls=(both,),
    )  # fmt: skip
    twice, answers = batch(CALL, CALL), batch(RESULT, RESULT)
    yield _one(
        "a batch that uses an id twice", answer(answers), seen=Seen(200, answers),
        told={"": 1, "other": 1}, calls=(twice,),
    )  # fmt: skip
    part = batch(called(b"1", RESULT))
    yield _one(
        "a batch that is answered in part", answer(part), seen=Seen(200, part),
        told={"": 1, "other": 1}, calls=(both,),
    )  # fmt: skip
    holes = batch(called(b"1", RESULT), b"7", b"{}", called(b'"1"', RESULT))
    yield _one(
        "a batch with items that are none", answer(holes), seen=Seen(200, holes),
        told={"": 2}, calls=(both,), unreadable=2,
    )  # fmt: skip
    empty = b"[]"
    yield _one("an empty batch", answer(empty), seen=Seen(200, empty), told=_OTHER)
    yield Scenario(
        "an id used again", ((answer(RESULT),), (answer(error(-32603)),)),
        (Seen(200, RESULT), Seen(200, error(-32603))), {"": 1, "-32603": 1}, calls=(CALL, CALL),
    )  # fmt: skip
    extra = json.dumps([json.loads(RESULT), json.loads(called(b'"z"', RESULT))]).encode()
    yield _one("an answer that nobody asked for", answer(extra), seen=Seen(200, extra), told=_OK)


def _encrypted() -> Iterator[Scenario]:
    """The same over TLS, where a close without a word can be told from an end."""
    whole = Seen(200, RESULT)
    yield _one("over TLS, a whole answer", answer(RESULT), seen=whole, told=_OK, tls=True)
    yield _one("over TLS, ends by close", headed(body=RESULT), CLOSE, seen=whole, told=_OK, tls=True)
    for word, end in (("closes", CLOSE), ("resets", RESET)):
        cut = headed(b"Content-Length: 100", body=HALF)
        broken = Seen(200, HALF, End.BROKEN)
        yield _one(
            f"over TLS, {word} within a body", cut, SEEN, end, seen=broken, told=_LOST, tls=True
        )  # fmt: skip
        yield _one(
            f"over TLS, {word} before a byte", end,
            seen=NO_ANSWER, told=_LOST, through=GATEWAYS, tls=True,
        )  # fmt: skip
    torn = Seen(200, RESULT, End.BROKEN)
    yield _one("over TLS, ends by reset", headed(body=RESULT), SEEN, RESET, seen=torn, told=_LOST, tls=True)
    stalled = Seen(200, HALF, End.OPEN)
    yield _one(
        "over TLS, stalls within a body", headed(b"Content-Length: 100", body=HALF), HOLD,
        seen=stalled, told={"cancelled": 1}, calls=(MODERN,), tls=True,
    )  # fmt: skip


SCENARIOS: Final = (
    *_endings(), *_stalls(), *_streams(), *_framings(), *_heads(), *_messages(), *_identities(), *_encrypted(),
)  # fmt: skip
