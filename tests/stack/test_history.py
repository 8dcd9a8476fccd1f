"""The past that the bench of a fleet writes: what promtool takes, and what ranges then read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.history import BLOCK_SECONDS, HOUR_SECONDS, Past, of_scrape, write_blocks
from stack.tools import find

NOW = 1_800_000_000


def times(past: Past, begin: int, end: int) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in past.lines(begin, end, NOW)]


def test_samples_stand_at_multiples_of_the_step_inside_of_the_reach() -> None:
    past = Past("mcp:availability", 'server="a"', 1.0, 60, HOUR_SECONDS)
    found = times(past, 0, NOW + 60)
    assert len(found) == 60
    assert {at % 60 for at in found} == {0}
    assert min(found) >= NOW - HOUR_SECONDS
    assert max(found) < NOW


def test_pieces_hold_each_sample_once() -> None:
    past = Past("mcp:availability", 'server="a"', 1.0, 60, 3 * BLOCK_SECONDS)
    begin = NOW - 3 * BLOCK_SECONDS
    pieces = [times(past, start, start + BLOCK_SECONDS) for start in range(begin, NOW, BLOCK_SECONDS)]
    assert [at for piece in pieces for at in piece] == times(past, 0, NOW)


@pytest.mark.parametrize(("name", "first"), [("calls_total", 0.0), ("sessions", 8.0)])
def test_counters_rise_to_their_value_and_gauges_stand(name: str, first: float) -> None:
    lines = [*Past(name, "", 8.0, 900, HOUR_SECONDS).lines(0, NOW, NOW)]
    values = [float(line.split()[1]) for line in lines]
    assert values[0] == first
    assert values == sorted(values)


def test_only_the_families_that_are_asked_for_are_taken_with_the_targets_labels() -> None:
    text = '# TYPE up gauge\nmcp_server_up{server="a"} 1\nmcp_a_bucket{server="a",le="1.0"} 3\nmcp_b{server="a"} 2\n'
    found = list(of_scrape(text, frozenset({"mcp_server_up", "mcp_a"}), 'job="x"', 15))
    assert [(past.name, past.labels, past.value) for past in found] == [
        ("mcp_server_up", 'server="a",job="x"', 1.0),
        ("mcp_a_bucket", 'server="a",le="1.0",job="x"', 3.0),
    ]


def test_promtool_makes_blocks_of_it(tmp_path: Path) -> None:
    series = [Past("mcp:availability", f'server="{name}"', 1.0, 60, BLOCK_SECONDS) for name in ("a", "b")]
    samples = write_blocks(find("promtool"), series, NOW, tmp_path / "tsdb")
    assert samples == 2 * BLOCK_SECONDS // 60
    assert list((tmp_path / "tsdb").glob("*/meta.json"))
    assert not list(tmp_path.glob("*.om"))


def test_a_promtool_that_refuses_is_told(tmp_path: Path) -> None:
    false = shutil.which("false")
    assert false is not None
    with pytest.raises(RuntimeError, match="promtool made no blocks"):
        write_blocks(Path(false), [Past("x", "", 1.0, 60, HOUR_SECONDS)], NOW, tmp_path / "tsdb")
