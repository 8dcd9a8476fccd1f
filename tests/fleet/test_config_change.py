"""A server's TOML changed and set back: real files, and any spelling that TOML allows around the values."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import config_change
from fleet.config_change import change, read_raw, revert
from fleet.errors import ConfigError, PermanentError, TemporaryError
from fleet.profiles import PROFILES
from fleet.server_settings import KNOWN, Setting, SettingValue
from fleet.toml_text import UneditableError, raw_value, same_value, with_value

TTL, CACHING = Setting("mcp", "cache_ttl_ms"), Setting("mcp", "enable_response_caching")
BREAKER = Setting("performance", "enable_circuit_breaker")
TEXT = """# servers of the house
[mcp]   # 最適化
enable_response_caching = true     # fast
  cache_ttl_ms\t=  300_000 # five minutes

[security.risk_levels]
"read-only" = "low"

[other]
text = \"\"\"
[mcp]
cache_ttl_ms = 1
\"\"\"
token = "hunter2"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "server.toml"
    found.write_text(TEXT)
    return found


def test_values_change_and_nothing_else(file: Path) -> None:
    done = change(file, {CACHING: False, TTL: 60_000}, stamp="act-1")
    assert file.read_text() == TEXT.replace("= true ", "= false ").replace("300_000", "60000")
    assert done.before == {CACHING: "true", TTL: "300_000"}
    assert done.after == {CACHING: "false", TTL: "60000"}
    assert done.diff == (
        "--- server.toml\n+++ server.toml\n@@ -3,2 +3,2 @@\n"
        "-enable_response_caching = true     # fast\n-  cache_ttl_ms\t=  300_000 # five minutes\n"
        "+enable_response_caching = false     # fast\n+  cache_ttl_ms\t=  60000 # five minutes\n"
    )
    assert done.backup == file.parent / "server.toml.backups" / "act-1.toml"
    assert done.backup.read_text() == TEXT


def test_it_leaves_only_the_lock_and_the_backups(file: Path) -> None:
    change(file, {TTL: 1}, stamp="a")
    assert {path.name for path in file.parent.iterdir()} == {"server.toml", "server.toml.lock", "server.toml.backups"}
    assert [path.name for path in (file.parent / "server.toml.backups").iterdir()] == ["a.toml"]


def test_what_stands_already_is_not_written(file: Path) -> None:
    before = file.stat()
    done = change(file, {TTL: 300_000, CACHING: True}, stamp="a")
    assert (done.backup, done.diff) == (None, "")
    assert done.after == {TTL: "300_000", CACHING: "true"}
    assert file.stat() == before


def test_the_mode_is_kept_and_a_link_stays_a_link(file: Path) -> None:
    file.chmod(0o640)
    link = file.parent / "link.toml"
    link.symlink_to(file.name)
    change(link, {TTL: 1}, stamp="a")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert read_raw(link, frozenset({TTL})) == {TTL: "1"}


def test_a_backup_is_never_overwritten(file: Path) -> None:
    backups = [change(file, {TTL: number}, stamp="same").backup for number in (1, 2, 3)]
    assert [backup.name for backup in backups if backup] == ["same.toml", "same.2.toml", "same.3.toml"]
    assert [read_raw(backup, frozenset({TTL}))[TTL] for backup in backups if backup] == ["300_000", "1", "2"]


@pytest.mark.parametrize("stamp", ["", "../x", "a/b", ".hidden", "x" * 101, "a\n"])
def test_a_stamp_is_no_path(file: Path, stamp: str) -> None:
    with pytest.raises(PermanentError, match="cannot name a backup"):
        change(file, {TTL: 1}, stamp=stamp)
    assert file.read_text() == TEXT


@pytest.mark.parametrize("value", [0, "true", '"x"', -5])
def test_a_value_that_the_reader_refuses_is_never_written(file: Path, value: int | str) -> None:
    with pytest.raises(ConfigError) as raised:
        change(file, {TTL: value}, stamp="a")
    assert str(raised.value).startswith(f"{file}:4: mcp.cache_ttl_ms: must be a positive number")
    assert file.read_text() == TEXT
    assert not (file.parent / "server.toml.backups").exists()


