"""Who asks: tokens and users, by real connections, and changed while the receiver runs."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import trustme
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
from receiver.app import running
from receiver.appointments import ITSELF
from receiver.authentication import BEARER as BEARER_NAME
from receiver.authentication import Authentication
from receiver.credentials import Credentials
from receiver.events import LOOPBACK
from receiver.settings import read_settings
from stack.processes import Processes
from tests.receiver.shell.recorded import Alertmanager, posted, start_alertmanager
from tests.receiver.shell.visitors import (
    ALICE,
    BEARER,
    CAROL,
    HASH,
    MUTUAL,
    OTHER_HASH,
    READING,
    TLS,
    USERS,
    ask,
    login,
    paused_by,
    receiver,
    say,
    trusting,
    webhooks_of,
)
from tests.receiver.shell.world import TOKEN, World, alert, until, webhook


def _basic(content: bytes) -> str:
    return f"Basic {base64.b64encode(content).decode()}"


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
