"""The page over HTTP as a browser without scripts uses it: sign in, read, decide, pause, act, sign out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import bcrypt
import pytest

from fleet.signals import SignalName
from receiver import charting
from receiver.logins import SENDER_FAILURES
from tests.receiver.page.documents import Document, problems
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import TOKEN, Client, World, alert, until, until_true, webhook

ERRORS = SignalName.ERROR_RATIO
ASKS = "[security.approval_workflows]\nauto_approve_read_only = false\n"


@dataclass
class Browser:
    """Keeps cookies, follows nothing by itself, sends forms as a browser does."""

    base: str
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answered: Mapping[str, str] = field(default_factory=dict)
    document: Document = field(default_factory=lambda: Document("<html></html>"))

    async def read(self, path: str, **headers: str) -> Document:
        return await self._send("GET", path, None, headers)

    async def send(self, path: str, form: dict[str, str], **headers: str) -> Document:
        """POST a form; the seal is the read document's, unless the form has one."""
        seals = self.document.all("input", name="csrf")
        sealed = ({"csrf": seals[0].get("value")} if seals else {}) | form
        return await self._send("POST", path, sealed, {"Origin": self.base} | headers)

    async def sign_in(self, secret: str = TOKEN, **form: str) -> None:
        await self.read("/login")
        await self.send("/login", {"secret": secret, "next": "/"} | form)

    async def _send(self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]) -> Document:
        given = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, f"{self.base}{path}", data=form, headers=given, allow_redirects=False
        ) as answer:
            self.status, self.answered = answer.status, answer.headers
            text = await answer.text()
        if answer.content_type == "text/html":
            self.document = Document(text)
            assert problems(self.document) == []
        return self.document

    @property
    def sent_to(self) -> str:
        return self.answered.get("Location", "")


@asynccontextmanager
async def browser(client: Client) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Browser(client.address.url, session)


async def waiting(world: World, client: Client) -> str:
    await client.post(webhook(alert("alpha", ERRORS, name="<b>Hostile</b>")))
    return str((await client.until_state("awaiting_approval"))["id"])


