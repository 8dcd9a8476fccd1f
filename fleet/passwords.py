"""Basic authentication against bcrypt hashes: each check takes a tenth of a second, so what was right is remembered."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

import bcrypt

MAX_PASSWORD_BYTES: Final = 72
"""bcrypt looks at no more; a longer one can be nobody's."""


class Login(NamedTuple):
    """A name and the password given with it."""

    user: str
    password: str


def login_of(authorization: str) -> Login | None:
    """The login in an ``Authorization`` header; None when it holds none."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(given.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return Login(user, password) if colon else None


class Passwords:
    """The users of one configuration. ``remembers`` is quick; ``check`` blocks, one check at a time.

    Only logins that were right are remembered, at most one for each user, by a keyed digest that is worth nothing
    outside this process. Who guesses costs one thread and nobody else.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = {name: _as_here(hashed) for name, hashed in users.items()}
        self._key = secrets.token_bytes(32)
        self._right: dict[str, bytes] = {}
        self._turn = threading.Lock()
        # An unknown name takes as long as a known one: its password is checked against a hash as dear as the others.
        self._nobodys = next(iter(self._users.values()), None)

    def __bool__(self) -> bool:
        """True when anybody is asked for a password."""
        return bool(self._users)

    def remembers(self, login: Login) -> bool:
        """True when this login was right before."""
        return hmac.compare_digest(self._right.get(login.user, b""), self._digest(login))

    def check(self, login: Login) -> bool:
        """True when the password is the user's."""
        hashed = self._users.get(login.user, self._nobodys)
        password = login.password.encode("utf-8", "surrogateescape")
        if hashed is None:
            return False
        with self._turn:
            right = _matches(password[:MAX_PASSWORD_BYTES], hashed)
        if not right or login.user not in self._users or len(password) > MAX_PASSWORD_BYTES:
            return False
        self._right[login.user] = self._digest(login)
        return True

    def _digest(self, login: Login) -> bytes:
        text = f"{login.user}\0{login.password}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, text, hashlib.sha256).digest()


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False


def _as_here(hashed: str) -> bytes:
    """``$2$`` and ``$2x$`` are older names; Go's bcrypt takes what this library calls ``$2b$``."""
    _, _version, rest = hashed.split("$", 2)
    return f"$2b${rest}".encode()
