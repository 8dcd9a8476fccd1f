from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder

from exporter.negotiation import PLAIN, Format, accepts_gzip, format_of

OPENMETRICS = Format(True, "1.0.0")
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_FIRST = "text/plain;version=1.0.0;escaping=underscores;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3, Format(True, "1.0.0", "allow-utf-8")),
        (PROMETHEUS_3_TEXT_FIRST, Format(False, "1.0.0", "underscores")),
        (f"{PROTOBUF};q=0.7,{PROMETHEUS_3}", Format(True, "1.0.0", "allow-utf-8")),
        (PROTOBUF, PLAIN),
        ("application/openmetrics-text; version=0.0.1", Format(True, "0.0.1")),
        ("application/openmetrics-text; version=2.0.0", PLAIN),
        ("application/openmetrics-text; version=2.0.0,application/openmetrics-text;q=0.1", OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', OPENMETRICS),
        ("application/openmetrics-text; escaping=made-up", OPENMETRICS),
        ("text/plain, Application/OpenMetrics-Text;q=0.5", PLAIN),
        ("text/plain, Application/OpenMetrics-Text", OPENMETRICS),
        ("text/plain;q=0.4, Application/OpenMetrics-Text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text;q=0.000,text/plain;q=0.001", PLAIN),
        ("application/openmetrics-text;q=.", OPENMETRICS),
        ("application/openmetrics-text;q=nan,text/plain;q=0.9", OPENMETRICS),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PLAIN),
        ("text/plain", PLAIN),
        ("image/png", PLAIN),
        ("*/*", PLAIN),
        ("", PLAIN),
        (";;,,q=", PLAIN),
    ],
)
def test_accept_header(accept: str, wanted: Format) -> None:
    assert format_of(accept) == wanted


def test_content_types() -> None:
    assert PLAIN.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert OPENMETRICS.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    escaped = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    assert format_of(PROMETHEUS_3).content_type == escaped


@pytest.mark.parametrize("accept", [PROMETHEUS_2_42.partition(",")[0], PROMETHEUS_3, "text/plain;version=0.0.4", "*/*"])
def test_the_official_client_names_the_same_content_type(accept: str) -> None:
    official = choose_encoder(accept)[1].removesuffix("; escaping=underscores")
    assert format_of(accept).content_type == official


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        ("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True), ("gzip;q=0, *", False), ("gzip; q=0.0", False),
        ("*;q=0", False), ("identity", False), ("x-gzip-like", False), ("", False),
    ],
)  # fmt: skip
def test_accept_encoding(accepted: str, wanted: bool) -> None:
    assert accepts_gzip(accepted) is wanted


@given(st.text())
def test_no_header_is_too_strange(header: str) -> None:
    assert format_of(header).content_type
    assert isinstance(accepts_gzip(header), bool)
