"""Where the page's forms go: sign in and out, a word on an act that waits, a pause, an act by hand.

Each form carries a seal, so that no other site's page can send it, also where nobody has to sign in. After a form the
browser is sent back to read, with the name of a notice; a second click finds nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from fleet.doors import Refusal
from fleet.inventory import ServerName
from receiver.answers import READ_SECONDS, body_of
from receiver.by_hand import Wish
from receiver.journal.store import JournalUnavailable
from receiver.page.hands import WARNED
from receiver.page.notices import Notice, refused
from receiver.page.words import Tone
from receiver.pages import FORM, own_path, to
from receiver.vocabulary import ByHand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fleet.inventory import Server
    from receiver.authentication import Authentication, Caller
    from receiver.browsers import Browsers
    from receiver.pages import Pages
    from receiver.persons import Persons

MAX_FORM_BYTES: Final = 16384
MAX_FIELDS: Final = 20

Form = dict[str, str]


class _WrongFormError(ValueError):
    """Nothing that one of our forms sends; the message says why."""


class Desk:
    """The routes that forms are sent to."""

    def __init__(
        self,
        authentication: Authentication,
        browsers: Browsers,
        pages: Pages,
        persons: Persons,
        servers: Mapping[ServerName, Server],
    ) -> None:
        self._authentication = authentication
        self._browsers = browsers
        self._pages = pages
        self._persons = persons
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        """Every form's address."""
        return [
            web.get("/login", self.login),
            web.post("/login", self.sign_in),
            web.post("/logout", self._sealed(self.sign_out)),
            web.post("/incidents/{incident}/approve", self._sealed(self.approve)),
            web.post("/incidents/{incident}/deny", self._sealed(self.deny)),
            web.post("/pause", self._sealed(self.pause)),
            web.post("/resume", self._sealed(self.resume)),
            web.post("/servers/{server}/actions/{action}", self._sealed(self.act)),
        ]

    async def login(self, request: web.Request) -> web.Response:
        """GET /login: the form that swaps a token or a password for a cookie."""
        caller = await self._authentication.who(request)
        if not isinstance(caller, Refusal):
            return to(own_path(request.query.get("next", "/")))
        if caller.status != 401 or not self._authentication.asks_for_login:
            return await self._refused(request, caller)
        return await self._asking(request, own_path(request.query.get("next", "/")))

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /login: a cookie for who is right."""
        caller = await self._authentication.who(request, FORM)
        if isinstance(caller, Refusal) and (caller.status != 401 or not self._authentication.asks_for_login):
            return await self._refused(request, caller)
        try:
            form = await _form(request)
        except _WrongFormError as error:
            return await self._refused(request, Refusal(400, str(error)))
        path = own_path(form.get("next", "/"))
        if not isinstance(caller, Refusal):
            return to(path)
        if not self._browsers.is_ours(request, None, form.get("csrf", "")):
            return await self._asking(request, path, 403, Notice("This form is too old. Try once more.", Tone.WARN))
        found = await self._browsers.sign_in(request.remote or "", form.get("name", ""), form.get("secret", ""))
        if isinstance(found, Refusal):
            return await self._asking(request, path, found.status, Notice(found.reason, Tone.ILL))
        response = to(path)
        self._browsers.begin(request, response, found)
        return response

    async def sign_out(self, request: web.Request, _caller: Caller, _form: Form) -> web.Response:
        """POST /logout: the cookie is worth nothing any more."""
        response = to("/login")
        self._browsers.end(request, response)
        return response

    async def approve(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """POST /incidents/ID/approve: let the rung go that the person saw."""
        return await self._decided(request, caller, form, approved=True)

    async def deny(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """POST /incidents/ID/deny: leave it out."""
        return await self._decided(request, caller, form, approved=False)

    async def pause(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """POST /pause: stop automation on a server, or on the fleet."""
        changed = await self._persons.pause(self._chosen(form), caller.name)
        return _back(form, "paused" if changed else "unchanged")

    async def resume(self, _request: web.Request, caller: Caller, form: Form) -> web.Response:
        """POST /resume: let it go on."""
        changed = await self._persons.resume(self._chosen(form), caller.name)
        return _back(form, "resumed" if changed else "unchanged")

    async def act(self, request: web.Request, caller: Caller, form: Form) -> web.Response:
        """POST /servers/NAME/actions/ACTION: an act by hand."""
        server = self._servers.get(ServerName(request.match_info["server"]))
        action = request.match_info["action"]
        if server is None or action not in set(ByHand):
            raise _WrongFormError("There is no such server, or no such act.")
        if action in WARNED and form.get("sure") != "yes":
            raise _WrongFormError("This act is asked for twice: tick the box beside it.")
        _incident, refusal = await self._persons.ask(server, Wish(ByHand(action)), caller.name)
        return _back(form, "asked" if refusal is None else refused(refusal.reason))

    async def _decided(self, request: web.Request, caller: Caller, form: Form, *, approved: bool) -> web.Response:
        told = await self._persons.decide(
            request.match_info["incident"], approved=approved, by=caller.name, told=form.get("told", "")
        )
        return _back(form, "gone" if told is None else "approved" if approved else "denied")

    def _chosen(self, form: Form) -> ServerName | None:
        name = ServerName(form.get("server", ""))
        if name and name not in self._servers:
            raise _WrongFormError("fleet.yml names no such server.")
        return name or None

    def _sealed(
        self, handle: Callable[[web.Request, Caller, Form], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def opened(request: web.Request, caller: Caller) -> web.Response:
            page = self._pages.page(request, caller, "")
            try:
                form = await _form(request)
                if not self._browsers.is_ours(request, caller, form.get("csrf", "")):
                    text = "This form was not made for you, or before the receiver began. Read the page again."
                    return await self._pages.trouble(page, 403, "Nothing was done", text)
                return await handle(request, caller, form)
            except _WrongFormError as error:
                return await self._pages.trouble(page, 400, "Nothing was done", str(error))
            except JournalUnavailable as error:
                return await self._pages.trouble(page, 503, "Nothing was done", str(error))

        return self._pages.behind_door(opened)

    async def _asking(
        self, request: web.Request, path: str, status: int = 200, notice: Notice | None = None
    ) -> web.Response:
        page = self._pages.page(request, None, "", notice)
        with_users = self._authentication.has_users
        return await self._pages.document("login", page, status, next=path, with_users=with_users)

    async def _refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        page = self._pages.page(request, None, "")
        return await self._pages.trouble(page, refusal.status, "This cannot be done", refusal.reason)


async def _form(request: web.Request) -> Form:
    if (request.content_length or 0) > MAX_FORM_BYTES:
        raise _WrongFormError("The form is too large.")
    try:
        body = await body_of(request)
    except (TimeoutError, web.RequestPayloadError) as error:
        raise _WrongFormError(f"The form did not arrive whole within {READ_SECONDS:g} s.") from error
    if body is None or len(body) > MAX_FORM_BYTES:
        raise _WrongFormError("The form is too large.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise _WrongFormError("This is no form of ours.") from error


def _back(form: Form, said: str) -> web.Response:
    return to(f"{own_path(form.get('next', '/'))}?said={said}")
