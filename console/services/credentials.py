"""How the console shows the receiver who asks: what fleet.yml names, else what the operator's environment names.

``MCP_MEDIC_TOKEN_FILE`` holds a bearer token; ``MCP_MEDIC_USER`` with ``MCP_MEDIC_PASSWORD_FILE`` are basic
authentication. Over https ``MCP_MEDIC_CA_FILE`` is whom to believe, ``MCP_MEDIC_CERT_FILE`` and
``MCP_MEDIC_KEY_FILE`` are the console's own certificate.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.errors import ConfigError, Problem
from fleet.tokens import read_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.inventory import Fleet

TOKEN_FILE: Final = "MCP_MEDIC_TOKEN_FILE"  # noqa: S105 - the name of a variable
USER: Final = "MCP_MEDIC_USER"
PASSWORD_FILE: Final = "MCP_MEDIC_PASSWORD_FILE"  # noqa: S105 - the name of a variable
CA_FILE: Final = "MCP_MEDIC_CA_FILE"
CERT_FILE: Final = "MCP_MEDIC_CERT_FILE"
KEY_FILE: Final = "MCP_MEDIC_KEY_FILE"

_WHICH: Final = (
    f"set receiver.authentication.bearer_token_files in fleet.yml, or {TOKEN_FILE}, or {USER} and {PASSWORD_FILE}"
    f" (and {CERT_FILE} with {KEY_FILE} where it asks for a certificate)"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """``headers`` go with every request; ``shown`` says what they are, never what is in them."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | bool = True
    shown: str = "nothing"

    @property
    def remedy(self) -> str:
        """What to do when they are refused."""
        return f"{self.shown} was shown; {_WHICH}"


def read_credentials(fleet: Fleet, environ: Mapping[str, str]) -> Credentials:
    """What to show this fleet's receiver. Blocks while it reads files.

    Raises:
        ConfigError: a file that is named cannot be used; names the variable or key, never the content.
    """
    tls = _context(environ) if fleet.receiver.url.startswith("https:") else True
    files = fleet.receiver.bearer_token_files
    if files:
        key = "receiver.authentication.bearer_token_files[0]"
        return Credentials(_bearer(read_token(files[0], key)), tls, f"the token of {files[0]}")
    if environ.get(TOKEN_FILE):
        named = Path(environ[TOKEN_FILE]).expanduser()
        return Credentials(_bearer(read_token(named, TOKEN_FILE)), tls, f"the token of {named}")
    if environ.get(USER):
        return Credentials(_basic(environ[USER], _password(environ)), tls, f"the user of {USER}")
    return Credentials({}, tls)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def _password(environ: Mapping[str, str]) -> str:
    """The first line of the file; a password may hold blanks, so it is read as it stands."""
    if not environ.get(PASSWORD_FILE):
        raise _problem("the environment", PASSWORD_FILE, f"is not set, but {USER} is", "Name a file with the password")
    file = Path(environ[PASSWORD_FILE]).expanduser()
    try:
        found = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise _problem(
            str(file), PASSWORD_FILE, f"cannot be read: {_why(error)}", "Create it with mode 0600"
        ) from error
    if not found:
        raise _problem(str(file), PASSWORD_FILE, "holds no password", "Write it into the first line")
    return found


def _context(environ: Mapping[str, str]) -> ssl.SSLContext:
    authority, certificate = environ.get(CA_FILE), environ.get(CERT_FILE)
    try:
        context = ssl.create_default_context(cafile=str(Path(authority).expanduser()) if authority else None)
    except (OSError, ssl.SSLError) as error:
        raise _problem(str(authority), CA_FILE, f"cannot be used: {_why(error)}", "Name a PEM file") from error
    if certificate:
        key = environ.get(KEY_FILE) or certificate
        try:
            # An encrypted key would ask for its password on the terminal.
            context.load_cert_chain(Path(certificate).expanduser(), Path(key).expanduser(), password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            remedy = f"Name a PEM certificate, and its own unencrypted PEM key in {KEY_FILE}"
            raise _problem(certificate, CERT_FILE, f"cannot be used with {key}: {_why(error)}", remedy) from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _problem(file: str, name: str, message: str, remedy: str) -> ConfigError:
    return ConfigError((Problem(file, 0, name, message, remedy),))
