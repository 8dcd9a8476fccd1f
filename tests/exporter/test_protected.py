"""TLS, client certificates and users: by real connections, and changed while the exporter runs."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import bcrypt
import pytest
import trustme
from aiohttp import ClientSession, encode_basic_auth

from exporter.access import has_token, needs_login, refused_by_door
from exporter.app import Running, running
from exporter.settings import Settings
from fleet.control_client import request
from fleet.doors import Door
from fleet.errors import ConfigError
from fleet.inventory import Address
from fleet.passwords import Login
from fleet.telemetry import encode
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import ToolMissingError, find
from tests.exporter.fleets import body, make_fleet, write_fleet
from tests.exporter.test_exporter_program import started

HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{alice: {HASH}}}\n"
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
MUTUAL = (
    "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem,"
    " client_auth_type: RequireAndVerifyClientCert"
)


def login(user: str, password: str) -> dict[str, str]:
    """The headers of a user."""
    return {"Authorization": encode_basic_auth(user, password)}


ALICE, MALLORY = login("alice", "sesame"), login("alice", "guess")
WITHIN = 30.0


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Signs server.pem, which lies with its key and ca.pem in the test's folder."""
    signer = trustme.CA()
    issue(signer, tmp_path)
    return signer


def issue(authority: trustme.CA, folder: Path) -> None:
    own = authority.issue_cert(LOOPBACK, "localhost")
    own.private_key_pem.write_to_path(folder / "server.key")
    own.cert_chain_pems[0].write_to_path(folder / "server.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")


