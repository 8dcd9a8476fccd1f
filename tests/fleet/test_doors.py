"""What a browser, a rebound name or a stranger can do at our doors: nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from fleet.doors import Door, host_of, is_loopback

DOOR = Door.of("127.0.0.1", "http://medic.example:9848", ("right", "rotated"))
OWN = {"Host": "127.0.0.1:9848", "Content-Type": "application/json", "Authorization": "Bearer right"}


def status(headers: dict[str, str], has_body: bool = True, door: Door = DOOR) -> int:
    """The status of the refusal, 200 when the request may pass."""
    refusal = door.refuses_post(CIMultiDict(headers), has_body)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 200),
        ({"Authorization": "bearer rotated"}, 200),
        ({"Host": "medic.example:9848"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "[::1]:9848"}, 200),
        ({"Origin": "http://localhost:9848"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic right"}, 401),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer \udcff"}, 401),  # a byte that is no text, as the server hands it on
        ({"Origin": "http://["}, 403),
    ],
)
def test_each_way_in(change: dict[str, str], expected: int) -> None:
    assert status({**OWN, **change}) == expected


def test_a_post_without_a_body_needs_no_content_type() -> None:
    assert status({"Host": "127.0.0.1", "Authorization": "Bearer right"}, has_body=False) == 200


def test_without_tokens_no_authorization_is_asked_for() -> None:
    door = Door.of("127.0.0.1", None)
    assert status({"Host": "127.0.0.1", "Content-Type": "application/json"}, door=door) == 200


def test_a_wildcard_address_is_no_name() -> None:
    assert status({**OWN, "Host": "0.0.0.0:9848"}, door=Door.of("0.0.0.0", None)) == 421


def test_a_refusal_shows_no_secret() -> None:
    refusal = DOOR.refuses_post(CIMultiDict({**OWN, "Authorization": "Bearer wrong"}), has_body=True)
    assert refusal is not None
    assert "right" not in refusal.reason
    assert "wrong" not in refusal.reason


@pytest.mark.parametrize(
    ("host", "origin", "passes"),
    [
        ("127.0.0.1:9848", "http://127.0.0.1:9848", True),
        ("localhost:8000", "http://localhost:8000", True),  # a tunnel
        ("127.0.0.1:9848", "http://medic.example:9848", True),  # a proxy that rewrites Host
        ("medic.example", "https://medic.example", True),
        ("medic.example", "https://medic.example:443", True),
        ("[::1]:9848", "http://[::1]:9848", True),
        ("127.0.0.1:9848", "http://127.0.0.1:3000", False),
        ("127.0.0.1:9848", "http://127.0.0.1", False),
        ("127.0.0.1:9848", "http://localhost:9848", False),
        ("127.0.0.1:9848", "http://medic.example", False),
        ("127.0.0.1:9848", "http://127.0.0.1:x", False),
        ("127.0.0.1:9848", "http://[", False),
        ("127.0.0.1:x", "http://127.0.0.1:y", False),
    ],
)
def test_the_port_belongs_to_an_origin(host: str, origin: str, passes: bool) -> None:
    found = DOOR.refuses_other_origin(CIMultiDict({"Host": host, "Origin": origin}))
    assert (found is None) is passes


def test_what_no_browser_sends_has_no_origin() -> None:
    assert DOOR.refuses_other_origin(CIMultiDict({"Host": "127.0.0.1:9848"})) is None


HEADER = st.text(max_size=60) | st.text(max_size=60).map("http://{}".format) | st.just("http://[")


@given(HEADER, HEADER, HEADER, HEADER)
def test_no_header_crashes_a_door(host: str, origin: str, content_type: str, authorization: str) -> None:
    headers = {"Host": host, "Origin": origin, "Content-Type": content_type, "Authorization": authorization}
    assert status(headers) in {200, 401, 403, 415, 421}
    for refusal in (DOOR.refuses_origin(CIMultiDict(headers)), DOOR.refuses_other_origin(CIMultiDict(headers))):
        assert refusal is None or refusal.status == 403


@given(HEADER)
def test_only_a_known_token_passes(token: str) -> None:
    passes = status({**OWN, "Authorization": f"Bearer {token}"}) == 200
    assert passes == (token.strip() in DOOR.tokens)


def test_loopback_names() -> None:
    assert all(is_loopback(host_of(name)) for name in ("localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80"))
    assert not any(is_loopback(host_of(name)) for name in ("0.0.0.0", "10.0.0.1", "localhost.evil.example", ""))
    assert not any(is_loopback(name) for name in ("127.0.0.1.evil.example", "127.evil.example", "127.", "::2"))
