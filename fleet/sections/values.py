"""Values that several sections share: addresses, URLs, budgets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fleet.inventory import ActionLimit, Address, Mode

if TYPE_CHECKING:
    from fleet.parsing import Value

# Never begins with a dash: it becomes an argument.
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}")


def address(value: Value) -> Address | None:
    """``HOST:PORT`` with a port from 0 to 65535; 0 lets the system choose one."""
    text = value.text()
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
        value.fail("must be HOST:PORT", "Write such as 127.0.0.1:9847 or [::1]:9847")
        return None
    return Address(host, int(port))


def url(value: Value) -> str | None:
    """An http or https URL with a host, without user, query or fragment; trailing slashes are dropped."""
    text = value.text()
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in {"http", "https"} and parts.hostname is not None and parts.port != 0
    except ValueError:
        parts, well_formed = urlsplit(""), False
    if not well_formed or parts.query or parts.fragment or "@" in parts.netloc or any(c.isspace() for c in text):
        value.fail(
            "must be an http or https URL without user, query or fragment", "Write such as http://127.0.0.1:9090"
        )
        return None
    return text.rstrip("/")


def action_limit(value: Value) -> ActionLimit | None:
    """``{count: 5, per_seconds: 3600}``."""
    section = value.section()
    count = section.require("count", lambda v: v.integer(1, 1000), "Write how many actions, such as 5")
    per_seconds = section.require("per_seconds", lambda v: v.number(0, 1e8, above=True), "Write such as 3600")
    section.finish()
    return None if count is None or per_seconds is None else ActionLimit(count, per_seconds)


def mode(value: Value) -> Mode | None:
    """``automatic`` or ``suggest``."""
    text = value.choice(Mode)
    return None if text is None else Mode(text)


def argv(value: Value) -> tuple[str, ...]:
    """A list of texts, the first of which is the program."""
    found = value.each(lambda item: item.text())
    if not found:
        value.fail("must name a program", "Write such as [node, server.js]")
    return found


def unit_name(value: Value) -> str | None:
    """The name of a unit, with or without ``.service``."""
    text = value.text()
    if text is not None and not _UNIT.fullmatch(text):
        value.fail("must be the name of a systemd unit", "Write such as codex or codex.service")
        return None
    return text
