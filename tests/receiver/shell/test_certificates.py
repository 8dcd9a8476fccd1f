"""Who asks, by certificate: what each client authentication lets in, and whose name the journal keeps."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
import trustme
from aiohttp.test_utils import make_mocked_request

from receiver.authentication import MAX_NAME, Caller, Way, certificate_of
from tests.receiver.shell.visitors import (
    BEARER,
    CAROL,
    MUTUAL,
    OTHER_HASH,
    READING,
    TLS,
    USERS,
    ask,
    paused_by,
    receiver,
    say,
    trusting,
    webhooks_of,
)
from tests.receiver.shell.world import World, alert, until, webhook


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