def trusting(authority: trustme.CA, client: str = "") -> ssl.SSLContext:
    """A client's side; ``client`` is the name in its own certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client:
        authority.issue_cert(client).configure_cert(context)
    return context


@asynccontextmanager
async def protected(folder: Path, settings: Settings, text: str, token: str = "") -> AsyncIterator[Running]:
    (folder / "web.yml").write_text(text)
    door = replace(settings.door, tokens=(token,) if token else ())
    settings = replace(settings, web_config_file=folder / "web.yml", door=door)
    async with running(make_fleet(folder), settings, sources=()) as exporter:
        yield exporter


async def status(exporter: Running, path: str = "/metrics", **how: object) -> int:
    """The status of a GET over a connection of its own."""
    scheme = "https" if "ssl" in how else "http"
    async with ClientSession() as client, client.get(f"{scheme}://{exporter.address}{path}", **how) as answer:  # type: ignore[arg-type]
        await answer.read()
        return answer.status


async def becomes(holds: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(WITHIN):
        while not await holds():  # type: ignore[misc]  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_users_are_asked_for_everything_but_pushes(tmp_path: Path, settings: Settings) -> None:
    async with protected(tmp_path, settings, USERS) as exporter:
        for path in ("/metrics", "/", "/config", "/sd", "/-/healthy", "/-/ready", "/nothing"):
            assert await status(exporter, path) == 401
            assert await status(exporter, path, headers=MALLORY) == 401
            assert await status(exporter, path, headers=login("bob", "sesame")) == 401
            assert await status(exporter, path, headers=ALICE) == (404 if path == "/nothing" else 200)
        async with ClientSession(exporter.address.url) as client:
            async with client.get("/metrics") as refused:
                assert refused.headers["WWW-Authenticate"].startswith("Basic ")
                assert "mcp_server_up" not in await refused.text()
            headers = {"Content-Type": "application/json"}
            async with client.post("/telemetry/v1/servers/codex", data=encode(body()), headers=headers) as pushed:
                assert pushed.status == 204


async def test_no_spelling_of_a_path_leads_past_the_guard(tmp_path: Path, settings: Settings) -> None:
    async with protected(tmp_path, settings, USERS, token="a-token") as exporter:
        for path in ("/telemetry/../config", "/telemetry/%2e%2e/config", "//config", "/%63onfig", "/metrics/../config"):
            reader, writer = await asyncio.open_connection(exporter.address.host, exporter.address.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer.split()[1] in {b"401", b"404", b"400"}, path
            assert b"servers:" not in answer


async def test_with_a_token_only_what_tells_or_does_more_asks_for_it(tmp_path: Path, settings: Settings) -> None:
    async with protected(tmp_path, settings, "", token="a-token") as exporter:
        for path in ("/metrics", "/-/healthy", "/-/ready"):
            assert await status(exporter, path) == 200
        for path in ("/", "/config", "/sd", "/probe?target=codex"):
            assert await status(exporter, path) == 401
            assert await status(exporter, path, headers={"Authorization": "Bearer wrong"}) == 401
        for given in ({"headers": {"Authorization": "Bearer a-token"}}, {"headers": login("me", "a-token")}):
            assert await status(exporter, "/config", **given) == 200
        async with ClientSession(exporter.address.url) as client:
            async with client.post("/-/reload") as answer:
                assert answer.status == 401
            async with client.post("/-/reload", headers={"Authorization": "Bearer a-token"}) as answer:
                assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:1"}, 200),
        ({"Host": "evil.example"}, 421),
    ],
)
async def test_no_page_of_another_site_reloads(exporter: Running, headers: dict[str, str], expected: int) -> None:
    async with ClientSession(exporter.address.url) as client:
        async with client.post("/-/reload", headers=headers) as answer:
            assert answer.status == expected
        if "Host" in headers:
            for path, answered in (("/config", 421), ("/probe?target=codex", 421), ("/", 421), ("/metrics", 200)):
                async with client.get(path, headers=headers) as answer:
                    assert answer.status == answered


async def test_tls_and_another_certificate_without_a_restart(
    tmp_path: Path, settings: Settings, authority: trustme.CA
) -> None:
    async with protected(tmp_path, settings, TLS + USERS) as exporter:
        assert await status(exporter, ssl=trusting(authority), headers=ALICE) == 200
        with pytest.raises(aiohttp.ClientError):
            await status(exporter)
        other = trustme.CA()
        async with ClientSession(f"https://{exporter.address}") as kept:
            # A connection that was open before goes on, for one answer.
            async with kept.get("/metrics", ssl=trusting(authority), headers=ALICE) as answer:
                assert answer.status == 200
            issue(other, tmp_path)

            async def renewed() -> bool:
                try:
                    return await status(exporter, ssl=trusting(other), headers=ALICE) == 200
                except aiohttp.ClientError:
                    return False

            await becomes(renewed)
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await status(exporter, ssl=trusting(authority), headers=ALICE)


async def test_a_bad_file_changes_nothing_and_the_page_says_so(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with protected(tmp_path, settings, USERS) as exporter:
        (tmp_path / "web.yml").write_text("basic_auth_users: {alice: no hash}")

        async def said() -> bool:
            async with ClientSession(exporter.address.url) as client, client.get("/", headers=ALICE) as page:
                return "is no bcrypt hash" in await page.text()

        await becomes(said)
        assert await status(exporter) == 401
        complaints = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(complaints) == 1
        (tmp_path / "web.yml").write_text("# nobody is asked any more")

        async def open_() -> bool:
            return await status(exporter) == 200

        await becomes(open_)


async def test_tls_is_switched_on_and_off(tmp_path: Path, settings: Settings, authority: trustme.CA) -> None:
    async with protected(tmp_path, settings, "") as exporter, ClientSession(exporter.address.url) as kept:
        async with kept.get("/metrics") as answer:
            assert answer.status == 200
        (tmp_path / "web.yml").write_text(TLS)

        async def encrypted() -> bool:
            try:
                return await status(exporter, ssl=trusting(authority)) == 200
            except aiohttp.ClientError:
                return False

        await becomes(encrypted)
        async with kept.get("/metrics") as answer:
            assert answer.status == 426, "the open connection is of no more use"
        (tmp_path / "web.yml").write_text("")

        async def plain() -> bool:
            try:
                return await status(exporter) == 200
            except aiohttp.ClientError:
                return False

        await becomes(plain)


async def test_clients_show_certificates(tmp_path: Path, settings: Settings, authority: trustme.CA) -> None:
    text = (
        MUTUAL + ", client_allowed_sans: [prometheus.example]}\nhttp_server_config: {headers: {X-Frame-Options: deny}}"
    )
    async with protected(tmp_path, settings, text) as exporter:
        assert await status(exporter, ssl=trusting(authority, "prometheus.example")) == 200
        assert await status(exporter, ssl=trusting(authority, "other.example")) == 403
        with pytest.raises(aiohttp.ClientError):
            await status(exporter, ssl=trusting(authority))
        stranger = trusting(authority)
        trustme.CA().issue_cert("prometheus.example").configure_cert(stranger)
        with pytest.raises(aiohttp.ClientError):
            await status(exporter, ssl=stranger)
        async with ClientSession() as client:
            context = trusting(authority, "prometheus.example")
            async with client.get(f"https://{exporter.address}/metrics", ssl=context) as answer:
                assert answer.headers["X-Frame-Options"] == "deny"


async def test_a_wrong_file_at_start_ends_the_start(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="is no bcrypt hash"):
        async with protected(tmp_path, settings, "basic_auth_users: {alice: x}"):
            pass


async def test_who_guesses_keeps_nobody_out(tmp_path: Path, settings: Settings) -> None:
    dear = bcrypt.hashpw(b"sesame", bcrypt.gensalt(10)).decode()
    async with protected(tmp_path, settings, f"basic_auth_users: {{alice: {dear}}}") as exporter:
        assert await status(exporter, headers=ALICE) == 200
        guesses = [status(exporter, headers=login("alice", f"guess {n}")) for n in range(15)]
        waiting = asyncio.gather(*guesses)
        assert await status(exporter, headers=ALICE) == 200
        assert not waiting.done(), "who is known does not wait for the guesses"
        assert set(await waiting) == {401, 503}


async def test_the_real_program_on_its_own_event_loop(tmp_path: Path, authority: trustme.CA) -> None:
    (tmp_path / "web.yml").write_text(MUTUAL + "}")
    file = write_fleet(tmp_path, exporter=", web_config_file: web.yml")
    # Kept for longer than a busy machine may take.
    patient = aiohttp.TCPConnector(keepalive_timeout=300)
    async with started(file) as (_, url), ClientSession(connector=patient) as kept:
        address = f"https{url.removeprefix('http')}/metrics"
        old = trusting(authority, "prometheus.example")
        async with kept.get(address, ssl=old) as answer:
            assert answer.status == 200
        other = trustme.CA()
        issue(other, tmp_path)

        async def renewed() -> bool:
            try:
                async with ClientSession() as client, client.get(address, ssl=trusting(other, "x.example")) as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await becomes(renewed)
        async with kept.get(address, ssl=old) as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close"), "no scrape is missed"
        with pytest.raises(aiohttp.ClientError):
            await kept.get(address, ssl=old)


@pytest.mark.prometheus
async def test_a_real_prometheus_scrapes_by_tls_with_a_password_and_a_certificate(
    tmp_path: Path, settings: Settings, authority: trustme.CA
) -> None:
    try:
        prometheus = find("prometheus")
    except ToolMissingError as error:
        pytest.skip(str(error))
    own = authority.issue_cert("prometheus.example")
    own.private_key_pem.write_to_path(tmp_path / "prometheus.key")
    own.cert_chain_pems[0].write_to_path(tmp_path / "prometheus.pem")
    async with protected(tmp_path, settings, MUTUAL + "}\n" + USERS) as exporter:
        job = {
            "scheme": "https",
            "static_configs": [{"targets": [str(exporter.address)]}],
            "tls_config": {"ca_file": "ca.pem", "cert_file": "prometheus.pem", "key_file": "prometheus.key"},
        }
        jobs = [
            {"job_name": "right", **job, "basic_auth": {"username": "alice", "password": "sesame"}},
            {"job_name": "wrong", **job, "basic_auth": {"username": "alice", "password": "guess"}},
        ]
        configuration = {"global": {"scrape_interval": "300ms", "scrape_timeout": "300ms"}, "scrape_configs": jobs}
        (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
        address = Address(LOOPBACK, free_ports(1)[0])
        argv: list[str | Path] = [
            prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}",
        ]  # fmt: skip
        async with Processes(tmp_path) as processes:
            program = await processes.start("prometheus", argv, tmp_path)
            await wait_ready(program, address, "/-/ready", 60)

            async def scraped() -> bool:
                answer = await request(address, "GET", "/api/v1/targets")
                found = {t["labels"]["job"]: t for t in json.loads(answer.body)["data"]["activeTargets"]}
                healths = {job: target["health"] for job, target in found.items()}
                if healths != {"right": "up", "wrong": "down"}:
                    return False
                return "401" in found["wrong"]["lastError"]

            assert await poll(scraped, 60)


def test_who_needs_a_login() -> None:
    door, guarded = Door.of("127.0.0.1", None), Door.of("127.0.0.1", None, ("token",))
    assert not needs_login(door, "/config", with_users=False)
    assert needs_login(guarded, "/config", with_users=False)
    assert needs_login(door, "/metrics", with_users=True)
    assert not needs_login(guarded, "/metrics", with_users=False)
    assert not needs_login(guarded, "/telemetry/v1/servers/codex", with_users=True)
    assert has_token(guarded, {}, Login("x", "token"))
    assert not has_token(guarded, {}, Login("token", "x"))
    assert not has_token(door, {"Authorization": "Bearer "}, None)
    assert has_token(guarded, {"Authorization": "Bearer token"}, None)


def test_a_post_with_a_body_is_json() -> None:
    door = Door.of("127.0.0.1", None)
    own = {"Host": "127.0.0.1:1"}
    assert refused_by_door(door, "POST", "/-/reload", own) is None
    for more in ({"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}):
        refusal = refused_by_door(door, "POST", "/-/reload", own | more)
        assert refusal is not None
        assert refusal.status == 415
