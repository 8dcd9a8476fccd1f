"""Copies of a server's TOML: which there are, which go, and one of them put back whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.backups import KEPT_DAYS, KEPT_NEWEST, Backup, digest_of, folder_of, listed, superfluous, thin
from fleet.config_change import change, keep, put_back
from fleet.errors import ConfigError, PermanentError
from fleet.server_settings import Setting

DAY = 86400.0
NOW = 1_800_000_000.0
TTL = Setting("mcp", "cache_ttl_ms")
GOOD = """# what is good
[mcp]
cache_ttl_ms = 300_000   # five minutes

[unknown]
token = "hunter2"
"""
BACKUPS = st.lists(
    st.tuples(st.integers(0, 200), st.floats(0, 45 * DAY)),
    max_size=60,
    unique_by=lambda each: each[0],
).map(lambda found: [Backup(f"{number}.toml", NOW - age, 1) for number, age in found])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "server.toml"
    found.write_text(GOOD)
    return found


@given(BACKUPS, st.sets(st.integers(0, 200).map(lambda number: f"{number}.toml")))
def test_the_newest_one_of_each_day_and_what_must_stay_stay(backups: list[Backup], must: set[str]) -> None:
    going = set(superfluous(backups, NOW, must))
    assert not going & must
    newest = sorted(backups, key=lambda each: (-each.at, each.name))[:KEPT_NEWEST]
    assert not going & {each.name for each in newest}
    staying = [each for each in backups if each.name not in going]
    for each in backups:
        if NOW - each.at < KEPT_DAYS * DAY:  # its day is still told of
            assert any(other.at // DAY == each.at // DAY and other.at >= each.at for other in staying)
    assert len(staying) <= KEPT_NEWEST + KEPT_DAYS + 1 + len(must)


@given(BACKUPS, st.lists(st.floats(0, DAY), max_size=5))
def test_to_thin_often_takes_no_more_than_to_thin_once(backups: list[Backup], pauses: list[float]) -> None:
    often, now = backups, NOW
    for pause in pauses:
        gone = set(superfluous(often, now))
        often, now = [each for each in often if each.name not in gone], now + pause
    once = set(superfluous(backups, now))
    assert {each.name for each in often} - set(superfluous(often, now)) == {each.name for each in backups} - once


def test_copies_are_listed_newest_first_and_thinned(file: Path) -> None:
    for number in range(25):
        kept = keep(file, f"[mcp]\ncache_ttl_ms = {number + 1}\n".encode(), stamp=f"act-{number}")
        os.utime(kept, (NOW - number * 60 - 40 * DAY,) * 2)
    (folder_of(file) / "link.toml").symlink_to(file)
    (folder_of(file) / "notes.txt").write_text("mine")
    names = [each.name for each in listed(file)]
    assert names == [f"act-{number}.toml" for number in range(25)]
    assert thin(file, NOW, keep={"act-24.toml"}) == 4
    assert [each.name for each in listed(file)] == [*names[:20], "act-24.toml"]
    assert (folder_of(file) / "notes.txt").exists()


def test_nothing_is_listed_where_nothing_was_kept(tmp_path: Path) -> None:
    assert listed(tmp_path / "none.toml") == []
    assert digest_of(tmp_path / "none.toml") == ""


def test_a_backup_is_put_back_byte_for_byte_and_what_it_replaces_is_kept(file: Path) -> None:
    file.chmod(0o640)
    done = change(file, {TTL: 1000}, stamp="act-1")
    assert done.backup is not None
    edited = file.read_text().replace("hunter2", "hunter3")
    file.write_text(edited)
    back = put_back(file, done.backup.name, stamp="act-2")
    assert file.read_text() == GOOD
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert back.backup is not None
    assert back.backup.read_text() == edited
    assert (back.before[TTL], back.after[TTL]) == ("1000", "300_000")
    assert "+cache_ttl_ms = 300_000" in back.diff
    assert "hunter" not in back.diff  # other lines may hold a secret: they are counted
    assert "# 2 other lines differ" in back.diff


@pytest.mark.parametrize("broken", [b"[mcp\n", b"\xff\xfe", b'[mcp]\ncache_ttl_ms = "many"\n', None])
def test_a_broken_or_missing_file_is_replaced_too(file: Path, broken: bytes | None) -> None:
    kept = keep(file, GOOD.encode(), stamp="good")
    file.unlink()
    if broken is not None:
        file.write_bytes(broken)
    back = put_back(file, kept.name, stamp="act-1")
    assert file.read_text() == GOOD
    assert (back.backup is None) == (broken is None)
    assert back.backup is None or back.backup.read_bytes() == broken


def test_what_stands_already_is_not_written_again(file: Path) -> None:
    kept = keep(file, GOOD.encode(), stamp="good")
    before = file.stat().st_ino
    assert put_back(file, kept.name, stamp="act-1").backup is None
    assert file.stat().st_ino == before


@pytest.mark.parametrize("name", ["../server.toml", "/etc/passwd", "", ".", "good", "good.toml\0", "link.toml"])
def test_only_a_name_of_its_own_backups_is_taken(file: Path, name: str) -> None:
    keep(file, b"[mcp]\n", stamp="good")
    (folder_of(file) / "link.toml").symlink_to("/etc/passwd")
    with pytest.raises(PermanentError, match="is no backup of"):
        put_back(file, name, stamp="act-1")
    assert file.read_text() == GOOD


def test_a_broken_backup_is_not_put_back(file: Path) -> None:
    kept = keep(file, b"[mcp\n", stamp="bad")
    with pytest.raises(ConfigError):
        put_back(file, kept.name, stamp="act-1")
    assert file.read_text() == GOOD
