"""What goes to the client: the head of the server's answer as it came, and the gateway's own answers."""

from __future__ import annotations

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway import refusals
from gateway.answers import EVENTS, Answer
from gateway.headers import end_to_end
from gateway.steering import Refusal


class FaithfulResponse(web.StreamResponse):
    """The head of the server's answer, without what aiohttp would add to it."""

    def __init__(self, upstream: aiohttp.ClientResponse) -> None:
        headers = CIMultiDict(end_to_end(upstream.raw_headers))
        super().__init__(status=upstream.status, reason=upstream.reason, headers=headers)

    async def _prepare_headers(self) -> None:
        given = frozenset(name.lower() for name in self.headers)
        await super()._prepare_headers()
        for name in ("Date", "Server", "Content-Type"):
            if name.lower() not in given:
                self.headers.popall(name, None)


def stored_answer(answer: Answer) -> web.Response:
    """An answer from the cache."""
    return web.Response(headers=CIMultiDict(answer.headers), body=answer.body)


def refusal_answer(request_id: bytes, refusal: Refusal) -> web.Response:
    """A refusal: 503, and when to come again."""
    answer = own_answer(503, request_id, refusal.code, refusal.message)
    answer.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after)
    return answer


def own_answer(status: int, request_id: bytes, code: refusals.Code, message: str) -> web.Response:
    """A JSON-RPC error of the gateway's own."""
    body = refusals.jsonrpc_error(request_id, code, message)
    return web.Response(status=status, body=body, content_type="application/json")


def between_events(response: web.StreamResponse, sent: bytes) -> bool:
    """Whether an event may be added to this answer, of which ``sent`` went last."""
    plain = response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity"
    return plain and response.content_type == EVENTS and sent.endswith((b"\n\n", b"\n\r\n", b"\r\r"))