@pytest.mark.parametrize("raw", ["1\n[x]", "1 # note", "", " 1", "1\ny = 2", "nonsense"])
def test_a_raw_text_is_one_value(file: Path, raw: str) -> None:
    with pytest.raises(UneditableError, match="not one TOML value"):
        change(file, {TTL: raw}, stamp="a")
    assert file.read_text() == TEXT


def test_a_broken_or_missing_file_is_a_message(file: Path) -> None:
    file.write_text("[mcp\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        change(file, {TTL: 1}, stamp="a")
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        change(file, {TTL: 1}, stamp="a")


def test_a_lock_that_is_held_is_temporary(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_change, "LOCK_SECONDS", 0.05)
    descriptor = os.open(file.parent / "server.toml.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(TemporaryError, match="held by another program"):
            change(file, {TTL: 1}, stamp="a")
    finally:
        os.close(descriptor)
    assert change(file, {TTL: 1}, stamp="a").backup is not None


def test_many_at_once_lose_nothing(file: Path) -> None:
    names = [name for name, (_, kind) in KNOWN.items() if kind is int]
    threads = [
        threading.Thread(target=change, args=(file, {KNOWN[name][0]: 7}), kwargs={"stamp": "same"}) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(read_raw(file, frozenset(KNOWN[name][0] for name in names)).values()) == {"7"}
    assert len(list((file.parent / "server.toml.backups").iterdir())) == len(names)


def test_a_persons_edit_wins_and_is_named(file: Path) -> None:
    done = change(file, {CACHING: False, TTL: 60_000, BREAKER: False}, stamp="a")
    file.write_text(file.read_text().replace("60000", "90000"))
    undone = revert(file, done.after, done.before, stamp="b")
    assert undone.kept_by_a_person == {TTL: "90000"}
    assert file.read_text() == TEXT.replace("300_000", "90000")
    assert undone.change.after == {CACHING: "true", TTL: "90000", BREAKER: None}


def test_who_set_it_back_by_hand_edited_nothing(file: Path) -> None:
    done = change(file, {TTL: 60_000}, stamp="a")
    file.write_text(TEXT)
    undone = revert(file, done.after, done.before, stamp="b")
    assert (undone.kept_by_a_person, undone.change.backup) == ({}, None)
    assert file.read_text() == TEXT


def test_a_removed_line_is_a_persons_edit(file: Path) -> None:
    done = change(file, {TTL: 60_000}, stamp="a")
    file.write_text("[mcp]\n")
    assert revert(file, done.after, done.before, stamp="b").kept_by_a_person == {TTL: None}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
@pytest.mark.parametrize("text", [TEXT, "", "[mcp]", "#", TEXT.replace("\n", "\r\n")], ids=range(5))
def test_every_profile_comes_and_goes(tmp_path: Path, profile: object, text: str) -> None:
    changes = dict(profile.changes)  # type: ignore[attr-defined]
    file = tmp_path / "server.toml"
    file.write_bytes(text.encode())
    done = change(file, changes, stamp="a")
    for setting in reversed(done.after):
        revert(file, {setting: done.after[setting]}, {setting: done.before[setting]}, stamp="b")
    assert file.read_bytes() == text.encode()


SETTINGS = [setting for setting, _ in KNOWN.values()]
ENDS = st.sampled_from(["\n", "\r\n"])
SPACE = st.sampled_from(["", " ", "\t", "   "])
COMMENT = st.sampled_from(["", " # 5分キャッシュ", "#x", "\t# [mcp] = 1"])
VALUES = {
    bool: st.sampled_from(["true", "false"]),
    int: st.sampled_from(["1", "300_000", "0x10", "+7", "0b11", "999999", "0o7"]),
}
NOISE = st.sampled_from(
    [
        "",
        "   ",
        "# comment",
        "  # cache_ttl_ms = 1",
        'text = "cache_ttl_ms = 1"',
        'long = """\n[mcp]\ncache_ttl_ms = 1\n[performance]\n"""',
        "list = [\n  1, # one\n\n  2,\n]",
        "inline = { cache_ttl_ms = 1, b = [ {} ] }",
        "when = 1979-05-27T07:32:00Z",
        "number = nan",
        "'odd key' = '''a\n'''",
    ]
)


@st.composite
def section(draw: st.DrawFn, name: str) -> str:
    """One section: our keys in any spelling, other things between them, a header in any spelling or dotted keys."""
    chosen = draw(st.lists(st.sampled_from([s for s in SETTINGS if s.section == name]), unique=True, max_size=5))
    lines = []
    for setting in chosen:
        kind = KNOWN[str(setting)][1]
        key = draw(st.sampled_from([setting.key, f'"{setting.key}"', f"'{setting.key}'"]))
        lines.append(f"{draw(SPACE)}{key}{draw(SPACE)}={draw(SPACE)}{draw(VALUES[kind])}{draw(SPACE)}{draw(COMMENT)}")
    seen: set[str] = set()
    for noise in draw(st.lists(NOISE, max_size=4)):
        name_of = noise.partition("=")[0].strip()
        if "=" not in noise or noise.lstrip().startswith("#") or name_of not in seen:
            seen.add(name_of)
            lines.insert(draw(st.integers(0, len(lines))), noise)
    quoted = draw(st.sampled_from([name, f'"{name}"', f"'{name}'"]))
    header = f"{draw(SPACE)}[{draw(SPACE)}{quoted}{draw(SPACE)}]{draw(SPACE)}{draw(COMMENT)}"
    return "\n".join([header, *lines])


@st.composite
def toml_file(draw: st.DrawFn) -> str:
    """A whole file; the sections in any order, in part absent, in part written as dotted keys or an inline table."""
    parts = [draw(section(name)) for name in draw(st.lists(st.sampled_from(["mcp", "performance"]), unique=True))]
    parts += draw(
        st.lists(st.sampled_from(["[mcp.sub]\nx = 1", "[[many]]\na = 1\n[[many]]", "[other]\nmcp = 1\n"]), unique=True)
    )
    parts = list(draw(st.permutations(parts)))
    if not any("mcp" in part.split("\n")[0] for part in parts):
        lead = ["mcp.cache_ttl_ms = 5 # dotted", "mcp = { cache_ttl_ms = 5, enable_response_caching = true }"]
        parts.insert(0, draw(st.sampled_from(lead)))
    parts.insert(0, draw(st.sampled_from(["", "# top", "\n\n", "title = 'x'"])))
    text = "\n".join(parts) + draw(st.sampled_from(["", "\n", "\n\n", "\n# the end"]))
    return text.replace("\n", draw(ENDS))


CHANGES = st.dictionaries(st.sampled_from(sorted(KNOWN)), st.none(), min_size=1, max_size=6).flatmap(
    lambda names: st.fixed_dictionaries(
        {KNOWN[name][0]: st.booleans() if KNOWN[name][1] is bool else st.integers(1, 9) for name in names}
    )
)


def _flat(text: str) -> dict[str, object]:
    return {
        f"{name}.{key}": value
        for name, table in tomllib.loads(text).items()
        if isinstance(table, dict)
        for key, value in table.items()
    }


@settings(max_examples=300, deadline=None)
@given(toml_file(), CHANGES, st.randoms())
def test_set_and_set_back_in_any_order_is_byte_identical(
    text: str, changes: dict[Setting, SettingValue], random: object
) -> None:
    before = {setting: raw_value(text, setting) for setting in changes}
    new = text
    for setting, value in changes.items():
        try:
            new = with_value(new, setting, str(value).lower())
        except UneditableError:
            assert "mcp = {" in text  # nothing can be added to an inline table without rewriting it
            return
    assert _flat(new) == _flat(text) | {str(setting): value for setting, value in changes.items()} or "nan" in text
    back = list(before.items())
    random.shuffle(back)  # type: ignore[attr-defined]
    for setting, raw in back:
        new = with_value(new, setting, raw)
    assert new == text


@given(st.text(), st.sampled_from(SETTINGS), st.sampled_from(["true", "1", None]))
def test_no_text_crashes_the_editor(text: str, setting: Setting, raw: str | None) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    try:
        new = with_value(text, setting, raw)
    except UneditableError:
        return
    assert raw_value(new, setting) == raw


def test_values_are_compared_with_their_types() -> None:
    assert same_value("300_000", "300000")
    assert not same_value("true", "1")
    assert not same_value("1.0", "1")
    assert not same_value(None, "1")
