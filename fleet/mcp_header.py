"""How the modern protocol writes a name into a header. Pure."""

from __future__ import annotations

from base64 import b64encode


def header_value(name: str) -> str:
    """``name`` for ``Mcp-Name``: in base64 where HTTP would not carry it as it is."""
    plain = name.isascii() and name.isprintable() and name == name.strip() and not name.startswith("=?base64?")
    return name if plain else f"=?base64?{b64encode(name.encode('utf-8', 'replace')).decode()}?="