async def test_who_is_not_known_is_asked_to_sign_in(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.read("/incidents")
        assert (person.status, person.sent_to) == (303, "/login?next=/incidents")
        await person.read("/login?next=//evil.example")
        assert person.document.one("input", name="next").get("value") == "/"
        for path, form in (("/pause", {}), ("/servers/alpha/actions/restart", {"sure": "yes"})):
            await person.send(path, form)
            assert person.sent_to.startswith("/login"), path
        assert (await client.say("resume"))[1]["changed"] is False


async def test_a_token_is_swapped_for_a_cookie_that_scripts_cannot_read(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        assert (person.status, person.sent_to) == (303, "/")
        cookie = person.answered["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "Secure" not in cookie, "it is spoken to without TLS"
        assert TOKEN not in cookie
        await person.read("/")
        assert person.status == 200
        await person.send("/logout", {})
        await person.read("/")
        assert person.sent_to == "/login?next=/"


async def test_a_cookie_of_ours_holds_for_the_api_only_with_the_seal(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/")
        seal = person.document.all("input", name="csrf")[0].get("value")
        url = f"{person.base}/api/v1/pause"
        async with person.session.get(f"{person.base}/api/v1/incidents") as answer:
            assert answer.status == 200
        async with person.session.post(url, json={}) as answer:
            assert answer.status == 401
        async with person.session.post(url, json={}, headers={"X-CSRF-Token": seal}) as answer:
            assert answer.status == 200


async def test_a_user_signs_in_by_name_and_the_journal_keeps_it(world: World, start: Start) -> None:
    hashed = await asyncio.to_thread(bcrypt.hashpw, b"right", bcrypt.gensalt(4))
    (world.folder / "users").write_text(f"ada:{hashed.decode()}\n")
    world.beside = {"receiver": {"authentication": {"basic_auth_file": "users"}}}
    async with start() as client, browser(client) as person:
        await person.sign_in("wrong", name="ada")
        assert person.status == 401
        assert len(person.document.all("input", name="name")) == 1
        await person.sign_in("right", name="ada")
        assert person.sent_to == "/"
        await person.read("/")
        await person.send("/pause", {"server": ""})
        assert "by ada" in (await person.read("/")).text
        await person.send("/logout", {})
        await person.read("/", Authorization=f"Basic {base64.b64encode(b'ada:right').decode()}")
        assert person.status == 200, "a browser may send the login with each request just as well"


@pytest.mark.parametrize(("host", "secure"), [("receiver.example", True), ("127.0.0.1", False)])
async def test_a_cookie_is_secure_where_there_is_tls(world: World, start: Start, host: str, secure: bool) -> None:
    world.beside = {"receiver": {"url": "https://receiver.example"}}
    async with start() as client, browser(client) as person:
        await person.read("/login")
        await person.send("/login", {"secret": TOKEN}, Host=host, Origin=f"https://{host}")
        assert person.status == 303
        assert ("Secure" in person.answered["Set-Cookie"]) is secure


async def test_guesses_are_bounded(start: Start) -> None:
    async with start() as client, browser(client) as person:
        for _ in range(SENDER_FAILURES):
            await person.sign_in("wrong")
            assert person.status == 401
        await person.sign_in()
        assert person.status == 429
        assert "Set-Cookie" not in person.answered
        assert "Too many" in person.document.text
        assert (await client.get("/api/v1/incidents"))[0] == 200, "who has the token elsewhere is not locked out"


async def test_every_document_says_what_may_run(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        for path in ("/", "/incidents", "/incidents/none", "/quarantine", "/login", "/static/page.js"):
            await person.read(path)
            policy = person.answered["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "unsafe" not in policy
            assert person.answered["X-Frame-Options"] == "DENY"
            assert person.answered["X-Content-Type-Options"] == "nosniff"
            assert person.answered["Referrer-Policy"] == "same-origin"
            assert person.answered["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


async def test_a_person_reads_and_approves(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client, browser(client) as person:
        incident = await waiting(world, client)
        await person.sign_in()
        await person.read("/")
        assert "1 treatment waits for your word" in person.document.one("h1").text
        assert "<b>Hostile</b>" in person.document.text
        await person.send(f"/incidents/{incident}/approve", {"told": "reset_cache", "next": "/"})
        assert person.sent_to == "/?said=gone", "it is not what the person saw"
        assert world.gateways["alpha"].restarts == []
        await person.read(f"/incidents/{incident}")
        await person.send(f"/incidents/{incident}/approve", {"told": "restart", "next": f"/incidents/{incident}"})
        assert person.sent_to == f"/incidents/{incident}?said=approved"
        await person.read(person.sent_to)
        assert "Approved" in person.document.one("div", id="notice").text
        await person.send(f"/incidents/{incident}/approve", {"told": "restart"})
        assert person.sent_to == "/?said=gone"
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)
        assert "bearer let it go" in (await person.read(f"/incidents/{incident}")).text


async def test_a_person_denies(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client, browser(client) as person:
        incident = await waiting(world, client)
        await person.sign_in()
        await person.read("/")
        await person.send(f"/incidents/{incident}/deny", {"told": "restart"})
        assert person.sent_to == "/?said=denied"
        assert world.gateways["alpha"].restarts == []


@pytest.mark.parametrize("server", ["", "alpha"])
async def test_a_person_pauses_and_resumes(start: Start, server: str) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/")
        for path, said in (("pause", "paused"), ("pause", "unchanged"), ("resume", "resumed"), ("resume", "unchanged")):
            await person.send(f"/{path}", {"server": server})
            assert person.sent_to == f"/?said={said}"
            await person.read("/")


async def test_an_act_by_hand_that_costs_is_asked_for_twice(world: World, start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/")
        await person.send("/servers/alpha/actions/restart", {})
        assert person.status == 400
        assert "twice" in person.document.text
        await person.read("/")
        await person.send("/servers/alpha/actions/restart", {"sure": "yes"})
        assert person.sent_to == "/?said=asked"
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)
        assert await client.metric("mcp_remediation_manual_actions_total") == 1
        for path in ("/servers/nobody/actions/restart", "/servers/alpha/actions/format"):
            await person.read("/")
            await person.send(path, {"sure": "yes"})
            assert person.status == 400


async def test_a_guards_refusal_is_said(world: World, start: Start) -> None:
    world.limits["actions"] = {"count": 1, "per_seconds": 3600}
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/")
        await person.send("/servers/alpha/actions/restart", {"sure": "yes"})
        assert person.sent_to == "/?said=asked"
        await person.send("/servers/alpha/actions/restart", {"sure": "yes"})
        assert person.sent_to.startswith("/?said=refused-")
        await person.read(person.sent_to)
        assert "Refused" in person.document.one("div", id="notice").text


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ({"csrf": "0" * 64}, {}, 403),
        ({"csrf": ""}, {}, 403),
        ({}, {"Origin": "http://evil.example"}, 403),
        ({}, {"Origin": "null"}, 403),
        ({}, {"Content_Type": "text/plain"}, 415),
        ({}, {"Host": "evil.example"}, 421),
        ({"server": "nobody"}, {}, 400),
        ({"x": "y" * 20000}, {}, 400),
        ({str(number): "" for number in range(30)}, {}, 400),
    ],
)
@pytest.mark.parametrize("tokens", [True, False])
async def test_a_form_that_is_not_ours_changes_nothing(
    world: World, start: Start, tokens: bool, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    world.tokens = tokens
    async with start() as client, browser(client) as person:
        if tokens:
            await person.sign_in()
        await person.read("/")
        await person.send("/pause", form, **headers)
        assert person.status == status
        assert (await client.say("resume"))[1]["changed"] is False


async def test_on_loopback_without_authentication_nobody_signs_in(world: World, start: Start) -> None:
    world.tokens = False
    async with start() as client, browser(client) as person:
        await person.read("/")
        assert person.status == 200
        assert not [each for each in person.document.all("form") if each.get("action") == "/logout"]
        await person.send("/pause", {"server": ""})
        assert person.sent_to == "/?said=paused"
        assert "by loopback" in (await person.read("/")).text
        await person.read("/login")
        assert person.sent_to == "/"


async def test_a_notice_is_one_of_ours_or_none(start: Start, world: World) -> None:
    world.tokens = False
    async with start() as client, browser(client) as person:
        document = await person.read("/?said=%3Cscript%3Eyou+won%3C/script%3E")
        assert document.one("div", id="notice").text.strip() == ""


async def test_incidents_are_filtered(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client, browser(client) as person:
        incident = await waiting(world, client)
        await person.sign_in()
        for query, shown in (("", 1), ("?server=alpha&state=", 1), ("?server=beta", 0), ("?state=closed", 0)):
            document = await person.read(f"/incidents{query}")
            assert len([each for each in document.all("a") if each.get("href") == f"/incidents/{incident}"]) == shown
        document = await person.read("/incidents?server=nobody")
        assert "no such server" in document.one("div", id="notice").text


async def test_a_chart_or_why_there_is_none(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client, browser(client) as person:
        incident = await waiting(world, client)
        await person.sign_in()
        document = await person.read(f"/incidents/{incident}")
        (chart,) = document.all("figure", class_="chart")
        assert document.all("path", class_="line"), chart.text
        world.prometheus.broken = True

        async def without() -> bool:
            read = await person.read(f"/incidents/{incident}")
            return "stopping" in read.one("figure").text and person.status == 200

        await until(without)


async def test_a_prometheus_that_hangs_holds_a_page_up_once(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charting, "CHART_SECONDS", 0.2)
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client, browser(client) as person:
        incident = await waiting(world, client)
        await person.sign_in()
        world.prometheus.hold = asyncio.Event()
        for _ in range(3):
            document = await person.read(f"/incidents/{incident}")
            assert "Prometheus cannot be reached" in document.one("figure").text
        asked = world.prometheus.asked_ranges
        world.prometheus.hold.set()
    assert asked == 1


async def test_what_was_put_aside_is_shown_as_text(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await client.post(b'{"version": "<script>alert(1)</script>')
        await person.sign_in()
        document = await person.read("/quarantine")
        assert "<script>alert(1)</script>" in document.one("pre").text


async def test_static_files_are_kept_by_their_tag(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.read("/static/page.css")
        assert person.status == 200
        assert person.answered["Content-Type"] == "text/css; charset=utf-8"
        await person.read("/static/page.css", If_None_Match=person.answered["ETag"])
        assert person.status == 304
        for name in ("..%2Fpages.py", "%2e%2e/words.py", "nothing.css"):
            await person.read(f"/static/{name}")
            assert person.status == 404


async def test_an_incident_that_is_unknown_is_said_to_be(start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/incidents/%3Cscript%3E")
        assert person.status == 404
        assert "No such incident" in person.document.one("h1").text


async def test_other_credentials_end_every_session(world: World, start: Start) -> None:
    async with start() as client, browser(client) as person:
        await person.sign_in()
        await person.read("/")
        assert person.status == 200
        await asyncio.to_thread((world.folder / "token").write_text, "another-token\n")

        async def out() -> bool:
            await person.read("/")
            return person.status == 303

        await until(out)
        assert urlsplit(person.sent_to).path == "/login"
