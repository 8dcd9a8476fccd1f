"""Users as htpasswd writes them: every mistake named by its line, no hash ever shown."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import ConfigError, Problem
from fleet.password_files import MAX_BYTES, RESERVED, read_users

HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
OTHER = HASH.replace("$2b$", "$2y$")
KEY = "receiver.authentication.basic_auth_file"
REMEDY = "Write lines such as from: htpasswd -nBC 10 NAME"


def test_users_comments_and_empty_lines(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"# people\n\nalice:{HASH}\n  bob:{OTHER}  \r\n")
    assert read_users(file, KEY) == {"alice": HASH, "bob": OTHER}


def test_every_mistake_at_once_and_no_hash_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"alice:{HASH}\nalice:{OTHER}\nbob\n:{HASH}\ncarl:$apr1$abc$defsecret\ndora:{HASH}:extra\n")
    with pytest.raises(ConfigError) as raised:
        read_users(file, KEY)
    assert [str(each).removeprefix(str(file)) for each in raised.value.problems] == [
        f":2: {KEY}: names a user a second time, first in line 1. {REMEDY}",
        f":3: {KEY}: has no password behind the name. {REMEDY}",
        f":4: {KEY}: begins with no user's name. {REMEDY}",
        f":5: {KEY}: holds no bcrypt hash. {REMEDY}",
        f":6: {KEY}: holds no bcrypt hash. {REMEDY}",
    ]
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no user"),
        (b"# nobody\n", "holds no user"),
        (b"ok\n\xff\xfe:x\n", "is not UTF-8"),
        (b"a" * (MAX_BYTES + 1), "is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_file_of_users(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "users"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_users(file, KEY)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{KEY}: cannot be read: No such file or directory. Create it with mode"):
        read_users(tmp_path / "none", KEY)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"alice:{HASH}\n{text}".encode("utf-8", "replace"))
)
def test_any_bytes_are_users_or_a_problem(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any"
    file.write_bytes(content)
    users: dict[str, str] = {}
    problems: tuple[Problem, ...] = ()
    try:
        users = read_users(file, KEY)
    except ConfigError as error:
        problems = error.problems
    assert bool(users) != bool(problems)
    assert all(each.key_path == KEY and each.remedy for each in problems)
    assert all(name and ":" not in name for name in users)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_nobody_is_called_what_the_journal_calls_somebody_else(tmp_path: Path, name: str) -> None:
    file = tmp_path / "users"
    file.write_text(f"alice:{HASH}\n{name}:{HASH}\n")
    with pytest.raises(ConfigError, match=f"users:2: .* names a user {name}, as the journal"):
        read_users(file, KEY)
