"""Where a Redis (or Valkey) is: the URLs that ``redis.url`` takes, read once and strictly. Pure.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]           rediss:// is the same over TLS
    unix://[[USER]:PASSWORD@]/PATH[?db=DB]
    redis+sentinel://[[USER]:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]
    redis+cluster://[[USER]:PASSWORD@]HOST:PORT,HOST:PORT

With ``?tls=true`` the last two speak TLS. What TLS asks for is said in the query: ``ssl_ca_certs``, ``ssl_certfile``
and ``ssl_keyfile``, each an absolute path. User and password are percent-encoded.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_MAX_DATABASE: Final = 65535
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class RedisKind(enum.StrEnum):
    """How the Redis that serves is found."""

    SINGLE = "single"
    UNIX = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": RedisKind.SINGLE,
    "rediss": RedisKind.SINGLE,
    "unix": RedisKind.UNIX,
    "redis+sentinel": RedisKind.SENTINEL,
    "redis+cluster": RedisKind.CLUSTER,
}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One URL, taken apart.

    ``hosts`` are host and port: one of a single Redis, the sentinels, or nodes of a cluster; none of a unix socket,
    which has a ``path``. ``service`` is what the sentinels call the Redis that they watch. The files are empty where
    the system's own certificates do.
    """

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""


def parse_redis_url(text: str) -> RedisAddress:
    """Take a URL apart.

    Raises:
        ValueError: with what is wrong, fit for a person; no part of the URL is in it, since it may hold a password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    kind = _SCHEMES.get(parts.scheme)
    if kind is None or any(character.isspace() for character in text):
        raise ValueError(f"must be a URL that begins with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    if parts.fragment:
        raise ValueError("has a fragment: write a # of the password as %23")
    options = _options(parts, kind)
    user, _, places = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    hosts = _hosts(places, SENTINEL_PORT if kind is RedisKind.SENTINEL else DEFAULT_PORT)
    path, service, database = _place(kind, hosts, unquote(parts.path), options)
    return RedisAddress(
        kind=kind,
        hosts=hosts,
        path=path,
        service=service,
        database=database,
        username=unquote(username),
        password=unquote(password),
        tls=parts.scheme == "rediss" or options.get("tls") == "true",
        **{name: options[name] for name in _TLS_FILES if name in options},
    )


def _options(parts: SplitResult, kind: RedisKind) -> dict[str, str]:
    known = {
        RedisKind.SINGLE: _TLS_FILES if parts.scheme == "rediss" else (),
        RedisKind.UNIX: ("db",),
        RedisKind.SENTINEL: ("tls", *_TLS_FILES),
        RedisKind.CLUSTER: ("tls", *_TLS_FILES),
    }[kind]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) != len(pairs) or not set(options) <= set(known) or "" in options.values():
        listed = f"only {', '.join(known)}, each once and with a value" if known else "nothing"
        raise ValueError(f"may have {listed} in its query")
    if options.get("tls", "true") not in {"true", "false"}:
        raise ValueError("must have true or false for tls in its query")
    if set(_TLS_FILES) & set(options) and parts.scheme != "rediss" and options.get("tls") != "true":
        raise ValueError("names files for TLS without tls=true in its query")
    if any(not options.get(name, "/").startswith("/") for name in _TLS_FILES):
        raise ValueError("must name files for TLS by absolute paths")
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise ValueError("names one of ssl_certfile and ssl_keyfile without the other")
    return options


def _hosts(places: str, default_port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_host(place, default_port) for place in places.split(",")) if places else ()


def _host(place: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must have a port from 1 to 65535 after each host's colon") from None
    if not host or port == 0 or place.endswith(":"):
        raise ValueError("must name each host as HOST or HOST:PORT")
    return host, port or default_port


def _place(
    kind: RedisKind, hosts: tuple[tuple[str, int], ...], path: str, options: dict[str, str]
) -> tuple[str, str, int]:
    """The socket's path, the service and the database, as far as this kind has them."""
    if kind is RedisKind.UNIX:
        if hosts or len(path) < 2:
            raise ValueError("must name the socket by an absolute path: unix:///run/redis.sock")
        return path, "", _database(options.get("db", ""))
    if not hosts:
        raise ValueError("must name a host")
    if kind is RedisKind.SINGLE:
        if len(hosts) > 1:
            raise ValueError("must name one host; use redis+sentinel:// or redis+cluster:// for several")
        return "", "", _database(path.strip("/"))
    if kind is RedisKind.CLUSTER:
        if path.strip("/") not in {"", "0"}:
            raise ValueError("must not name a database: a cluster has only database 0")
        return "", "", 0
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("must name the service that the sentinels watch: redis+sentinel://HOST:PORT/SERVICE")
    return "", service, _database(database)


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= _MAX_DATABASE):
        raise ValueError(f"must have a database from 0 to {_MAX_DATABASE} after the host's slash")
    return int(text)
