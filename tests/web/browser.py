"""A headless Chromium that watches itself: what its console says, what ran that should not, what the policy stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, async_playwright

from stack.tools import PROJECT

PICTURES: Final = PROJECT / "run" / "page"
_CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome")

WATCH: Final = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


def missing() -> str:
    """Why no browser can be started, "" when one can."""
    return "" if _chromium() else f"none of {', '.join(_CHROMIUMS)} is installed"


def wanted() -> bool:
    """Whether drawing was asked for."""
    return os.environ.get("MCP_MEDIC_WEB") == "1"


@dataclass
class Window:
    """A page of the browser, and everything that should not have happened in it."""

    page: Page
    base: str
    surprises: list[str] = field(default_factory=list)

    async def picture(self, name: str) -> Path:
        """Draw the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        file = PICTURES / f"{name}.png"
        await self.page.screenshot(path=file, full_page=True)
        return file

    async def check(self) -> None:
        """Nothing ran that is not ours, the policy stopped nothing, nothing stands out over the right edge."""
        assert self.surprises == []
        assert await self.page.evaluate("window.violations") == []
        wide, inner = await self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= inner, f"{self.page.url} is {wide} wide in a window of {inner}"


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A Chromium of the system."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def window(
    browser: Browser,
    base: str,
    *,
    width: int = 1200,
    scheme: Literal["light", "dark"] = "light",
    script: bool = True,
    zone: str = "UTC",
) -> AsyncIterator[Window]:
    """A window of this width in this time zone; ``script`` False is a browser without JavaScript."""
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script, timezone_id=zone
    )
    try:
        opened = Window(await context.new_page(), base)

        async def dialog(shown: Dialog) -> None:
            opened.surprises.append(f"dialog: {shown.message}")
            await shown.dismiss()

        def console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                opened.surprises.append(f"console: {message.text}")

        opened.page.on("dialog", dialog)
        opened.page.on("console", console)
        opened.page.on("pageerror", lambda error: opened.surprises.append(f"error: {error}"))
        await opened.page.add_init_script(WATCH)
        opened.page.set_default_timeout(60_000)
        yield opened
    finally:
        await context.close()


def _chromium() -> str | None:
    return next((found for name in _CHROMIUMS if (found := shutil.which(name))), None)
