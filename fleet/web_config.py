"""The web configuration file that Prometheus' own programs share: TLS and basic authentication. Pure reading.

The format is that of Prometheus' exporter-toolkit, so one file, checked by ``promtool check web-config``, serves our
programs too. Paths in it are relative to the file; variables of the environment mean nothing in it. What cannot be
had here is an error where it would weaken what was asked for, and a note elsewhere.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.errors import SECRET, ConfigError, Problem
from fleet.opening import open_document
from fleet.parsing import Section, Value
from fleet.password_files import BCRYPT


class ClientAuth(enum.StrEnum):
    """Which certificates clients show, by Go's names."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


class TlsVersion(enum.StrEnum):
    """Versions of TLS, oldest first. Those before 1.2 are known so that files that name them can be read."""

    TLS10 = "TLS10"
    TLS11 = "TLS11"
    TLS12 = "TLS12"
    TLS13 = "TLS13"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """``tls_server_config``.

    ``ciphers`` are OpenSSL's names, for TLS 1.2 and older; empty means the library's own choice. A client's certificate
    must carry one of ``allowed_sans`` where that is not empty.
    """

    cert_file: Path
    key_file: Path
    client_auth: ClientAuth = ClientAuth.NONE
    client_ca_file: Path | None = None
    allowed_sans: frozenset[str] = frozenset()
    min_version: TlsVersion = TlsVersion.TLS12
    max_version: TlsVersion = TlsVersion.TLS13
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        own = (self.cert_file, self.key_file)
        return own if self.client_ca_file is None else (*own, self.client_ca_file)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """One file. ``users`` maps a name to the bcrypt hash of its password; without users nobody is asked for one.

    ``headers`` are added to every answer. ``notes`` say what of the file means nothing here.
    """

    tls: ServerTls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def authenticates(self) -> bool:
        """True when it tells who somebody is: by a password, or by a client's certificate."""
        return bool(self.users) or (self.tls is not None and self.tls.client_auth is not ClientAuth.NONE)


_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""The headers that may be added, and the values that each may have; any where there are none."""

_UNVERIFIED: Final = {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}
"""What Go can do and Python's ssl cannot: take certificates that nobody verified."""

