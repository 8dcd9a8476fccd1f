"""``/probe``: one server asked now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from exporter.app import running
from exporter.settings import settings_of
from exporter.targets import NoTarget, Target, target_of
from fleet.inventory import Address, ProbeSettings
from fleet.loading import load_fleet
from stack.ports import LOOPBACK, free_ports
from tests.exporter.fleets import CODEX, Scrape, make_fleet, parsed
from tests.exporter.test_probe_source import Fake, faked

WHOLE = frozenset({("phase", "all")})


@pytest.fixture
async def fake() -> AsyncIterator[tuple[Fake, str]]:
    async with faked() as (server, url):
        yield server, url


@pytest.fixture
async def client(tmp_path: Path, fake: tuple[Fake, str]) -> AsyncIterator[ClientSession]:
    """A client of an exporter that knows the fake server, and a stdio one that it may start for itself."""
    file = tmp_path / "fleet.yml"
    file.write_text(
        "exporter: {listen: 127.0.0.1:9847}\n"
        "servers:\n"
        f"  - {{name: codex, transport: http, url: '{fake[1]}', probe: {{interval_seconds: 600, tool: echo}}}}\n"
        "  - {name: piped, transport: stdio, command: [/bin/cat], probe: {interval_seconds: 600, spawn: true}}\n"
    )
    fleet = load_fleet(file, {})
    settings = settings_of(fleet, Address("127.0.0.1", 0))
    async with running(fleet, settings, sources=()) as exporter, ClientSession(exporter.address.url) as session:
        yield session


async def probed(client: ClientSession, **query: str) -> tuple[int, str]:
    async with client.get("/probe", params=query) as answer:
        return answer.status, await answer.text()


async def figures(client: ClientSession, target: str = "codex", seconds: str = "") -> Scrape:
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": seconds} if seconds else {}
    async with client.get("/probe", params={"target": target}, headers=headers) as answer:
        assert answer.status == 200
        return parsed(await answer.text())


def success(found: Scrape, phase: str = "all") -> float | None:
    return found.get(("mcp_probe_success", frozenset({("phase", phase)})))


async def test_a_configured_server_by_name_and_by_url(client: ClientSession, fake: tuple[Fake, str]) -> None:
    for target in ("codex", fake[1], f"{fake[1]}/"):
        found = await figures(client, target)
        assert success(found) == 1
        assert success(found, "tool") == 1
        assert found["mcp_probe_duration_seconds", frozenset({("phase", "connect")})] > 0
        assert found["mcp_probe_duration_seconds", WHOLE] > 0
        assert {name for name, _ in found} == {"mcp_probe_success", "mcp_probe_duration_seconds"}, "nothing else"
    async with asyncio.timeout(20):
        while fake[0].open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_each_answer_is_a_fresh_probe(client: ClientSession, fake: tuple[Fake, str]) -> None:
    assert success(await figures(client)) == 1
    fake[0].answers["tools/call"] = {"result": {"isError": True}}
    broken = await figures(client)
    assert (success(broken), success(broken, "tool"), success(broken, "tools_list")) == (0, 0, 1)


@pytest.mark.parametrize(
    ("answers", "phase"), [({"initialize": 502}, "initialize"), ({"tools/list": 401}, "tools_list")]
)
async def test_a_failed_probe_is_a_zero(
    client: ClientSession, fake: tuple[Fake, str], answers: dict[str, Any], phase: str
) -> None:
    fake[0].answers.update(answers)
    found = await figures(client)
    assert (success(found), success(found, phase)) == (0, 0)


async def test_the_scrapers_deadline_is_kept(client: ClientSession, fake: tuple[Fake, str]) -> None:
    fake[0].delay["tools/list"] = 30.0
    async with asyncio.timeout(20):
        found = await figures(client, seconds="1")
    assert (success(found), success(found, "initialize"), success(found, "tools_list")) == (0, 1, 0)


async def test_what_happened_is_told_to_a_person(client: ClientSession, fake: tuple[Fake, str]) -> None:
    info = {"name": "library\x1b[31m", "version": "2"}
    fake[0].answers["initialize"] = {"result": {"protocolVersion": "2025-06-18", "serverInfo": info}}
    status, told = await probed(client, target="codex", debug="true")
    assert status == 200
    for line in ("Probe of codex", "tool: echo", "era: legacy", "in version 2025-06-18", "mcp_probe_success{phase="):
        assert line in told
    assert "library" in told
    assert "\x1b" not in told
    fake[0].answers["tools/call"] = 500
    assert (
        "the probe failed: probe.tool echo: HTTP status 500" in (await probed(client, target="codex", debug="true"))[1]
    )


async def test_openmetrics(client: ClientSession) -> None:
    headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
    async with client.get("/probe?target=codex", headers=headers) as answer:
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("", 400, "say whom to ask"),
        ("piped", 400, "a stdio server is not started by a request"),
        ("nobody", 404, "only with --probe.allow-any"),
        ("http://127.0.0.1:1/mcp", 404, "only with --probe.allow-any"),
        ("/bin/sh -c id", 404, "only with --probe.allow-any"),
    ],
)
async def test_others_are_not_asked(client: ClientSession, target: str, status: int, said: str) -> None:
    answered, text = await probed(client, target=target)
    assert answered == status
    assert said in text


async def test_any_url_where_that_is_allowed(tmp_path: Path, fake: tuple[Fake, str]) -> None:
    fleet = make_fleet(tmp_path)
    settings = replace(settings_of(fleet, Address("127.0.0.1", 0)), probe_allow_any=True)
    (port,) = free_ports(1)
    async with running(fleet, settings, sources=()) as exporter, ClientSession(exporter.address.url) as client:
        assert success(await figures(client, fake[1])) == 1
        unreachable = await figures(client, f"http://{LOOPBACK}:{port}/mcp")
        assert (success(unreachable), success(unreachable, "connect")) == (0, 0)
        for strange in (f"http://{'a' * 70}.example/mcp", "http://a..b/", "http://[::1]:99999/", "http://xn--/"):
            status, text = await probed(client, target=strange)
            assert (status == 200 and success(parsed(text)) == 0) or status == 400, strange
        assert (await probed(client, target="file:///etc/passwd"))[0] == 400
        assert (await probed(client, target="/bin/sh"))[0] == 400


async def test_too_many_at_once_are_refused(client: ClientSession, fake: tuple[Fake, str]) -> None:
    fake[0].delay["initialize"] = 2.0
    waiting = [asyncio.get_running_loop().create_task(probed(client, target="codex")) for _ in range(20)]
    async with asyncio.timeout(30):
        while len(fake[0].seen) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await probed(client, target="codex"))[0] == 503
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    fake[0].delay.clear()


def test_what_a_target_means(tmp_path: Path) -> None:
    servers = make_fleet(tmp_path).servers
    found = target_of("codex", servers, allow_any=False)
    assert found == Target("http://127.0.0.1:3001/mcp", ProbeSettings(), 45.0, CODEX)
    other = target_of("https://example.com/mcp", servers, allow_any=True)
    assert isinstance(other, Target)
    assert other.name is None


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    found = target_of(text, {}, allow_any=True)
    assert isinstance(found, NoTarget) or found.url.startswith(("http://", "https://", "HTTP", "Http"))
