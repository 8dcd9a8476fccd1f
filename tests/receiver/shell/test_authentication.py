"""Who asks: tokens, users, certificates, by real connections, and changed while the receiver runs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import bcrypt
import pytest
import trustme
from aiohttp import encode_basic_auth
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.doors import Door, Refusal
from fleet.errors import ConfigError
from fleet.inventory import Address
from fleet.password_files import RESERVED
from fleet.passwords import Passwords
from fleet.tasks import Tasks
from fleet.web_protection import Protection
from receiver.app import Running, running
from receiver.appointments import ITSELF
from receiver.authentication import BEARER as BEARER_NAME
from receiver.authentication import MAX_NAME, Authentication, Caller, Way, certificate_of
from receiver.credentials import Credentials
from receiver.events import LOOPBACK
from receiver.settings import read_settings
from stack.processes import Processes
from tests.receiver.shell.recorded import Alertmanager, posted, start_alertmanager
from tests.receiver.shell.world import TOKEN, World, alert, until, webhook

HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
OTHER_HASH = bcrypt.hashpw(b"barley", bcrypt.gensalt(4)).decode()
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
MUTUAL = f"{TLS}, client_ca_file: ca.pem, client_auth_type: "
USERS = f"\nbasic_auth_users: {{carol: {OTHER_HASH}}}"
READING = "/api/v1/incidents"


def login(user: str, password: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth(user, password)}


ALICE, CAROL = login("alice", "sesame"), login("carol", "barley")


def _basic(content: bytes) -> str:
    return f"Basic {base64.b64encode(content).decode()}"


@asynccontextmanager
async def receiver(world: World, *, tokens: int = 0, users: str = "", web: str = "") -> AsyncIterator[Running]:
    """A receiver with ``tokens`` token files (TOKEN, TOKEN1, ...), a file of users and a web configuration."""
    world.tokens = False
    folder = world.folder
    for number in range(tokens):
        (folder / f"token{number}").write_text(f"{TOKEN}{number or ''}\n")
    (folder / "users").write_text(users)
    (folder / "web.yml").write_text(web)
    own = world.settings()
    known = replace(
        own.fleet.receiver,
        bearer_token_files=tuple(folder / f"token{number}" for number in range(tokens)),
        basic_auth_file=folder / "users" if users else None,
    )
    fleet = replace(own.fleet, receiver=known)
    async with running(replace(own, fleet=fleet, web_config_file=folder / "web.yml" if web else None)) as started:
        yield started


async def ask(
    to: Running, path: str = READING, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> tuple[int, str]:
    """The status of a GET over a connection of its own, and what it says of who must be known."""
    scheme = "http" if tls is None else "https"
    url = f"{scheme}://{to.address}{path}"
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers, ssl=tls or True) as answer:
        await answer.read()
        return answer.status, answer.headers.get("WWW-Authenticate", "")


async def say(
    to: Running,
    path: str,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    body: bytes = b"{}",
) -> tuple[int, Any]:
    scheme = "http" if tls is None else "https"
    given = {"Content-Type": "application/json", **(headers or {})}
    url = f"{scheme}://{to.address}{path}"
    async with aiohttp.ClientSession() as client, client.post(url, data=body, headers=given, ssl=tls or True) as answer:
        return answer.status, json.loads(await answer.read())


async def webhooks_of(to: Running, tls: ssl.SSLContext) -> dict[str, float]:
    """What became of webhooks so far, without what never happened."""
    async with aiohttp.ClientSession() as client, client.get(f"https://{to.address}/metrics", ssl=tls) as answer:
        text = await answer.text()
    found = re.findall(r'^mcp_remediation_webhooks_total\{result="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {result: float(value) for result, value in found if float(value)}


def paused_by(to: Running) -> str:
    return to.chronicle.book.ledger().paused[""].by


@pytest.fixture
def authority(world: World) -> trustme.CA:
    """Signs server.pem, which lies with its key and ca.pem beside fleet.yml."""
    signer = trustme.CA()
    own = signer.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(world.folder / "server.key")
    own.cert_chain_pems[0].write_to_path(world.folder / "server.pem")
    signer.cert_pem.write_to_path(world.folder / "ca.pem")
    return signer


def trusting(authority: trustme.CA, client: str = "", common: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client:
        authority.issue_cert(client, common_name=common).configure_cert(context)
    return context


async def test_any_of_the_tokens_and_any_user_is_known_and_named(world: World) -> None:
    async with receiver(world, tokens=2, users=f"alice:{HASH}\n") as to:
        for headers, name in ((BEARER, "bearer"), ({"Authorization": f"bearer  {TOKEN}1"}, "bearer"), (ALICE, "alice")):
            assert (await ask(to, headers=headers))[0] == 200
            assert (await say(to, "/api/v1/pause", headers))[0] == 200
            assert paused_by(to) == name
            assert (await say(to, "/api/v1/resume", headers))[0] == 200
        wrong: tuple[dict[str, str], ...] = (
            {},
            {"Authorization": f"Bearer {TOKEN}2"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Digest {TOKEN}"},
            {"Authorization": "Basic %%%"},
            login("alice", "guess"),
            login("bob", "sesame"),
            login("alice", TOKEN),
            login("", ""),
        )
        for headers in wrong:
            status, challenge = await ask(to, headers=headers)
            assert (status, challenge) == (401, 'Bearer, Basic realm="mcp-receiver", charset="UTF-8"'), headers
            assert (await say(to, "/api/v1/pause", headers))[0] == 401
        for path in ("/metrics", "/-/healthy", "/-/ready"):
            assert (await ask(to, path))[0] == 200


async def test_a_webhook_by_a_user(world: World) -> None:
    async with receiver(world, users=f"alice:{HASH}\n") as to:
        body = webhook(alert("alpha", "error_ratio", severity="warning"))
        assert (await ask(to, headers=BEARER))[1].startswith("Basic ")
        assert (await say(to, "/api/v1/alerts", BEARER, body=body))[0] == 401
        assert await say(to, "/api/v1/alerts", ALICE, body=body) == (200, {"result": "accepted"})


async def test_tokens_are_rotated_without_a_restart_and_a_bad_file_changes_nothing(world: World) -> None:
    async with receiver(world, tokens=1, users=f"alice:{HASH}\n") as to:
        (world.folder / "next").write_text("another-token\n")
        (world.folder / "next").replace(world.folder / "token0")

        async def other_holds() -> bool:
            return (await ask(to, headers={"Authorization": "Bearer another-token"}))[0] == 200

        await until(other_holds)
        assert (await ask(to, headers=BEARER))[0] == 401
        (world.folder / "token0").write_text("")
        (world.folder / "users").write_text(f"alice:{HASH}\nbob:plain\n")

        async def complained() -> bool:
            async with aiohttp.ClientSession() as client, client.get(f"{to.address.url}/metrics") as answer:
                return "mcp_remediation_credentials_current 0.0" in (await answer.text()).splitlines()

        await until(complained)
        assert await other_holds()
        assert (await ask(to, headers=ALICE))[0] == 200
        (world.folder / "token0").write_text("third-token\n")
        (world.folder / "users").write_text(f"bob:{HASH}\n")

        async def bob_alone() -> bool:
            return (await ask(to, headers=login("bob", "sesame")))[0] == 200

        await until(bob_alone)
        assert (await ask(to, headers=ALICE))[0] == 401
        assert (await ask(to, headers={"Authorization": "Bearer third-token"}))[0] == 200
        assert not await complained()


async def test_users_of_the_web_configuration_are_asked_for_everywhere(world: World) -> None:
    async with receiver(world, tokens=1, web=f"basic_auth_users: {{carol: {OTHER_HASH}}}") as to:
        for path in (READING, "/metrics", "/-/healthy", "/-/ready"):
            assert (await ask(to, path))[0] == 401
            assert (await ask(to, path, headers=login("carol", "guess")))[0] == 401
            assert (await ask(to, path, headers=CAROL))[0] == 200
            assert (await ask(to, path, headers=BEARER))[0] == 200
        assert (await say(to, "/api/v1/pause", CAROL))[0] == 200
        assert paused_by(to) == "carol"


async def test_a_certificate_that_is_demanded_names_who_asks(world: World, authority: trustme.CA) -> None:
    async with receiver(world, web=f"{MUTUAL}RequireAndVerifyClientCert}}") as to:
        known = trusting(authority, "alertmanager.example", common="Alertmanager One")
        assert (await ask(to, tls=known))[0] == 200
        assert (await say(to, "/api/v1/pause", tls=known))[0] == 200
        assert paused_by(to) == "Alertmanager One"
        for nobody in (trusting(authority), trusting(authority, "")):
            with pytest.raises(aiohttp.ClientError):
                await ask(to, tls=nobody)
        stranger = trusting(authority)
        trustme.CA().issue_cert("alertmanager.example").configure_cert(stranger)
        with pytest.raises(aiohttp.ClientError):
            await ask(to, tls=stranger)


async def test_a_certificate_without_a_common_name_is_known_by_its_first_name(
    world: World, authority: trustme.CA
) -> None:
    async with receiver(world, web=f"{MUTUAL}RequireAndVerifyClientCert}}") as to:
        assert (await say(to, "/api/v1/pause", tls=trusting(authority, "am.example")))[0] == 200
        assert paused_by(to) == "am.example"


async def test_beside_a_demanded_certificate_the_token_is_asked_for_too(world: World, authority: trustme.CA) -> None:
    async with receiver(world, tokens=1, web=f"{MUTUAL}RequireAndVerifyClientCert}}") as to:
        known = trusting(authority, "am.example")
        assert (await ask(to, tls=known))[0] == 401
        assert (await ask(to, headers=BEARER, tls=known))[0] == 200
        assert (await ask(to, "/metrics", tls=known))[0] == 200


async def test_a_certificate_that_is_only_welcome_is_a_way_beside_the_token(
    world: World, authority: trustme.CA
) -> None:
    async with receiver(world, tokens=1, web=f"{MUTUAL}VerifyClientCertIfGiven}}") as to:
        assert (await ask(to, tls=trusting(authority)))[0] == 401
        assert (await ask(to, headers=BEARER, tls=trusting(authority)))[0] == 200
        assert (await say(to, "/api/v1/pause", tls=trusting(authority, "am.example")))[0] == 200
        assert paused_by(to) == "am.example"
    async with receiver(world, web=f"{MUTUAL}VerifyClientCertIfGiven}}") as to:
        assert (await ask(to, tls=trusting(authority)))[0] == 401
        assert (await ask(to, tls=trusting(authority, "am.example")))[0] == 200
    async with receiver(world, web=f"{MUTUAL}VerifyClientCertIfGiven}}{USERS}") as to:
        assert (await ask(to, tls=trusting(authority, "am.example")))[0] == 401
        assert (await ask(to, headers=CAROL, tls=trusting(authority, "am.example")))[0] == 200


async def test_only_allowed_names_of_certificates(world: World, authority: trustme.CA) -> None:
    allowed = f"{MUTUAL}RequireAndVerifyClientCert, client_allowed_sans: [am.example]}}"
    async with receiver(world, web=allowed) as to:
        assert (await ask(to, tls=trusting(authority, "am.example")))[0] == 200
        other = trusting(authority, "other.example", common="am.example")
        assert (await ask(to, tls=other))[0] == 403
        body = webhook(alert("alpha", "error_ratio"))
        assert (await say(to, "/api/v1/alerts", tls=other, body=body))[0] == 403
        assert to.chronicle.book.incidents() == []
        assert await webhooks_of(to, trusting(authority, "am.example")) == {"refused": 1}


async def test_tls_alone_knows_nobody(world: World, authority: trustme.CA) -> None:
    async with receiver(world, web=f"{TLS}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}") as to:
        assert (await say(to, "/api/v1/pause", tls=trusting(authority)))[0] == 200
        assert paused_by(to) == "loopback"
        with pytest.raises(aiohttp.ClientError):
            await ask(to)


async def test_another_web_configuration_holds_without_a_restart(world: World, authority: trustme.CA) -> None:
    async with (
        receiver(world, web=f"basic_auth_users: {{carol: {OTHER_HASH}}}") as to,
        aiohttp.ClientSession(to.address.url) as kept,
    ):
        async with kept.get(READING, headers=CAROL) as answer:
            assert answer.status == 200
        (world.folder / "web.yml").write_text(f"{TLS}}}")

        async def by_tls() -> bool:
            try:
                return (await ask(to, tls=trusting(authority)))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(by_tls)
        with contextlib.suppress(aiohttp.ClientError):  # or the connection was closed meanwhile, which is as good
            async with kept.get(READING, headers=CAROL) as answer:
                assert answer.status == 426


@pytest.mark.parametrize("left", ["", TLS + "}"])
async def test_off_loopback_a_file_that_names_nobody_any_more_lets_nobody_in(
    world: World, authority: trustme.CA, left: str
) -> None:
    world.tokens = False
    (world.folder / "web.yml").write_text(f"basic_auth_users: {{carol: {OTHER_HASH}}}")
    own = replace(world.settings(), web_config_file=world.folder / "web.yml", listen=Address("0.0.0.0", 0))
    async with running(own) as started:
        to = replace(started, address=Address("127.0.0.1", started.address.port))
        assert (await ask(to, headers=CAROL))[0] == 200
        (world.folder / "web.yml").write_text(left)
        tls = trusting(authority) if left else None

        async def is_read_again() -> bool:
            try:
                return (await ask(to, "/metrics", tls=tls))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(is_read_again)
        for headers in ({}, CAROL, BEARER):
            assert (await ask(to, headers=headers, tls=tls))[0] == 401
            assert (await say(to, "/api/v1/pause", headers, tls))[0] == 401
            assert (await ask(to, "/", headers, tls))[0] == 401
        assert not to.chronicle.book.ledger().paused
        # The files can still let somebody in, without a restart.
        (world.folder / "web.yml").write_text(f"{left}{USERS}")

        async def is_known() -> bool:
            return (await ask(to, headers=CAROL, tls=tls))[0] == 200

        await until(is_known)


async def test_who_guesses_keeps_nobody_out(world: World) -> None:
    dear = bcrypt.hashpw(b"sesame", bcrypt.gensalt(9)).decode()
    async with receiver(world, tokens=1, users=f"alice:{dear}\n") as to:
        assert (await ask(to, headers=ALICE))[0] == 200
        tasks = Tasks("guesses")
        guesses = [
            tasks.start_passing(f"{number}", ask(to, headers=login("alice", str(number)))) for number in range(30)
        ]
        assert (await ask(to, headers=ALICE))[0] == 200
        assert (await ask(to, headers=BEARER))[0] == 200
        statuses = {status for status, _ in await asyncio.gather(*guesses)}
        assert statuses <= {401, 503}
        assert 401 in statuses


def test_names_of_nobody_are_reserved() -> None:
    assert {BEARER_NAME, LOOPBACK, ITSELF} == RESERVED


@pytest.mark.parametrize("name", sorted(RESERVED))
async def test_a_user_of_the_web_configuration_is_told_from_those_without_a_name(world: World, name: str) -> None:
    async with receiver(world, web=f"basic_auth_users: {{{name}: {HASH}}}") as to:
        assert (await say(to, "/api/v1/pause", login(name, "sesame")))[0] == 200
        assert paused_by(to) == f"{name} (basic)"


@settings(max_examples=80, deadline=None)
@given(
    st.text()
    | st.text().map(lambda text: f"Basic {text}")
    | st.binary().map(_basic)
    | st.text().map("Bearer {}".format)
)
def test_no_header_crashes_it_and_none_by_chance_is_let_in(authorization: str) -> None:
    authentication = Authentication(
        Door.of("127.0.0.1", None), Credentials((TOKEN,), Passwords({"alice": HASH})), Protection()
    )
    request = make_mocked_request("GET", READING, headers={"Host": "127.0.0.1", "Authorization": authorization})
    caller = asyncio.run(authentication.who(request))
    authentication.close()
    assert isinstance(caller, Refusal)
    assert caller.status == 401


@pytest.mark.alertmanager
async def test_a_real_alertmanager_comes_in_by_each_of_the_ways(
    world: World, authority: trustme.CA, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """The same group to one receiver three times: kept once, known three times."""
    own = authority.issue_cert("alertmanager.example")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    tls = {"ca_file": str(world.folder / "ca.pem")}
    ways: list[dict[str, Any]] = [
        {"tls_config": tls, "authorization": {"credentials_file": str(world.folder / "token0")}},
        {"tls_config": tls, "basic_auth": {"username": "alice", "password": "sesame"}},
        {"tls_config": {**tls, "cert_file": str(tmp_path / "own.pem"), "key_file": str(tmp_path / "own.key")}},
        {"tls_config": tls},
    ]
    async with (
        receiver(world, tokens=1, users=f"alice:{HASH}\n", web=f"{MUTUAL}VerifyClientCertIfGiven}}") as to,
        Processes(tmp_path) as processes,
    ):
        hooks = [{"url": f"https://{to.address}/api/v1/alerts", "http_config": way} for way in ways]
        route = {"receiver": "medic", "group_by": ["server"], "group_wait": "0s", "group_interval": "5m"}
        config = {"route": route, "receivers": [{"name": "medic", "webhook_configs": hooks}]}
        address = await start_alertmanager(processes, tmp_path, "alertmanager", config)
        await Alertmanager(address, session).tell(posted("alpha", "error_ratio", severity="warning"))
        known = trusting(authority, "prometheus.example")

        async def all_came() -> bool:
            return sum((await webhooks_of(to, known)).values()) >= 4

        await until(all_came)
        assert await webhooks_of(to, known) == {"accepted": 1, "duplicate": 2, "unauthorized": 1}


@pytest.mark.parametrize("way", ["tokens", "users", "web users", "certificates"])
async def test_off_loopback_any_of_the_ways_will_do(world: World, authority: trustme.CA, way: str) -> None:
    world.tokens = False
    world.listen = "0.0.0.0:0"
    world_file = json.loads(_written(world))
    (world.folder / "users").write_text(f"alice:{HASH}\n")
    (world.folder / "token").write_text(f"{TOKEN}\n")
    texts = {"web users": USERS, "certificates": f"{MUTUAL}RequireAndVerifyClientCert}}"}
    (world.folder / "web.yml").write_text(texts.get(way, ""))
    if way in texts:
        world_file["receiver"]["web_config_file"] = "web.yml"
    else:
        key, value = ("bearer_token_files", ["token"]) if way == "tokens" else ("basic_auth_file", "users")
        world_file["receiver"]["authentication"] = {key: value}
    (world.folder / "fleet.yml").write_text(json.dumps(world_file))
    assert read_settings(world.folder / "fleet.yml", {}).listen.host == "0.0.0.0"


async def test_off_loopback_tls_alone_will_not_do_and_the_command_line_may_name_the_file(
    world: World, authority: trustme.CA
) -> None:
    world.tokens = False
    world.listen = "0.0.0.0:0"
    _written(world)
    fleet_file, web_file = world.folder / "fleet.yml", world.folder / "web.yml"
    web_file.write_text(f"{TLS}}}")
    with pytest.raises(ConfigError, match=r"receiver\.authentication: is missing: the receiver listens on 0\.0\.0\.0"):
        read_settings(fleet_file, {}, None, web_file)
    web_file.write_text(f"{TLS}}}{USERS}")
    assert read_settings(fleet_file, {}, None, web_file).web_config_file == web_file


async def test_every_wrong_file_is_told_at_once(world: World) -> None:
    file = Path(_written_with(world, {"bearer_token_files": ["none"], "basic_auth_file": "users"}))
    (world.folder / "users").write_text("alice\n")
    (world.folder / "web.yml").write_text("basic_auth_users: {bob: plain}\n")
    with pytest.raises(ConfigError) as raised:
        read_settings(file, {}, None, world.folder / "web.yml")
    assert [each.key_path for each in raised.value.problems] == [
        "receiver.authentication.bearer_token_files[0]",
        "receiver.authentication.basic_auth_file",
        "basic_auth_users.bob",
    ]


def _written(world: World) -> str:
    return world.fleet_file.read_text()


def _written_with(world: World, authentication: dict[str, object]) -> str:
    world.tokens = False
    document = json.loads(_written(world))
    document["receiver"]["authentication"] = authentication
    (world.folder / "fleet.yml").write_text(json.dumps(document))
    return str(world.folder / "fleet.yml")


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        ({"subject": ((("organizationName", "O"),), (("commonName", "a\x1b[2J"),))}, "a?[2J"),
        ({"subject": (), "subjectAltName": (("DNS", ""), ("DNS", "b.example"))}, "b.example"),
        ({"subject": ((("commonName", "c" * 500),),)}, "c" * MAX_NAME),
        ({"serialNumber": "1"}, "certificate"),
        ({"subject": ((("commonName", "loopback"),),)}, "loopback (certificate)"),
    ],
)
def test_the_name_in_a_certificate(certificate: dict[str, Any], name: str) -> None:
    tls = Mock(spec=ssl.SSLObject, getpeercert=lambda: certificate)
    transport = Mock(get_extra_info=lambda key, default=None: tls if key == "ssl_object" else default)
    assert certificate_of(make_mocked_request("GET", READING, transport=transport)) == Caller(name, Way.CERTIFICATE)