_BULKS: Final = {
    "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
    "AES_128_CBC_SHA": "AES128-SHA",
    "AES_256_CBC_SHA": "AES256-SHA",
}
_CIPHERS: Final[Mapping[str, str]] = {
    **{
        f"TLS_ECDHE_{signed}_WITH_{name}": f"ECDHE-{signed}-{bulk}"
        for signed in ("ECDSA", "RSA")
        for name, bulk in _BULKS.items()
    },
    # Those of TLS 1.3 are always on, in Go as here.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""Go's names of the cipher suites that it counts as secure, to OpenSSL's."""

_CURVES: Final = ("CurveP256", "CurveP384", "CurveP521", "X25519")


def read_web_config(file: Path) -> WebConfig:
    """Read ``file``; the certificates that it names are not looked into.

    Raises:
        ConfigError: with every mistake of the file at once; no password hash is ever shown.
    """
    try:
        document, root = open_document(file, {})
    except ConfigError as error:
        raise ConfigError(tuple(_renamed(problem) for problem in error.problems)) from error
    section = root.section()
    notes: list[str] = []
    tls = section.read("tls_server_config", lambda value: _tls(value, notes), None)
    headers: Mapping[str, str] = section.read("http_server_config", lambda value: _http(value, notes), {})
    users: Mapping[str, str] = section.read("basic_auth_users", _users, {})
    section.later_settings("rate_limit", "limits on the rate of requests", {"interval": "0", "burst": "0"})
    section.finish()
    document.fail_if_any()
    return WebConfig(tls, users, headers, tuple(notes))


def _renamed(problem: Problem) -> Problem:
    """The remedy for a file that cannot be read: fleet.yml is meant by the usual one."""
    remedy = "Check --web.config.file, or web_config_file in fleet.yml" if not problem.line else problem.remedy
    return Problem(problem.file, problem.line, problem.key_path, problem.message, remedy, problem.value)


def _tls(value: Value, notes: list[str]) -> ServerTls | None:
    section = value.section()
    for inline in ("cert", "key", "client_ca"):
        _refuse_inline(section, inline)
    ca_file = section.read("client_ca_file", Value.path_value, None)
    client_auth = section.read("client_auth_type", _client_auth, ClientAuth.NONE)
    sans = section.read("client_allowed_sans", lambda v: frozenset(v.each(Value.text)), None)
    low = section.read("min_version", _version, TlsVersion.TLS12)
    high = section.read("max_version", _version, TlsVersion.TLS13)
    ciphers: tuple[str, ...] = section.read("cipher_suites", lambda v: tuple(filter(None, v.each(_cipher))), ())
    prefer = section.read("prefer_server_cipher_suites", Value.boolean, True)
    curves: tuple[str, ...] = section.read("curve_preferences", lambda v: v.each(lambda each: each.choice(_CURVES)), ())
    if curves:
        notes.append("tls_server_config.curve_preferences is ignored: OpenSSL's own order of curves holds")
    if low < TlsVersion.TLS12:
        low = TlsVersion.TLS12
        notes.append(f"tls_server_config.min_version is taken as {low}: nothing older is spoken here")
    cert, key = _certificate(section)
    section.finish()
    if low > high:
        _report(value, section, "max_version", f"is below min_version, which is {low}", "Let it be at least that")
    _check_clients(value, section, client_auth, ca_file, sans)
    if cert is None or key is None:
        return None
    allowed = frozenset() if sans is None else sans
    return ServerTls(cert, key, client_auth, ca_file, allowed, low, high, ciphers, prefer)


def _certificate(section: Section) -> tuple[Path | None, Path | None]:
    remedies = {
        "cert_file": "Name the file with the server's certificate",
        "key_file": "Name the file with the certificate's key",
    }
    if any(section.line_of(key) for key in _ENABLING):
        cert, key = (section.require(name, Value.path_value, remedy) for name, remedy in remedies.items())
        return cert, key
    for name in remedies:
        section.take(name)
    return None, None


_ENABLING: Final = ("cert_file", "key_file", "client_ca_file", "client_auth_type")
"""A section with none of these, such as an empty one, means that there is no TLS."""


def _refuse_inline(section: Section, key: str) -> None:
    value = section.take(key)
    if value is not None and not value.is_empty():
        value.document.report(
            value.line, value.path, "is not supported here", f"Put it into a file and name it by {key}_file", SECRET
        )


def _client_auth(value: Value) -> ClientAuth | None:
    written = value.any_text()
    if written == "":
        return ClientAuth.NONE
    if written in _UNVERIFIED:
        value.fail(
            "takes certificates that nobody verified, which is not supported here",
            f"Write {ClientAuth.REQUIRED}, which is what keeps others out",
        )
        return None
    found = value.choice(ClientAuth)
    return None if found is None else ClientAuth(found)


def _version(value: Value) -> TlsVersion | None:
    found = value.choice(TlsVersion)
    return None if found is None else TlsVersion(found)


def _cipher(value: Value) -> str | None:
    name = value.any_text()
    if name is None:
        return None
    if name not in _CIPHERS:
        value.fail("is no cipher suite of Go's secure ones", "Remove cipher_suites: the defaults are good")
        return None
    return _CIPHERS[name]


def _check_clients(
    value: Value, section: Section, client_auth: ClientAuth, ca_file: Path | None, sans: frozenset[str] | None
) -> None:
    if ca_file is not None and client_auth is ClientAuth.NONE:
        _report(
            value, section, "client_ca_file", "is of no use while nobody is asked for a certificate",
            f"Add client_auth_type: {ClientAuth.REQUIRED}",
        )  # fmt: skip
    if ca_file is None and client_auth is not ClientAuth.NONE:
        _report(
            value,
            section,
            "client_auth_type",
            "asks for certificates, but nothing says who signs them",
            "Add client_ca_file",
        )
    if sans is not None and client_auth is not ClientAuth.REQUIRED:
        _report(
            value, section, "client_allowed_sans", "is of no use for clients that need no certificate",
            f"Write client_auth_type: {ClientAuth.REQUIRED}",
        )  # fmt: skip


def _report(value: Value, section: Section, key: str, message: str, remedy: str) -> None:
    value.document.report(section.line_of(key), f"{value.path}.{key}", message, remedy)


def _http(value: Value, notes: list[str]) -> Mapping[str, str]:
    section = value.section()
    if section.read("http2", Value.boolean, False):
        notes.append("http_server_config.http2 is ignored: HTTP/1.1 is spoken")
    headers: Mapping[str, str] = section.read("headers", _added_headers, {})
    section.finish()
    return headers


def _added_headers(value: Value) -> Mapping[str, str]:
    section = value.section()
    found = {name: section.read(name, Value.any_text, "") for name in _HEADERS}
    section.finish()
    for name, text in found.items():
        allowed = _HEADERS[name]
        if text and allowed and text not in allowed:
            _report(value, section, name, f"must be one of {', '.join(allowed)}", f"Write one of {', '.join(allowed)}")
        elif not text.isprintable():
            _report(value, section, name, "holds a control character", "Write it on one line")
    return {name: text for name, text in found.items() if text}


def _users(value: Value) -> Mapping[str, str]:
    users = {}
    for name, entry in value.section(secret=True).entries():
        written = entry.any_text()
        if ":" in name or not name:
            entry.fail("is no user name that a browser can send", "Write a name without a colon")
        elif written is not None and not BCRYPT.fullmatch(written):
            entry.fail("is no bcrypt hash", "Write what `htpasswd -nBC 10 NAME` prints behind the colon, in quotes")
        elif written is not None:
            users[name] = written
    return users
