"""Every form of redis.url, every mistake in one, and that no message holds a part of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.redis_address import RedisAddress, RedisKind, parse_redis_url

SINGLE, UNIX, SENTINEL, CLUSTER = RedisKind.SINGLE, RedisKind.UNIX, RedisKind.SENTINEL, RedisKind.CLUSTER


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisAddress(SINGLE, (("h", 6379),))),
        ("redis://h:1/2", RedisAddress(SINGLE, (("h", 1),), database=2)),
        ("redis://h/", RedisAddress(SINGLE, (("h", 6379),))),
        ("redis://[::1]:7/0", RedisAddress(SINGLE, (("::1", 7),))),
        ("redis://:p%40ss@h", RedisAddress(SINGLE, (("h", 6379),), password="p@ss")),
        ("redis://me:a%3Ab@h", RedisAddress(SINGLE, (("h", 6379),), username="me", password="a:b")),
        ("rediss://h", RedisAddress(SINGLE, (("h", 6379),), tls=True)),
        ("rediss://h?ssl_ca_certs=/ca.pem", RedisAddress(SINGLE, (("h", 6379),), tls=True, ssl_ca_certs="/ca.pem")),
        ("unix:///run/r.sock", RedisAddress(UNIX, path="/run/r.sock")),
        ("unix://:pw@/run/r.sock?db=3", RedisAddress(UNIX, path="/run/r.sock", database=3, password="pw")),
        (
            "redis+sentinel://u:pw@a,b:2/main/5",
            RedisAddress(SENTINEL, (("a", 26379), ("b", 2)), "", "main", 5, "u", "pw"),
        ),
        ("redis+sentinel://a/main?tls=true", RedisAddress(SENTINEL, (("a", 26379),), service="main", tls=True)),
        ("redis+cluster://a:1,b:2", RedisAddress(CLUSTER, (("a", 1), ("b", 2)))),
        (
            "redis+cluster://a?tls=true&ssl_certfile=/c&ssl_keyfile=/k",
            RedisAddress(CLUSTER, (("a", 6379),), tls=True, ssl_certfile="/c", ssl_keyfile="/k"),
        ),
    ],
)
def test_every_form_is_taken_apart(url: str, expected: RedisAddress) -> None:
    assert parse_redis_url(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must be a URL that begins with"),
        ("hunter2", "must be a URL that begins with"),
        ("http://:hunter2@h", "must be a URL that begins with"),
        ("redis://:hunter2 @h", "must be a URL that begins with"),
        ("redis://:hunter2@[h", "is not a URL"),
        ("redis://:hun#ter2@h", "has a fragment"),
        ("redis://", "must name a host"),
        ("redis://:hunter2@:6379", "must name each host"),
        ("redis://:hunter2@h:", "must name each host"),
        ("redis://:hunter2@h:0", "must name each host"),
        ("redis://:hunter2@h:99999", "must have a port"),
        ("redis://:hunter2@h:x", "must have a port"),
        ("redis://:hunter2@a,b", "must name one host"),
        ("redis://:hunter2@h/x", "must have a database"),
        ("redis://:hunter2@h/99999999999", "must have a database"),
        ("redis://h?password=hunter2", "may have nothing in its query"),
        ("rediss://h?ssl_ca_certs=", "may have only ssl_ca_certs"),
        ("rediss://h?ssl_certfile=/c", "names one of"),
        ("rediss://h?ssl_ca_certs=ca.pem", "must name files for TLS by absolute paths"),
        ("unix://h/run/r.sock", "must name the socket"),
        ("unix://", "must name the socket"),
        ("unix:///r?db=x", "must have a database"),
        ("redis+sentinel://a", "must name the service"),
        ("redis+sentinel:///main", "must name a host"),
        ("redis+sentinel://a,/main", "must name each host"),
        ("redis+cluster://a/1", "must not name a database"),
        ("redis+cluster://a?tls=maybe", "must have true or false"),
        ("redis+cluster://a?ssl_ca_certs=/ca", "without tls=true"),
    ],
)
def test_every_mistake_is_named_without_the_secret(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse_redis_url(url)
    assert "hun" not in str(raised.value)


def test_a_password_is_not_in_the_representation() -> None:
    assert "hunter2" not in repr(parse_redis_url("redis://:hunter2@h"))


@given(st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "redis+cluster"]), st.text(max_size=40))
def test_no_text_crashes_the_parser(scheme: str, rest: str) -> None:
    message = ""
    try:
        parse_redis_url(f"{scheme}://{rest}")
    except ValueError as error:
        message = str(error)
    # Only messages of our own: one of the standard library would hold a part of the URL.
    assert message.startswith(("must ", "may ", "has ", "is not a URL", "names ")) or not message
