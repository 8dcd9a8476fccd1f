"""The receiver's page in a real browser. The pictures stay in run/page; MCP_MEDIC_WEB=1 switches it on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from playwright.async_api import expect

from fleet.signals import SignalName
from receiver.app import running
from receiver.page.rendering import visible
from stack.loop import Loop, LoopOptions
from stack.scenarios import SCENARIOS
from stack.watch import Watch
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer
from tests.receiver.shell.world import TOKEN, Client, World, alert, client_of, new_world, start_peers, webhook
from tests.web.browser import Window, browser, missing, wanted, window

pytestmark = [
    pytest.mark.web,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not wanted(), reason="drawn only where MCP_MEDIC_WEB=1 asks for it"),
    pytest.mark.skipif(missing() != "", reason=missing() or "nothing is missing"),
]

LONG_MS = 300_000
expect.set_options(timeout=60_000)  # a busy machine takes its time

HOSTILE = "<img src=x onerror=\"document.title='owned';alert(1)\"><script>alert(2)</script>'\"{{7*7}}\u202e"
ASKS = """# the server's own file
[mcp]
enable_response_caching = true # <script>alert(3)</script>
[security.approval_workflows]
auto_approve_read_only = false
"""


async def sign_in(window: Window, token: str, path: str = "/") -> None:
    await window.page.goto(f"{window.base}{path}")
    await expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await window.page.get_by_label("Token").fill(token)
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(f"{window.base}{path}")


@pytest.mark.end_to_end
async def test_a_person_denies_approves_and_watches_it_heal() -> None:
    # With a cache there are gentler rungs before the restart: one to deny, one that changes the server's file.
    options = LoopOptions(label="page", settings={"mcp.enable_response_caching": True})
    async with Loop(options) as loop, browser() as chromium:
        text = loop.server_config.read_text(encoding="utf-8")
        loop.server_config.write_text(text.replace("auto_approve_read_only = true", "auto_approve_read_only = false"))
        await loop.start_traffic()
        await Watch(loop).calm()
        async with window(chromium, loop.addresses["receiver"].url) as seen:
            await sign_in(seen, loop.token)
            await expect(seen.page.get_by_role("heading", name="Nothing is ill")).to_be_visible()
            await expect(seen.page.locator("#live")).to_have_text("live")
            await seen.page.evaluate("window.sameDocument = true")
            await SCENARIOS["slow"].switch_on(loop)
            await approve_until_healed(seen)
            assert await seen.page.evaluate("window.sameDocument"), "it was loaded again"
            await seen.check()
            await read_the_story(seen)
            await seen.check()


async def approve_until_healed(seen: Window) -> None:
    """Say no once, then let everything go that waits, until the incident is closed; nothing is loaded again."""
    approve = seen.page.get_by_role("button", name="Approve")
    waiting = seen.page.locator(".ask strong")
    closed = seen.page.locator("table.rows").get_by_text("healed").first
    await expect(approve).to_be_visible(timeout=LONG_MS)
    await seen.picture("1-waits")
    denied = await waiting.first.inner_text()
    await seen.page.get_by_role("button", name="Deny").click()
    await expect(seen.page.locator("#notice")).to_contain_text("Denied")
    await expect(waiting.filter(has_text=denied)).to_have_count(0, timeout=LONG_MS)
    approved = 0
    while True:
        await expect(approve.or_(closed).first).to_be_visible(timeout=LONG_MS)
        if not await approve.is_visible():
            break
        asked = await waiting.first.inner_text()
        assert asked != denied
        await approve.click()
        await expect(seen.page.locator("#notice")).to_contain_text("Approved")
        await expect(waiting.filter(has_text=asked)).to_have_count(0, timeout=LONG_MS)
        approved += 1
        await seen.picture(f"2-approved-{approved}")
    assert approved >= 2
    await seen.picture("3-healed")


async def read_the_story(seen: Window) -> None:
    await seen.page.locator("table.rows a").first.click()
    await expect(seen.page.get_by_role("heading", name="What happened")).to_be_visible()
    await expect(seen.page.locator("h1 .badge")).to_have_text("healed")
    await expect(seen.page.locator(".diff .added").first).to_be_visible()
    await expect(seen.page.locator("figure.chart path.line").first).to_be_visible()
    await expect(seen.page.get_by_text("bearer said no")).to_be_visible()
    await expect(seen.page.get_by_text("bearer let it go").first).to_be_visible()
    await seen.picture("4-story")


@pytest.fixture
async def hostile() -> AsyncIterator[tuple[World, Client]]:
    """A receiver with an incident whose names were chosen by somebody who means ill; an act waits for approval."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            world = new_world(Path(folder), PrometheusPeer(), AlertmanagerPeer())
            await start_peers(world, stack)
            for name in world.gateways:
                world.give_config(name, ASKS)
            world.fall_ill("alpha", SignalName.ERROR_RATIO)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            client = client_of(session, await stack.enter_async_context(running(world.settings())))
            await client.post(webhook(alert("alpha", "error_ratio", name=HOSTILE)))
            await client.post(b'{"version": "<script>alert(4)</script>' + HOSTILE.encode())
            await client.until_state("awaiting_approval")
            yield world, client


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("wide", 1200, "light"), ("dark", 1200, "dark"), ("phone", 320, "light")]
)
async def test_what_came_from_outside_is_text(
    hostile: tuple[World, Client], name: str, width: int, scheme: str
) -> None:
    _world, client = hostile
    incident = (await client.incidents())[0]["id"]
    async with browser() as chromium, window(chromium, client.address.url, width=width, scheme=scheme) as seen:  # type: ignore[arg-type]
        await sign_in(seen, TOKEN)
        assert visible(HOSTILE) in str(await seen.page.locator("main").text_content())
        for path in ("/", f"/incidents/{incident}", "/incidents", "/quarantine"):
            await seen.page.goto(f"{seen.base}{path}")
            await expect(seen.page.locator("#live")).to_have_text("live")
            for node in await seen.page.locator("details").all():
                await node.evaluate("node => node.open = true")
            await seen.check()
            assert "owned" not in await seen.page.title()
            assert await seen.page.locator("main script, main img").count() == 0
            await seen.picture(
                f"{name}-{path.strip('/').partition('/')[0] or 'now'}{'-one' if incident in path else ''}"
            )


