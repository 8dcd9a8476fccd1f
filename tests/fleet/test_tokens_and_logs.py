"""Tokens never show; log lines stay one line each."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ConfigError
from fleet.logs import Logfmt
from fleet.tokens import read_token


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  s3cret\n")
    assert read_token(tmp_path / "token", "receiver.x") == "s3cret"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"caf\xc3\xa9", b"a\x00b"])
def test_what_is_no_token_is_named_but_never_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_token(file, "receiver.x")
    message = str(raised.value)
    assert message.startswith(f"{file}: receiver.x: holds no ")
    assert "words" not in message


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_token(tmp_path / "none", "receiver.x")


@given(st.text(), st.text())
def test_a_record_is_one_line_whatever_it_says(message: str, value: str) -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, message.replace("%", "%%"), None, None)
    record.field = value
    line = Logfmt().format(record)
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("ts=")
    assert " field=" in line
