"""What a result's tokens cost, where the result says how many it took and fleet.yml what they cost. Pure; never raises.

Recognised is an object ``usage`` in ``structuredContent``, in ``_meta`` or in a text of ``content`` that is a JSON
object; the first one found counts, because servers repeat the same in several places. Its ``model`` stands beside
``usage`` or in it. The names of OpenAI (both of its interfaces), of Anthropic and of the common TypeScript clients
are known; cached input is part of the input for all but Anthropic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fleet.inventory import Price

MAX_TOKENS: Final = 10**12
_INPUT: Final = ("input_tokens", "prompt_tokens", "inputTokens", "promptTokens")
_OUTPUT: Final = ("output_tokens", "completion_tokens", "outputTokens", "completionTokens")
_CACHED: Final = ("cached_input_tokens", "cachedInputTokens", "cached_tokens", "cachedTokens")
_DETAILS: Final = ("input_tokens_details", "prompt_tokens_details", "inputTokensDetails", "promptTokensDetails")
_READ_FROM_CACHE: Final = "cache_read_input_tokens"
_WRITTEN_TO_CACHE: Final = "cache_creation_input_tokens"
_VERSION: Final = re.compile(r"-(?:latest|\d{4}-\d\d-\d\d|\d{8})\Z")
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one result. ``cached_input`` is part of ``input``; ``model`` is empty where the result names none."""

    model: str
    input: int
    cached_input: int
    output: int


def usage_of(body: bytes) -> Usage | None:
    """The usage that a JSON-RPC response tells, None where it tells none."""
    if b"usage" not in body:
        return None
    try:
        message = msgspec.json.decode(body)
    except _MALFORMED:
        return None
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        return None
    for holder in _holders(result):
        usage = holder.get("usage")
        if isinstance(usage, dict):
            return _usage(usage, holder)
    return None


def cost_of(usage: Usage, prices: Mapping[str, Price]) -> tuple[str, float] | None:
    """The priced model and the cost in USD; None for a model without a price.

    A model counts as its dated version does (``gpt-5-codex-2026-09-15`` as ``gpt-5-codex``). Where the result names
    no model, the only price there is counts.
    """
    model = _priced(usage.model, prices)
    if model is None:
        return None
    price = prices[model]
    dear, cached = price.input_usd_per_million_tokens, price.cached_input_usd_per_million_tokens
    fresh = usage.input - usage.cached_input
    usd = fresh * dear + usage.cached_input * (dear if cached is None else cached)
    return model, (usd + usage.output * price.output_usd_per_million_tokens) / 1e6


def _priced(model: str, prices: Mapping[str, Price]) -> str | None:
    if not model:
        return next(iter(prices)) if len(prices) == 1 else None
    for name in (model, _VERSION.sub("", model)):
        if name in prices:
            return name
    return None


def _holders(result: Object) -> Iterator[Object]:
    for holder in (result.get("structuredContent"), result.get("_meta")):
        if isinstance(holder, dict):
            yield holder
    content = result.get("content")
    for item in content if isinstance(content, list) else ():
        text = item.get("text") if isinstance(item, dict) else None
        if isinstance(text, str) and '"usage"' in text and text.lstrip().startswith("{"):
            try:
                held = msgspec.json.decode(text)
            except _MALFORMED:
                continue
            if isinstance(held, dict):
                yield held


def _usage(usage: Object, holder: Object) -> Usage | None:
    took, gave = _first(usage, _INPUT), _first(usage, _OUTPUT)
    if took is None and gave is None:
        return None
    details: Object = next((usage[name] for name in _DETAILS if isinstance(usage.get(name), dict)), {})
    cached = min(_first(usage, _CACHED) or _first(details, _CACHED) or 0, took or 0)
    apart = _first(usage, (_READ_FROM_CACHE,)) or 0
    written = _first(usage, (_WRITTEN_TO_CACHE,)) or 0
    model = next((each for each in (holder.get("model"), usage.get("model")) if isinstance(each, str)), "")
    return Usage(model, (took or 0) + apart + written, cached + apart, gave or 0)


def _first(usage: Object, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
            return value
    return None
