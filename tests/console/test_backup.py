"""Copies of a server's TOML: kept, listed with what each would change, put back byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.acting_world import PRODUCTION, Clinic, clinic

BROKEN = "[mcp\nenable_response_caching = perhaps\n"


def read(file: Path) -> str:
    return file.read_text()


@pytest.fixture
async def alone() -> AsyncIterator[Clinic]:
    async with clinic(running_receiver=False) as opened:
        yield opened


async def test_a_copy_is_kept_where_every_change_keeps_its_own(alone: Clinic) -> None:
    told = await alone.types("backup", "alpha", "--json")
    (copy,) = told.json["copies"]
    assert told.code == 0
    path = Path(copy["path"])
    assert path.parent == alone.toml.resolve().with_name("alpha.toml.backups")
    assert (read(path), copy["size"]) == (PRODUCTION, len(PRODUCTION.encode()))
    # Without a name: of every server that has a file.
    everyone = await alone.types("backup", "--json")
    assert [copy["server"] for copy in everyone.json["copies"]] == ["alpha"]
    assert len(list(path.parent.glob("*.toml"))) == 2


async def test_a_server_without_a_file_has_nothing_to_keep(alone: Clinic) -> None:
    told = await alone.types("backup", "beta")
    assert told.code == 1
    assert "names no config_file" in told.out


async def test_the_list_says_what_each_would_change(alone: Clinic) -> None:
    assert (await alone.types("backup", "alpha")).code == 0
    assert (await alone.types("high-load", "alpha", "--direct")).code == 0
    told = await alone.types("restore", "alpha", "--list", "--direct", "--json")
    assert told.code == 0, told.err
    newest, oldest = told.json["backups"]
    assert newest["name"].startswith("high_load-")
    assert oldest["name"].startswith("backup-")
    assert newest["differs"] == oldest["differs"] == [
        "mcp.max_concurrent_sessions 15 <- 12",
        "mcp.session_timeout_ms 600_000 <- 300000",
        "performance.initial_response_timeout 45000 <- 30000",
        "performance.max_processes 8 <- 6",
    ]  # fmt: skip
    assert (newest["same"], newest["other_lines"], newest["broken"]) == (False, False, None)
    shown = await alone.types("restore", "alpha", "--list", "--direct", columns=40)
    assert max(map(len, shown.out.splitlines())) <= 40


async def test_without_a_receiver_the_list_says_what_it_cannot(alone: Clinic) -> None:
    await alone.types("backup", "alpha")
    told = await alone.types("restore", "alpha", "--list")
    assert told.code == 3
    said = " ".join(told.out.split())
    assert "backup-" in said
    assert "cannot say which of them was good last" in said


@pytest.mark.parametrize("broken", [False, True])
async def test_it_is_put_back_byte_for_byte_and_what_it_replaces_is_kept(alone: Clinic, broken: bool) -> None:
    kept = await alone.types("backup", "alpha", "--json")
    name = Path(kept.json["copies"][0]["path"]).name
    now = BROKEN if broken else PRODUCTION.replace("batch_size = 5", "batch_size = 50").replace("社内", "社外")
    alone.toml.write_text(now)
    told = await alone.types("restore", "alpha", "--backup", name, "--direct", "--yes", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"]) == (0, "succeeded"), told.out
    assert alone.toml.read_text() == PRODUCTION
    assert read(Path(act["backup"])) == now
    assert len(alone.alpha.restarts) == 1
    assert "sk-not-for-any-terminal" not in told.out + told.err
    assert ("the whole file was put back" if broken else "batch_size 50 -> 5") in act["detail"]


async def test_only_a_backup_of_this_server_can_be_named(alone: Clinic) -> None:
    secret = alone.world.folder / "secret.toml"
    secret.write_text("[mcp]\n")
    for name in ("../secret.toml", str(secret), "nothing.toml"):
        told = await alone.types("restore", "alpha", "--backup", name, "--direct", "--yes", "--json")
        (act,) = told.json["acts"]
        assert (told.code, act["outcome"]) == (1, "failed")
    assert alone.toml.read_text() == PRODUCTION


async def test_without_a_journal_a_name_is_needed(alone: Clinic) -> None:
    told = await alone.types("restore", "alpha", "--direct", "--yes", "--json")
    assert "there is no backup of" in told.json["acts"][0]["detail"]
    await alone.types("backup", "alpha")
    told = await alone.types("restore", "alpha", "--direct", "--yes", "--json")
    (act,) = told.json["acts"]
    assert told.code == 1
    assert "name one by --backup" in act["detail"]
    assert "backup-" in act["detail"]


async def test_the_receiver_puts_a_named_backup_back() -> None:
    async with clinic() as opened:
        kept = await opened.types("backup", "alpha", "--json")
        name = Path(kept.json["copies"][0]["path"]).name
        listed = await opened.types("restore", "alpha", "--list", "--json")
        assert (listed.code, [each["name"] for each in listed.json["backups"]]) == (0, [name])
        changed = PRODUCTION.replace("batch_size = 5", "batch_size = 50")
        opened.toml.write_text(changed)
        told = await opened.types("restore", "alpha", "--backup", name, "--yes", "--json")
        (act,) = told.json["acts"]
        assert (told.code, act["outcome"], act["through"]) == (0, "succeeded", "receiver"), told.out
        assert opened.toml.read_text() == PRODUCTION
        told = await opened.types("restore", "alpha", "--backup", "nothing.toml", "--yes")
        assert (told.code, told.out) == (1, "")
        assert "no such backup" in told.err
