"""Who asks a receiver, by real connections: with tokens, as users, with certificates."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import bcrypt
import trustme
from aiohttp import encode_basic_auth

from receiver.app import Running, running
from tests.receiver.shell.world import TOKEN, World

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


def trusting(authority: trustme.CA, client: str = "", common: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client:
        authority.issue_cert(client, common_name=common).configure_cert(context)
    return context
