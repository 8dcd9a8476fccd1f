"""What is taken out of a text before it is kept or shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.redaction import redacted

SECRET = "hunter2-Ab9zQ"
LONG = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA"
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{LONG}"


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"PASSWD: {SECRET}",
        f"db_password = '{SECRET} with a space'",
        f'{{"api_key": "{SECRET}", "tool": "echo"}}',
        f'{{"msg": "{{\\"client_secret\\": \\"{SECRET}\\"}}"}}',
        f'"token": "{SECRET}',
        f"MCP_ACCESS_TOKEN={SECRET}",
        f"x-api-key: {SECRET}",
        f"Authorization: Basic {LONG}=",
        f"authorization: bearer {LONG}",
        f"sent Bearer {LONG} to it",
        f"Cookie: a={SECRET}; b={LONG}",
        f'"set-cookie": "sid={SECRET}; Path=/"',
        f"redis://user:{SECRET}@db.example:6379/0",
        f"GET https://{SECRET}@example.org/",
        f"key sk-{LONG} used",
        f"key ghp_{LONG}123456 used",
        f"key AKIAABCDEFGHIJKLMNOP {JWT}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\\n{LONG}\\n-----END PRIVATE KEY-----\\n",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LONG}\n",
        f"{LONG}\n{LONG}\n-----END EC PRIVATE KEY-----",
    ],
)
def test_a_credential_is_taken_out(line: str) -> None:
    found = redacted(f"before\n{line}\nafter\n".encode()).decode()
    assert "<secret>" in found
    for each in (SECRET, LONG, JWT, "AKIAABCDEFGHIJKLMNOP"):
        assert each not in found
    assert found.startswith("before\n")


@pytest.mark.parametrize(
    "line",
    [
        "GET /mcp 200 in 1.25 s",
        "input_tokens: 1200, max_tokens=512",
        "basic authentication is off",
        "the secret of success",
        '{"level": "error", "tool": "echo", "error": "connection refused"}',
        "https://example.org/path?page=2 user@example.org",
        "-----BEGIN CERTIFICATE-----",
        "",
    ],
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert redacted(line.encode()).decode() == line


@given(st.binary(max_size=2000))
@example(b"password=<secret>")
def test_any_bytes_and_twice_is_as_once(text: bytes) -> None:
    found = redacted(text)
    assert redacted(found) == found
