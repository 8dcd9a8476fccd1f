"""The TLS of a listener, made from its web configuration: reads the certificates, and says what is wrong with them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.errors import ConfigError, Problem
from fleet.web_config import ClientAuth, ServerTls, TlsVersion

_VERSIONS: Final = {
    TlsVersion.TLS12: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS13: ssl.TLSVersion.TLSv1_3,
}
_VERIFYING: Final = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


def tls_context(tls: ServerTls) -> ssl.SSLContext:
    """A context for the server's side. Blocks while it reads files.

    Raises:
        ConfigError: a certificate, a key or a cipher suite cannot be used; names the file, never what is in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    _read_certificate(context, tls)
    if tls.client_ca_file is not None:
        _read_authority(context, tls.client_ca_file)
    context.verify_mode = _VERIFYING[tls.client_auth]
    if tls.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    return context


def names_of(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The alternative names in a peer's certificate, as ``ssl.SSLObject.getpeercert`` gives it."""
    return frozenset(str(name) for _kind, name in certificate.get("subjectAltName", ()))


def _read_certificate(context: ssl.SSLContext, tls: ServerTls) -> None:
    for key, file in (("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        _check_readable(key, file)
    try:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise _problem(
            "cert_file", tls.cert_file, f"cannot be used with the key {tls.key_file}: {_in_words(reason)}",
            "Name a PEM certificate and its own unencrypted PEM key",
        ) from error  # fmt: skip


def _read_authority(context: ssl.SSLContext, file: Path) -> None:
    _check_readable("client_ca_file", file)
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError) as error:
        raise _problem("client_ca_file", file, "holds no certificate", "Name a PEM file") from error


def _check_readable(key: str, file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise _problem(key, file, reason, "Check the path and its permissions") from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _in_words(reason: str) -> str:
    return reason.replace("_", " ").lower() if reason.isupper() else reason


def _problem(key: str, file: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError((Problem(str(file), 0, f"tls_server_config.{key}", message, remedy),))