async def test_it_can_be_read_and_used_without_scripts(hostile: tuple[World, Client]) -> None:
    world, client = hostile
    async with browser() as chromium, window(chromium, client.address.url, width=360, script=False) as seen:
        await sign_in(seen, TOKEN)
        await expect(seen.page.locator("time").first).to_contain_text("ago")
        refresh = await seen.page.locator("meta[http-equiv=refresh]").get_attribute("content")
        assert refresh == "30; url=/"
        await seen.page.get_by_role("button", name="Approve").click()
        await expect(seen.page.locator("#notice")).to_contain_text("Approved")
        await client.until_state("observing")
        assert len(world.gateways["alpha"].restarts) == 1
        await seen.page.get_by_role("button", name="Pause automation").click()
        await expect(seen.page.locator("#notice")).to_contain_text("paused")
        await seen.page.get_by_role("button", name="Sign out").click()
        await expect(seen.page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_everything_is_reached_by_the_keyboard(hostile: tuple[World, Client]) -> None:
    _world, client = hostile
    async with browser() as chromium, window(chromium, client.address.url) as seen:
        await sign_in(seen, TOKEN)
        reached = set()
        for _ in range(60):
            await seen.page.keyboard.press("Tab")
            reached.add(await seen.page.evaluate("document.activeElement.innerText?.trim().split('\\n')[0] ?? ''"))
        assert {"Skip to the content", "Now", "Incidents", "Sign out"} <= reached
        assert any(text.startswith("Approve") for text in reached)
        assert any(text.startswith("By hand") for text in reached)


async def test_an_open_part_and_the_focus_stay_when_something_changes(hostile: tuple[World, Client]) -> None:
    _world, client = hostile
    async with browser() as chromium, window(chromium, client.address.url) as seen:
        await sign_in(seen, TOKEN)
        await expect(seen.page.locator("#live")).to_have_text("live")
        await seen.page.locator("#hands-beta summary").click()
        box = seen.page.locator("#hands-beta input[type=checkbox]").first
        await box.check()
        await client.say("pause", b'{"server": "alpha"}')
        await expect(seen.page.locator("#server-alpha").get_by_text("paused", exact=True)).to_be_visible()
        assert await seen.page.locator("#hands-beta").get_attribute("open") is not None
        assert await box.is_checked()
        assert await box.evaluate("node => node === document.activeElement")
        await seen.check()


async def test_times_are_those_of_the_viewer(hostile: tuple[World, Client]) -> None:
    _world, client = hostile
    opened_at = (await client.incidents())[0]["opened_at"]
    there = datetime.fromtimestamp(opened_at, ZoneInfo("Asia/Tokyo"))
    async with browser() as chromium, window(chromium, client.address.url, zone="Asia/Tokyo") as seen:
        await sign_in(seen, TOKEN, "/incidents")
        await expect(seen.page.locator("#zone")).to_have_text("Asia/Tokyo")
        await expect(seen.page.locator("main time").first).to_have_text(f"{there:%Y-%m-%d %H:%M:%S}")


async def test_where_no_stream_gets_through_it_looks_now_and_then(hostile: tuple[World, Client]) -> None:
    _world, client = hostile
    async with browser() as chromium, window(chromium, client.address.url) as seen:
        await seen.page.route("**/api/v1/events", lambda route: route.abort())
        await sign_in(seen, TOKEN)
        await expect(seen.page.locator("#live")).to_have_text("looks every 5 s")
        await client.say("pause")
        await expect(seen.page.get_by_role("button", name="Resume automation")).to_be_visible()


async def test_a_form_that_fails_is_said_and_the_page_stays(hostile: tuple[World, Client]) -> None:
    _world, client = hostile
    async with browser() as chromium, window(chromium, client.address.url) as seen:
        await sign_in(seen, TOKEN)
        await seen.page.route("**/pause", lambda route: route.continue_(post_data="server=&csrf=another"))
        await seen.page.get_by_role("button", name="Pause automation").click()
        await expect(seen.page.locator("#notice")).to_contain_text("Nothing was done")
        await expect(seen.page.get_by_role("button", name="Approve")).to_be_visible()
