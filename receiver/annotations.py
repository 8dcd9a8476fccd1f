"""Writes what was done into Grafana's own annotations, so that it stands on every dashboard, also beside other data.

Nobody waits for it: what cannot be written is left out and said once. It is not tried again, because Grafana would
show what it had taken already a second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from html import escape
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from fleet.errors import ConfigError
from fleet.tokens import read_token
from receiver.events import ActEnded, Closed, VerdictGiven
from receiver.page import words
from receiver.vocabulary import TREATMENTS, Verdict

if TYPE_CHECKING:
    from fleet.inventory import GrafanaSettings
    from receiver.chronicle import Chronicle
    from receiver.events import ActId, Entry
    from receiver.incident import ActRecord

log = logging.getLogger(__name__)

TAG: Final = "mcp-medic"
POST_SECONDS: Final = 5.0
MAX_WAITING: Final = 200
"""Annotations that wait; beyond that the oldest is left out."""

TOKEN_KEY: Final = "grafana.token_file"  # noqa: S105 - the name of a key


class Annotations:
    """Tells Grafana of treatments, verdicts and ends. ``url`` is how the page is reached."""

    def __init__(
        self, settings: GrafanaSettings, session: aiohttp.ClientSession, chronicle: Chronicle, url: str
    ) -> None:
        self._settings = settings
        self._session = session
        self._chronicle = chronicle
        self._url = url
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()
        self._trouble = ""
        self._said: dict[str, tuple[ActId, Verdict]] = {}
        chronicle.subscribe(self._tell)

    async def run(self) -> None:
        """Write what waits, for ever. A token that is not there is said now, and not at night."""
        try:
            await self._token()
        except ConfigError as error:
            self._note(str(error))
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._note(await self._write(self._waiting.popleft()))

    def _note(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("Grafana takes no annotations; treatment goes on without", extra={"reason": trouble})
        elif self._trouble and not trouble:
            log.info("Grafana takes annotations again")
        self._trouble = trouble

    async def _token(self) -> str:
        # Read each time: a token that was replaced holds at once.
        return await asyncio.to_thread(read_token, self._settings.token_file, TOKEN_KEY)

    def _tell(self, entry: Entry, _servers: tuple[str, ...]) -> None:
        event = entry.event
        if not isinstance(event, ActEnded | VerdictGiven | Closed) or self._was_said(event):
            return
        incident = self._chronicle.book.find(event.incident)
        acts = () if incident is None else incident.acts
        found = annotation(entry, acts, self._url)
        if found is not None:
            self._waiting.append(found)
            self._wake.set()

    def _was_said(self, event: ActEnded | VerdictGiven | Closed) -> bool:
        """Whether it is the verdict that was told of this act last: an open incident is measured again and again."""
        if not isinstance(event, VerdictGiven) or not event.final:
            return False
        before, self._said[event.server] = self._said.get(event.server), (event.act, event.verdict)
        return before == (event.act, event.verdict)

    async def _write(self, body: dict[str, Any]) -> str:
        """Why Grafana did not take it, "" when it did."""
        try:
            token = await self._token()
            async with self._session.post(
                f"{self._settings.url}/api/annotations",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=POST_SECONDS),
                allow_redirects=False,
            ) as answer:
                return "" if answer.status == 200 else f"{self._settings.url} answered {answer.status}"
        except ConfigError as error:
            return str(error)
        except TimeoutError:
            return f"{self._settings.url} did not answer within {POST_SECONDS:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{self._settings.url} cannot be reached: {error}"


def annotation(entry: Entry, acts: tuple[ActRecord, ...], url: str) -> dict[str, Any] | None:
    """What Grafana is to show of ``entry``, as the body of ``POST /api/annotations``; None for nothing.

    ``acts`` are those of the entry's incident. Times are milliseconds, and the text is HTML.
    """
    event, at = entry.event, round(entry.at * 1000)
    if isinstance(event, ActEnded) and event.action in TREATMENTS:
        act = _find(acts, event.act)
        outcome, _ = words.word(words.OUTCOMES, event.outcome)
        text = f"{words.rung(event.told or event.action)}: {outcome}"
        began = at if act is None else round(act.intended_at * 1000)
        ended = max(began, at if act is None or act.ended_at is None else round(act.ended_at * 1000))
        body = _body(began, text, event, event.action, url)
        return {**body, "timeEnd": ended}
    if isinstance(event, VerdictGiven) and event.final and event.verdict is not Verdict.INCONCLUSIVE:
        act = _find(acts, event.act)
        told = words.rung(event.action if act is None else act.rung)
        text = f"{told}: {words.word(words.VERDICTS, event.verdict)[0]}"
        return _body(at, text, event, event.action, url)
    if isinstance(event, Closed):
        text = f"Closed: {words.word(words.CLOSINGS, event.reason)[0]}"
        return _body(at, text, event, "closed", url)
    return None


def _find(acts: tuple[ActRecord, ...], act: ActId) -> ActRecord | None:
    return next((each for each in acts if each.act == act), None)


def _body(at: int, text: str, event: ActEnded | VerdictGiven | Closed, action: str, url: str) -> dict[str, Any]:
    link = f'<a href="{escape(url)}/incidents/{escape(event.incident)}">{escape(event.incident)}</a>'
    said = f"{escape(event.server)}: {escape(text)} ({link})"
    return {"time": at, "tags": [TAG, event.server, action], "text": said}
