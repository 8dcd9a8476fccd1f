"""What every route for people has in common: who asks is known first, and a body that is not understood is a 400."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiohttp import web

from fleet.doors import Refusal
from receiver.answers import READ_SECONDS, answer, body_of, refused
from receiver.journal.store import JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from receiver.authentication import Authentication

Body = TypeVar("Body")


class WrongBodyError(ValueError):
    """Nothing that is understood here; the message says what to send."""


class NotFoundError(LookupError):
    """Nothing of that name; the message says what there is."""


def behind_door(
    authentication: Authentication, handle: Callable[[web.Request, str], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """``handle(request, by)`` for who may come in; ``by`` is the name that the journal keeps."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await authentication.who(request)
        if isinstance(caller, Refusal):
            return refused(caller)
        try:
            return await handle(request, caller.name)
        except WrongBodyError as error:
            return answer(400, {"error": str(error)})
        except NotFoundError as error:
            return answer(404, {"error": str(error)})
        except (TimeoutError, web.RequestPayloadError):
            return answer(400, {"error": f"the body did not arrive whole within {READ_SECONDS:g} s"})
        except JournalUnavailable as error:
            return answer(503, {"error": str(error)})

    return guarded


async def read_body(request: web.Request, kind: type[Body], what: str) -> Body:
    """The body as ``kind``; none at all counts as {}.

    Raises:
        WrongBodyError: it is something else: ``what`` says what to send.
    """
    body = await body_of(request)
    try:
        # What is too large to be read is no wish either, and must not count as an empty one.
        return msgspec.json.decode(b"" if body is None else body.strip() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f" ({error})" if isinstance(error, msgspec.ValidationError) else ""
        raise WrongBodyError(f"send {what}{said}") from error


async def no_body(request: web.Request) -> None:
    """Nothing is to be told here.

    Raises:
        WrongBodyError: something was.
    """
    body = await body_of(request)
    if body is None or body.strip() not in {b"", b"{}"}:
        raise WrongBodyError("send no body, or {}")
