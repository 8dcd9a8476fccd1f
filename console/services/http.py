"""One request, bounded in time and size, as JSON; every failure is one sentence that names service and address."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from console.services.credentials import CA_FILE, CERT_FILE
from fleet.errors import PermanentError, UnreachableError

if TYPE_CHECKING:
    from fleet.errors import MedicError

ASK_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """``status``, and the body as JSON where it was JSON, else as text."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Service:
    """Who is asked: its ``name`` as people say it, its base ``url`` without a trailing slash.

    ``remedy`` says what to do where it refuses who asks (401, 403). ``closed`` is why it cannot be asked at all, such
    as a token file that nobody can read: it matters only to a command that asks this service.
    """

    session: aiohttp.ClientSession
    name: str
    url: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | bool = True
    remedy: str = ""
    closed: MedicError | None = None

    async def ask(
        self, method: str, path: str, *, form: Mapping[str, str] | None = None, json: object = None,
        params: Mapping[str, str] | None = None, within: float = ASK_SECONDS,
    ) -> Answer:  # fmt: skip
        """Send one request.

        Raises:
            UnreachableError: no connection, no trust in its certificate, or no whole answer within ``within`` seconds.
            PermanentError: the answer is too large.
            MedicError: it is ``closed``.
        """
        if self.closed is not None:
            raise self.closed
        timeout = aiohttp.ClientTimeout(total=within)
        try:
            async with self.session.request(
                method, f"{self.url}{path}", data=form, json=json, params=params, headers=self.headers,
                timeout=timeout, allow_redirects=False, ssl=self.tls,
            ) as answer:  # fmt: skip
                return Answer(answer.status, _read(await self._body(answer)))
        except TimeoutError as error:
            raise UnreachableError(f"{self.name} at {self.url} did not answer within {within:g} s") from error
        except aiohttp.ClientSSLError as error:
            whom = f"; name whom to believe in {CA_FILE}" if self.remedy else ""
            raise UnreachableError(f"{self.name} at {self.url} is not trusted: {error}{whom}") from error
        except (aiohttp.ClientError, OSError) as error:
            why = f"{in_words(error)}{self._hint(error)}"
            raise UnreachableError(f"{self.name} at {self.url} cannot be reached: {why}") from error

    async def fetch(self, path: str, *, form: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None,
                    within: float = ASK_SECONDS) -> Any:  # fmt: skip
        """The JSON of an answer that has to be 200; a form is posted.

        Raises:
            UnreachableError: as ``ask``, or it answered that it is not ready (502, 503, 504).
            PermanentError: it refused; carries what it said.
        """
        answer = await self.ask("GET" if form is None else "POST", path, form=form, params=params, within=within)
        if answer.status in {502, 503, 504}:
            raise UnreachableError(f"{self.name} at {self.url} is not ready: {self.said(answer)}")
        if answer.status != 200 or isinstance(answer.body, str):
            raise PermanentError(f"{self.name} at {self.url} refused {path}: {self.refusal(answer)}")
        return answer.body

    def refusal(self, answer: Answer) -> str:
        """What a refusal says, and what to do about it where it is about who asks."""
        said = self.said(answer)
        return f"{said}; {self.remedy}" if self.remedy and answer.status in {401, 403} else said

    def _hint(self, error: Exception) -> str:
        """A server that misses the client's certificate hangs up, and TLS 1.3 tells nobody why."""
        hung_up = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
        connected = not isinstance(error, aiohttp.ClientConnectorError)
        asks = hung_up and connected and self.remedy and self.url.startswith("https:")
        return f"; if it asks for a certificate, name one in {CERT_FILE}" if asks else ""

    @staticmethod
    def said(answer: Answer) -> str:
        """What an answer says in one line: its ``error``, else its text, with its status."""
        body = answer.body
        text = body.get("error") if isinstance(body, dict) else body if isinstance(body, str) else None
        shown = " ".join(str(text or "no reason given").split())[:_SHOWN]
        return f"{shown} ({answer.status})"

    @contextmanager
    def taken_apart(self, path: str) -> Iterator[None]:
        """Around what reads an answer: an answer of another form than this API's is an error of whoever answered.

        Raises:
            PermanentError: in place of the KeyError and the like that reading it caused.
        """
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise PermanentError(
                f"{self.name} at {self.url} answered {path} with something else than its API's"
            ) from error

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(65536):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise PermanentError(f"{self.name} at {self.url} answered with more than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)


def in_words(error: aiohttp.ClientError | OSError) -> str:
    """The system's own words where it has some: the library's repeat the address that is named already."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    # OpenSSL's errors are OSErrors too, with numbers of their own.
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) else None
    said = os.strerror(number) if number is not None and number > 0 else ""
    return said or str(error) or type(error).__name__


def _read(body: bytes) -> object:
    try:
        decoded: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    return decoded
