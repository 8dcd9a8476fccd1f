"""Who may POST to us: the checks that stand before every door of ours (never before relayed traffic).

A web page that a browser on this machine shows, or a name that was rebound to 127.0.0.1, must not be able to
inject errors and so cause a restart. Browsers cannot omit a foreign ``Origin``, cannot forge ``Host`` and
cannot send ``application/json`` across origins without a preflight that we never answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

JSON = "application/json"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not pass: an HTTP status and one short sentence without secrets.

    ``challenge`` is what ``WWW-Authenticate`` says to who is not known.
    """

    status: int
    reason: str
    challenge: str = "Bearer"


def host_of(authority: str) -> str:
    """The host name of ``HOST``, ``HOST:PORT`` or ``[V6]:PORT``, lower case, without brackets; '' if none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """True for the names and addresses that only this machine can reach; a name is only what it is called here."""
    if host in LOOPBACK_NAMES:
        return True
    import ipaddress  # noqa: PLC0415 - milliseconds of each stdio client's start, for what is seldom asked

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Door:
    """The names under which one listener may be addressed.

    ``names`` are host names in lower case: loopback, the listen address, the host of the configured ``url``.
    ``tokens`` are the accepted bearer tokens; empty means that no authentication is asked for. ``home`` is the host
    and the port of ``url``, None without one.
    """

    names: frozenset[str]
    tokens: tuple[str, ...] = ()
    home: tuple[str, int] | None = None

    @classmethod
    def of(cls, listen_host: str, url: str | None, tokens: tuple[str, ...] = ()) -> Door:
        """The door of a listener at ``listen_host`` that others reach by ``url`` (or None)."""
        own, home = {listen_host.lower()}, None if url is None else _place(url)
        if home is not None:
            own.add(home[0])
        return cls(frozenset(LOOPBACK_NAMES | own) - {"", "0.0.0.0", "::"}, tokens, home)  # noqa: S104 - names, no bind

    def refuses_post(self, headers: Mapping[str, str], has_body: bool) -> Refusal | None:
        """The reason to refuse a POST with these headers (any mapping that ignores case), or None."""
        return (
            self.refuses_host(headers)
            or self.refuses_origin(headers)
            or self.refuses_type(headers, has_body)
            or self.refuses_credentials(headers)
        )

    def refuses_origin(self, headers: Mapping[str, str]) -> Refusal | None:
        """The reason to refuse the Origin of what is not only read, or None."""
        origin = headers.get("Origin")
        if origin is not None and not self._own_origin(origin):
            return Refusal(403, "a foreign Origin may not post here")
        return None

    def refuses_other_origin(self, headers: Mapping[str, str]) -> Refusal | None:
        """As ``refuses_origin``, and the port must be ours as well: for a listener that does something when it is
        asked without a body. That needs no preflight, and other programs of this machine serve pages too.

        Ours is the port of ``Host``, which no page can forge, or of the configured ``url``: a proxy may rewrite Host.
        """
        refusal, origin = self.refuses_origin(headers), headers.get("Origin")
        if refusal is not None or origin is None:
            return refusal
        asked = _place(f"{urlsplit(origin).scheme}://{headers.get('Host', '')}")
        if _place(origin) not in {asked, self.home}:
            return Refusal(403, "a page of another program may not post here; use the configured url")
        return None

    def refuses_type(self, headers: Mapping[str, str], has_body: bool, expected: str = JSON) -> Refusal | None:
        """The reason to refuse the Content-Type of a body, or None."""
        content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if has_body and content_type != expected:
            return Refusal(415, f"send the body as Content-Type: {expected}")
        return None

    def refuses_host(self, headers: Mapping[str, str]) -> Refusal | None:
        """The reason to refuse the Host header, or None."""
        if host_of(headers.get("Host", "")) not in self.names:
            return Refusal(421, "this Host is not served here; use the listen address or the configured url")
        return None

    def refuses_credentials(self, headers: Mapping[str, str]) -> Refusal | None:
        """The reason to refuse the Authorization header, or None; compared in constant time."""
        if not self.tokens:
            return None
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        presented = given.strip().encode("utf-8", "surrogateescape")
        # Every token is compared, so that the time taken does not tell which one was nearly right.
        import hmac  # noqa: PLC0415 - brings OpenSSL with it; a socket without tokens does without

        matches = [hmac.compare_digest(presented, token.encode()) for token in self.tokens]
        if scheme.lower() != "bearer" or not any(matches):
            return Refusal(401, "a valid bearer token is needed")
        return None

    def _own_origin(self, origin: str) -> bool:
        place = _place(origin)
        return place is not None and place[0] in self.names


def _place(url: str) -> tuple[str, int] | None:
    """The host, in lower case, and the port of an http or https URL; None when it is none."""
    try:
        parts = urlsplit(url)
        port, usual = parts.port, _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if usual is None else (parts.hostname or "", usual if port is None else port)
