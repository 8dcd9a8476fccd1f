"""An exporter that starts, or reloads, over one server's broken TOML: all vitals, and whose file has the mistake."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from tests.exporter.fleets import Scrape, parsed, value, write_fleet
from tests.exporter.test_exporter_program import COMMAND, ROOT, ran

BROKEN = "[monitoring]\nalert_thresholds_error_rate = \n"
GOOD = "[monitoring]\nalert_thresholds_error_rate = 0.2\n"
CROSSING = "[monitoring]\nalert_thresholds_error_rate = 0.001\n"
WITHIN = 60.0


@dataclass
class Program:
    """A running ``mcp-exporter``."""

    process: asyncio.subprocess.Process
    log: Path
    client: ClientSession

    def errors(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "level=error" in line]

    async def scrape(self) -> Scrape:
        async with self.client.get("/metrics") as answer:
            return parsed(await answer.text())

    async def until(self, server: str, success: float, level: float) -> Scrape:
        """The scrape that says so of the config source and the critical level of ``server``."""
        async with asyncio.timeout(WITHIN):
            while True:
                found = await self.scrape()
                if (success, level) == (
                    value(found, "mcp_exporter_source_success", {"source": "config"}, server),
                    value(found, "mcp_threshold_error_ratio", {"severity": "critical"}, server),
                ):
                    return found
                await asyncio.sleep(0.05)

    async def reload(self) -> None:
        """SIGHUP, and wait until it was heeded."""
        before = self.log.read_text().count("configuration reloaded")
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(WITHIN):
            while self.log.read_text().count("configuration reloaded") == before:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def program(fleet: Path) -> AsyncIterator[Program]:
    log = fleet.parent / "exporter.log"
    command = [*COMMAND, "--config", str(fleet), "--listen", "127.0.0.1:0"]
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=stderr)
    try:
        async with asyncio.timeout(WITHIN):
            while "address=" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        url = "http://" + log.read_text().partition("address=")[2].split()[0]
        async with ClientSession(url) as client:
            yield Program(process, log, client)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def fleet_of(folder: Path, *servers: str) -> Path:
    """Each server has ``NAME.toml``."""
    file = write_fleet(folder, servers=servers)
    lines = [
        line.replace("3001/mcp", f"3001/mcp, config_file: {name}.toml")
        for line in file.read_text().splitlines()
        for name in [line.partition("name: ")[2].partition(",")[0]]
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


async def test_it_starts_shows_whose_file_is_broken_and_takes_it_once_it_is_mended(tmp_path: Path) -> None:
    (tmp_path / "codex.toml").write_text(BROKEN)
    (tmp_path / "other.toml").write_text(GOOD)
    async with program(fleet_of(tmp_path, "codex", "other")) as exporter:
        await exporter.until("other", 1, 0.2)
        found = await exporter.until("codex", 0, 0.05)
        assert value(found, "mcp_server_up", server="codex") == 1
        (said,) = exporter.errors()
        assert f'servers=codex problem="{tmp_path}/codex.toml:2: is not TOML: ' in said
        (tmp_path / "codex.toml").write_text(GOOD)
        await exporter.until("codex", 1, 0.2)
        assert exporter.errors() == [said]


async def test_a_reload_treats_it_alike(tmp_path: Path) -> None:
    (tmp_path / "codex.toml").write_text(GOOD)
    file = fleet_of(tmp_path, "codex")
    async with program(file) as exporter:
        await exporter.until("codex", 1, 0.2)
        (tmp_path / "codex.toml").write_text(BROKEN)
        (tmp_path / "new.toml").write_text(CROSSING)
        fleet_of(tmp_path, "codex", "new")
        await exporter.reload()
        found = await exporter.until("codex", 0, 0.2)
        assert found["mcp_exporter_config_last_reload_successful", frozenset()] == 1
        await exporter.until("new", 0, 0.05)
        broken, crossing = exporter.errors()
        assert "servers=codex problem=" in broken
        assert f'servers=new problem="{tmp_path}/new.toml:2: monitoring.alert_thresholds_error_rate: makes' in crossing
        for name in ("codex", "new"):
            (tmp_path / f"{name}.toml").write_text(GOOD.replace("0.2", "0.3"))
            await exporter.until(name, 1, 0.3)


def test_a_fleet_file_that_is_wrong_itself_still_ends_it(tmp_path: Path) -> None:
    (tmp_path / "codex.toml").write_text(BROKEN)
    ended = ran("--config", str(write_fleet(tmp_path, ", config_file: codex.toml, nonsense: 1")))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "servers[0].nonsense: unknown key" in ended.stderr
