"""How the console shows the receiver who asks: tokens, a user's password, certificates; what a refusal advises."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.console.spoken import spoken
from tests.console.typed import Typed

BASIC = "Basic YW5uYTp0w6RnbGljaCBuZXU="  # anna:täglich neu, in UTF-8
GIVEN = {"MCP_MEDIC_TOKEN_FILE": "token", "MCP_MEDIC_USER": "anna", "MCP_MEDIC_PASSWORD_FILE": "password"}


@asynccontextmanager
async def receiver(wanted: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """One that pauses for whoever shows ``wanted`` as Authorization; its URL."""

    async def pause(request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "") != wanted:
            return web.json_response({"error": "who are you"}, status=401)
        return web.json_response({"server": None, "paused": True, "changed": True})

    application = web.Application()
    application.router.add_post("/api/v1/pause", pause)
    server = TestServer(application, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield f"{server.scheme}://127.0.0.1:{server.port}"
    finally:
        await server.close()


async def paused(folder: Path, url: str, environ: Mapping[str, str], *, token: bool = False) -> Typed:
    """``pause`` with this environment; files of ``environ`` are those of ``folder``."""
    (folder / "token").write_text("sesame\n")
    (folder / "password").write_text("täglich neu\nignored\n", encoding="utf-8")
    authentication = "authentication: {bearer_token_files: [token]}" if token else ""
    (folder / "fleet.yml").write_text(f"receiver: {{url: '{url}', {authentication}}}\nservers: []\n")
    named = {name: value if name.endswith("USER") else str(folder / value) for name, value in environ.items()}
    return await spoken("pause", "--config", folder / "fleet.yml", environ=named)


@pytest.mark.parametrize(
    ("wanted", "given", "token"),
    [
        ("Bearer sesame", [], True),
        ("Bearer sesame", ["MCP_MEDIC_USER", "MCP_MEDIC_PASSWORD_FILE"], True),
        ("Bearer sesame", ["MCP_MEDIC_TOKEN_FILE"], False),
        ("Bearer sesame", ["MCP_MEDIC_TOKEN_FILE", "MCP_MEDIC_USER", "MCP_MEDIC_PASSWORD_FILE"], False),
        (BASIC, ["MCP_MEDIC_USER", "MCP_MEDIC_PASSWORD_FILE"], False),
        ("", [], False),
    ],
)
async def test_the_first_that_there_is_is_shown(tmp_path: Path, wanted: str, given: list[str], token: bool) -> None:
    async with receiver(wanted) as url:
        told = await paused(tmp_path, url, {name: GIVEN[name] for name in given}, token=token)
        assert (told.code, told.err) == (0, "")


async def test_a_refusal_says_what_was_shown_and_what_to_set(tmp_path: Path) -> None:
    async with receiver("Bearer another") as url:
        told = await paused(tmp_path, url, {"MCP_MEDIC_TOKEN_FILE": "token"})
        assert (told.code, told.out) == (1, "")
        assert f"refused: who are you (401); the token of {tmp_path}/token was shown" in told.err
        for name in ("receiver.authentication.bearer_token_files", *GIVEN, "MCP_MEDIC_CERT_FILE"):
            assert name in told.err
        assert "sesame" not in told.err


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"MCP_MEDIC_TOKEN_FILE": "nothing"}, "MCP_MEDIC_TOKEN_FILE: cannot be read"),
        ({"MCP_MEDIC_USER": "anna"}, "MCP_MEDIC_PASSWORD_FILE: is not set"),
        ({"MCP_MEDIC_USER": "anna", "MCP_MEDIC_PASSWORD_FILE": "nothing"}, "MCP_MEDIC_PASSWORD_FILE: cannot be read"),
    ],
)
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, environ: dict[str, str], sentence: str) -> None:
    async with receiver("") as url:
        told = await paused(tmp_path, url, environ)
        assert (told.code, told.out) == (2, "")
        assert sentence in told.err


async def test_they_hinder_no_command_that_does_not_ask_the_receiver(tmp_path: Path) -> None:
    (tmp_path / "fleet.yml").write_text("servers: [{name: a, transport: http, url: 'http://127.0.0.1:9/mcp'}]\n")
    told = await spoken(
        "backup", "a", "--config", tmp_path / "fleet.yml", environ={"MCP_MEDIC_TOKEN_FILE": str(tmp_path / "nothing")}
    )
    assert (told.code, told.err) == (1, "")


async def test_https_with_an_authority_and_a_certificate_of_its_own(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("console@example")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    whole = {"MCP_MEDIC_CA_FILE": "ca.pem", "MCP_MEDIC_CERT_FILE": "cert.pem", "MCP_MEDIC_KEY_FILE": "key.pem"}
    async with receiver("", tls) as url:
        told = await paused(tmp_path, url, whole)
        assert (told.code, told.err) == (0, "")
        told = await paused(tmp_path, url, whole | {"MCP_MEDIC_CA_FILE": "stranger.pem"})
        assert (told.code, told.out) == (3, "")
        assert "is not trusted" in told.err
        assert "name whom to believe in MCP_MEDIC_CA_FILE" in told.err
        told = await paused(tmp_path, url, {"MCP_MEDIC_CA_FILE": "ca.pem"})
        assert (told.code, told.out) == (3, "")
        assert "MCP_MEDIC_CERT_FILE" in told.err
        told = await paused(tmp_path, url, whole | {"MCP_MEDIC_KEY_FILE": "ca.pem"})
        assert (told.code, told.out) == (2, "")
        assert "MCP_MEDIC_CERT_FILE: cannot be used" in told.err
