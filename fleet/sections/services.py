"""What the whole fleet shares besides the programs: ``redis``, ``grafana`` and ``prices`` in fleet.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fleet.inventory import GrafanaSettings, Price
from fleet.redis_address import parse_redis_url
from fleet.sections.values import url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.parsing import Section, Value

_REMEDY: Final = "Write such as redis://127.0.0.1:6379/0; docs/fleet-file.md has every form"


def read_redis(section: Section, environ: Mapping[str, str]) -> str:
    """``redis: {url: ...}``, without it ``REDIS_URL`` of the environment; '' where there is none. It is a secret."""
    value = section.take("redis")
    if value is None:
        return _from_environment(section, environ.get("REDIS_URL", ""))
    inner = value.section(secret=True)
    found = inner.read("url", _redis_url, "")
    inner.finish()
    return found


def read_prices(value: Value) -> dict[str, Price]:
    """``{MODEL: {input_usd_per_million_tokens: 1.25, output_usd_per_million_tokens: 10}}``."""
    return {model: price for model, entry in value.section().entries() if (price := _price(entry)) is not None}


def read_grafana(section: Section) -> GrafanaSettings | None:
    """``grafana: {url: ..., token_file: ...}``: both, or neither."""
    value = section.take("grafana")
    if value is None:
        return None
    inner = value.section()
    # An empty text is what "${GRAFANA_URL:-}" gives where nobody set it: no annotations.
    where = inner.read("url", lambda v: None if v.is_empty() else url(v), None)
    token_file = inner.read("token_file", lambda v: None if v.is_empty() else v.path_value(), None)
    inner.finish()
    if where is not None and token_file is None:
        value.document.report(
            value.line,
            "grafana.token_file",
            "is missing: Grafana takes annotations from who shows a token",
            "Name a file with the token of a service account that may write annotations, or remove url",
        )
    return None if where is None or token_file is None else GrafanaSettings(where, token_file)


def _redis_url(value: Value) -> str | None:
    # An empty text is what "${REDIS_URL:-}" gives where nobody set it: no Redis.
    if value.is_empty():
        return None
    text = value.text()
    if text is None:
        return None
    try:
        parse_redis_url(text)
    except ValueError as error:
        value.fail(str(error), _REMEDY)
        return None
    return text


def _from_environment(section: Section, text: str) -> str:
    if not text:
        return ""
    try:
        parse_redis_url(text)
    except ValueError as error:
        section.report("redis.url", f"{error} (it is REDIS_URL of the environment)", "Mend REDIS_URL or unset it")
        return ""
    return text


def _price(value: Value) -> Price | None:
    section, remedy = value.section(), "Write US dollars a million tokens, such as 1.25"
    paid_in = section.require("input_usd_per_million_tokens", _dollars, remedy)
    paid_out = section.require("output_usd_per_million_tokens", _dollars, remedy)
    cached = section.read("cached_input_usd_per_million_tokens", _dollars, None)
    section.finish()
    return None if paid_in is None or paid_out is None else Price(paid_in, paid_out, cached)


def _dollars(value: Value) -> float | None:
    return value.number(0.0, 1e6)
