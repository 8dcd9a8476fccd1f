"""What results cost, and what sensitive data they hold: found, counted by kind, never kept, never slow."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.inventory import Price
from fleet.sensitive import MAX_BYTES, found_in
from fleet.telemetry import SensitiveKind
from gateway.inspection import MAX_WAITING, Inspection
from gateway.pricing import Usage, cost_of, usage_of

# ---- tokens

OPENAI = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}}
RESPONSES = {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 40}}
CODEX = {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 20, "total_tokens": 120}
ANTHROPIC = {"input_tokens": 50, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 10, "output_tokens": 20}
TYPESCRIPT = {"inputTokens": 100, "outputTokens": 20, "cachedInputTokens": 40}


def response(result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()


def text(value: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "words"}, {"type": "text", "text": json.dumps(value)}]}


@pytest.mark.parametrize("usage", [OPENAI, RESPONSES, CODEX, ANTHROPIC, TYPESCRIPT])
@pytest.mark.parametrize("place", ["structuredContent", "_meta", "text", "inside"])
def test_usage_is_found_in_each_dialect_and_place(usage: dict[str, Any], place: str) -> None:
    told: dict[str, Any] = {"model": "m", "usage": usage}
    if place == "inside":
        told = {"usage": {**usage, "model": "m"}}
    result = (
        text(told) if place == "text" else {"content": [], ("_meta" if place == "_meta" else "structuredContent"): told}
    )
    assert usage_of(response(result)) == Usage("m", input=100, cached_input=40, output=20)


def test_what_is_told_twice_counts_once() -> None:
    told = {"model": "m", "usage": OPENAI}
    found = usage_of(response({**text(told), "structuredContent": told, "_meta": told}))
    assert found == Usage("m", 100, 40, 20)


@pytest.mark.parametrize(
    "result",
    [
        {}, {"usage": OPENAI}, {"structuredContent": {"usage": []}}, {"structuredContent": {"usage": {}}},
        {"structuredContent": {"usage": {"input_tokens": True}}}, text("usage"),
        {"structuredContent": {"usage": {"input_tokens": -1}}},
        {"structuredContent": {"usage": {"input_tokens": "5"}}}, [1], None, {"content": [{"text": '{"usage": '}]},
    ],
)  # fmt: skip
def test_what_is_no_usage(result: Any) -> None:
    assert usage_of(response(result)) is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["usage", '{"usage": {"input_tokens": 1}}']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["usage", "model", "input_tokens", "output_tokens", "content", "text", "structuredContent", "_meta"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
PRICES = {"m": Price(2.0, 10.0, 0.5), "cheap": Price(1.0, 1.0, None)}


@given(VALUES | st.binary(max_size=60))
def test_no_result_makes_it_raise_or_costs_less_than_nothing(result: Any) -> None:
    body = result + b'"usage"' if isinstance(result, bytes) else response(result)
    usage = usage_of(body)
    if usage is not None:
        assert 0 <= usage.cached_input <= usage.input
        assert usage.output >= 0
        cost = cost_of(usage, {"m": PRICES["m"]})
        assert cost is None or cost[1] >= 0


def test_what_it_costs() -> None:
    assert cost_of(Usage("m", 1_000_000, 400_000, 100_000), PRICES) == ("m", 2.4)
    assert cost_of(Usage("cheap", 1_000_000, 400_000, 0), PRICES) == ("cheap", 1.0)
    for name in ("m-2026-01-31", "m-20260131", "m-latest"):
        assert cost_of(Usage(name, 1_000_000, 0, 0), PRICES) == ("m", 2.0)
    for name in ("m-mini", "m2", "", "x"):
        assert cost_of(Usage(name, 1_000_000, 0, 0), PRICES) is None
    assert cost_of(Usage("", 1_000_000, 0, 0), {"only": PRICES["m"]}) == ("only", 2.0)


# ---- sensitive data

K = SensitiveKind
FOUND = [
    (K.EMAIL, "max.muster+x@mail.example.com"), (K.CREDIT_CARD, "4111 1111 1111 1111"),
    (K.CREDIT_CARD, "5500-0000-0000-0004"), (K.CREDIT_CARD, "378282246310005"), (K.IBAN, "DE89 3704 0044 0532 0130 00"),
    (K.IBAN, "GB82WEST12345698765432"),
    (K.IBAN, "ES91 2100 0418 4502 0005 1332 EURO"), (K.AWS_ACCESS_KEY, "AKIAIOSFODNN7EXAMPLE"),
    (K.PRIVATE_KEY, "-----BEGIN RSA PRIVATE KEY-----"), (K.PRIVATE_KEY, "-----BEGIN PRIVATE KEY-----"),
    (K.JWT, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"),
    (K.BEARER_TOKEN, "Bearer abcdefghijklmnopqrstuvwxyz"), (K.GITHUB_TOKEN, "ghp_" + "a1B2" * 9),
    (K.GITHUB_TOKEN, "github_pat_" + "a" * 30), (K.SLACK_TOKEN, "xoxb-1234567890-abcdefghij"),
    (K.GOOGLE_API_KEY, "AIza" + "A1_b-" * 7), (K.API_KEY, "sk-proj-abcdefghijklmnopqrstuvwx"),
]  # fmt: skip
AROUND = st.sampled_from(["", " ", "\n", "\t", '"', "(", "\uff1a", "key=", "\\", "\\\\n", "ü"])


@settings(max_examples=200)
@given(st.sampled_from(FOUND), AROUND, st.sampled_from(["", " ", "\n", '"', ")", "\r\n"]), st.integers(0, 2))
def test_each_kind_is_found_however_deep_it_stands_in_json(
    what: tuple[SensitiveKind, str], before: str, after: str, depth: int
) -> None:
    kind, data = what
    if before == "key=" and kind in {K.CREDIT_CARD, K.IBAN, K.AWS_ACCESS_KEY}:
        before = "key: "
    told = f"{before}{data}{after}"
    for _ in range(depth):
        told = json.dumps({"text": told, "é": 1})
    body = json.dumps({"result": {"content": [{"text": told}]}}).encode()
    assert found_in(body) == {kind: 1}


@pytest.mark.parametrize(
    "innocent",
    [
        "4111 1111 1111 1112", "1700000000000", "4444 4444 4444 4444", "a@b", "user@host", "@decorator",
        "x.4111111111111111", "DE00 3704 0044 0532 0130 00", "AKIA", "xAKIAIOSFODNN7EXAMPLEx",
        "-----BEGIN PUBLIC KEY-----", "eyJ.eyJ.x", "Bearer short", "ghp_short", "task-force-abcdefghijklmnopqrstuvw",
        "3.14159265358979", "2026-11-22 19:20:21.123456", "550e8400-e29b-41d4-a716-446655440000",
    ],
)  # fmt: skip
def test_what_only_looks_like_it(innocent: str) -> None:
    assert found_in(innocent.encode()) == {}


@given(st.binary(max_size=400) | st.text("eyJ.@sk-0123 4\\nuBearer -AKIA/+=_", max_size=400).map(str.encode))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert all(count > 0 for count in found_in(body).values())


HARD = [
    b"a", b"@", b"a@", b"a.", b"@a.", b"a@a.", b"\\", b"\\\\n", b"\\u0040", b"4", b"4 ", b"4-", b"41111111111111 ",
    b"DE", b"DE89 ", b"DE893704", b"A1B2 ", b"eyJ", b"eyJaaaaaaaa.", b".eyJaaaaaaaa", b"Bearer ", b"bearer  ", b"sk-",
    b"-sk-", b"gh", b"ghp_a", b"AKIA", b"AIza", b"AIzaa-", b"-----BEGIN ", b"BEGIN A ", b"PRIVATE KEY", b"xoxb-",
    b"github_pat_", b"0", b"a1", b"Zz9+/",
]  # fmt: skip


SIGNS = b"@ 0 AKIA PRIVATE KEY eyJ earer gh xox AIza sk- "
"""With all of them in a text every pattern runs."""


def effort(piece: bytes, length: int) -> float:
    """The least CPU that a text of nothing but ``piece`` took."""
    body = SIGNS + piece * (length // len(piece))
    efforts = []
    for _ in range(3):
        begun = time.thread_time()
        found_in(body)
        efforts.append(time.thread_time() - begun)
    return min(efforts)


@pytest.mark.parametrize("piece", HARD)
def test_no_text_makes_it_slow(piece: bytes) -> None:
    """Eight times the text is eight times the work; a pattern that goes back would make it 64 times."""
    assert effort(piece, 16 * 1024) < 24 * effort(piece, 2 * 1024)


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    assert found_in(b"x " * (MAX_BYTES // 2) + b" max@example.com") == {}


# ---- beside the traffic


def test_every_priced_model_is_told_from_the_start_and_no_other() -> None:
    inspection = Inspection({"m": PRICES["m"], "other": PRICES["m"]})
    inspection.offer(response({"structuredContent": {"model": "unpriced", "usage": {"input_tokens": 500_000}}}))
    inspection.offer(response({"structuredContent": {"model": "m", "usage": {"input_tokens": 500_000}}}))
    assert [(each.model, each.usd) for each in inspection.cost] == [("m", 0.0), ("other", 0.0)]
    inspection.work()
    assert [(each.model, each.usd) for each in inspection.cost] == [("m", 1.0), ("other", 0.0)]
    assert Inspection().cost == []


def test_cost_and_kinds_add_up_and_what_is_too_much_is_counted() -> None:
    inspection = Inspection({"m": PRICES["m"]})
    body = response({"structuredContent": {"model": "m", "usage": {"input_tokens": 500_000}}, "to": "a@example.com"})
    inspection.offer(body)
    inspection.work()
    assert inspection.found == {}, "not asked for"
    inspection.detects = True
    for _ in range(MAX_WAITING + 3):
        inspection.offer(body)
    assert inspection.cost[0].usd == 1.0
    inspection.work(1)
    assert inspection.waiting == MAX_WAITING - 1
    inspection.work()
    (cost,) = inspection.cost
    assert (cost.model, cost.usd) == ("m", MAX_WAITING + 1.0)
    assert inspection.found == {"email": MAX_WAITING}
    assert inspection.skipped == 3
    assert "example.com" not in repr(vars(inspection))


def test_without_prices_and_without_a_wish_nothing_is_kept() -> None:
    inspection = Inspection()
    inspection.offer(b"{}")
    assert inspection.waiting == 0
