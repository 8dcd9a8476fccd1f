"""Figures as people read them: every float has a text, a trend has its width, and no terminal obeys a name."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import paper
from console.report import Word, worst

ANY = st.none() | st.floats()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (paper.seconds(0.0123), "12 ms"),
        (paper.seconds(1.237), "1.24 s"),
        (paper.seconds(600), "10 min"),
        (paper.seconds(9000), "2.5 h"),
        (paper.seconds(604800), "7.0 d"),
        (paper.seconds(None), "-"),
        (paper.ratio(0.6337), "63.4 %"),
        (paper.ratio(float("nan")), "-"),
        (paper.size(412_000_000), "412 MB"),
        (paper.size(1_240_000_000), "1.24 GB"),
        (paper.size(900), "900 B"),
        (paper.usd(1.374), "1.37 USD"),
        (paper.number(12400), "12 400"),
        (paper.number(0.3712), "0.371"),
        (paper.moment(0), "1970-01-01 00:00:00Z"),
    ],
)
def test_a_figure_reads_so(said: str, text: str) -> None:
    assert said == text


@given(ANY)
def test_every_float_has_a_text(value: float | None) -> None:
    for write in (paper.seconds, paper.ratio, paper.size, paper.usd, paper.number):
        assert write(value)


@given(st.lists(ANY, max_size=300), st.integers(1, 60))
def test_a_trend_has_a_bar_a_share_and_never_more_than_its_width(values: list[float | None], width: int) -> None:
    bars = paper.trend(values, width)
    assert len(bars) in {0, min(width, len(values))}
    assert set(bars) <= set(" ▁▂▃▄▅▆▇█")


def test_a_trend_rises_with_its_values() -> None:
    assert paper.trend(list(range(8))) == "▁▂▃▄▅▆▇█"
    assert paper.trend([0, None, 7]) == "▁ █"
    assert paper.trend([3, 3, 3]) == "▁▁▁"
    assert paper.trend([None]) == ""


@given(st.text())
def test_no_terminal_obeys_what_came_from_outside(text: str) -> None:
    shown = paper.printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs"}
    assert paper.printable("ツール \x1b[31m") == "ツール \\x1b[31m"


@given(st.lists(st.sampled_from(Word)))
def test_the_gravest_word_stands_and_silence_is_never_health(words: list[Word]) -> None:
    said = worst(tuple(words))
    assert said in words or said is Word.UNKNOWN
    if Word.CRITICAL in words:
        assert said is Word.CRITICAL
    if set(words) <= {Word.UNKNOWN}:
        assert said is Word.UNKNOWN
