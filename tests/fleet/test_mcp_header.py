"""Names in headers, read again by the official SDK."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value

from fleet.mcp_header import header_value


@given(st.text(st.characters(codec="utf-8"), min_size=1))
@example("=?base64?QQ==?=")
@example("ツール検索")
def test_every_name_of_a_tool_survives_its_header(name: str) -> None:
    written = header_value(name)
    assert written.isascii()
    assert written.isprintable()
    assert decode_header_value(written) == name
