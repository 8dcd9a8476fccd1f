"""Redis' patterns, against Redis itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.sources.redis_keys import Tally, covering, literal, matcher
from tests.redis_servers import start_redis

ALPHABET = b"abz-^]\\[*?:\n\x00\xff"
texts = st.lists(st.sampled_from([bytes((byte,)) for byte in ALPHABET]), max_size=8).map(b"".join)
globs = st.lists(
    st.sampled_from([b"*", b"?", b"a", b"b", b"z", b":", b"[ab]", b"[^a]", b"[z-a]", b"[", b"]", b"\\", b"-", b"^"]),
    max_size=7,
).map(b"".join)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    server = start_redis(tmp_path_factory.mktemp("r"))
    with redis.Redis(port=server.port) as client:
        yield client
    server.stop()


# To Redis the pattern ** does not match the key "", which nobody has.
@given(pattern=globs, keys=st.lists(texts.filter(bool), min_size=1, max_size=12))
@example(pattern=b"[", keys=[b"[", b"a"])
@example(pattern=b"a[b", keys=[b"ab", b"a[b"])
@example(pattern=b"[^", keys=[b"a", b"^"])
@example(pattern=b"[]a", keys=[b"a", b"]a"])
@example(pattern=b"a\\", keys=[b"a\\", b"a"])
@example(pattern=b"[\\]]", keys=[b"]", b"\\"])
@example(pattern=b"[a-", keys=[b"a", b"-", b"b"])
def test_what_matches_here_matches_in_redis(client: redis.Redis, pattern: bytes, keys: list[bytes]) -> None:
    client.flushdb()
    client.mset(dict.fromkeys(keys, b""))
    # KEYS is for tests only: it looks at the same pattern in one step.
    assert {key for key in keys if matcher(pattern)(key)} == set(client.keys(pattern))


@given(patterns=st.lists(globs, min_size=1, max_size=4), keys=st.lists(texts, max_size=30), page=st.integers(1, 7))
def test_one_pass_counts_what_each_pattern_would(patterns: list[bytes], keys: list[bytes], page: int) -> None:
    asked = matcher(covering(patterns))
    shown = [key for key in keys if asked(key)]
    tally = Tally(patterns, sampled=patterns)
    for start in range(0, len(shown), page):
        tally.add(shown[start : start + page])
    for pattern in patterns:
        expected = {key for key in keys if matcher(pattern)(key)}
        assert tally.counts[pattern] == len(expected)
        assert set(tally.sample(pattern, 3)) <= expected
        assert bool(tally.sample(pattern, 3)) == bool(expected)


@given(pattern=globs, key=texts)
def test_every_key_of_a_pattern_begins_with_its_literal_part(pattern: bytes, key: bytes) -> None:
    if "\\" not in pattern.decode() and matcher(pattern)(key):
        assert key.startswith(literal(pattern))


@pytest.mark.parametrize(
    ("patterns", "asked"),
    [
        ([b"mcp:session:*"], b"mcp:session:*"),
        ([b"mcp:session:*", b"mcp:session:*"], b"mcp:session:*"),
        ([b"mcp:session:*", b"mcp:cache:*"], b"mcp:*"),
        ([b"a:*", b"b:*"], b"*"),
        ([b"a[bc]*", b"ab*"], b"a*"),
    ],
)
def test_redis_is_asked_for_no_more_keys_than_needed(patterns: list[bytes], asked: bytes) -> None:
    assert covering(patterns) == asked


def test_a_key_shown_twice_counts_once() -> None:
    tally = Tally([b"s:*"])
    tally.add([b"s:1", b"s:2"])
    tally.add([b"s:2", b"s:3"])
    assert tally.counts == {b"s:*": 3}


def test_the_sample_is_spread_over_the_scan() -> None:
    tally = Tally([b"s:*"], sampled=[b"s:*"])
    for page in range(100):
        tally.add([b"s:%d:%d" % (page, number) for number in range(50)])
    pages = {int(key.split(b":")[1]) for key in tally.sample(b"s:*", 50)}
    assert len(tally.sample(b"s:*", 50)) == 50
    assert min(pages) < 5
    assert max(pages) > 95


def test_a_pattern_of_many_stars_is_quick_on_a_long_key() -> None:
    assert not matcher(b"*a*a*a*a*a*a*a*a*b")(b"a" * 20_000)
