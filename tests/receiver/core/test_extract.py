"""Which entries an export holds, and every query answered by an extract or a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events import Closed, Entry, Event, IncidentId, Paused, Quarantined
from receiver.extract import Extract, WrongExtractError, read_extract
from receiver.vocabulary import Closing
from tests.receiver.core.simulated import START, a_delivery, an_alert

CLOSED = Closed(incident=IncidentId("codex-1"), server="codex", reason=Closing.HEALED)
QUARANTINED = Quarantined(reason="x", body_hash="", size=1, excerpt="")


def entry(event: Event, at: float = START) -> Entry:
    return Entry(seq=1, at=at, event=event)


def test_all_of_a_query() -> None:
    query = {"server": "codex", "from": "1.5", "until": "2e9", "after": "7", "limit": "3"}
    assert read_extract(query) == Extract("codex", 1.5, 2e9, 7, 3)
    assert read_extract({}) == Extract()
    assert read_extract({"server": "", "limit": ""}) == Extract()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sever": "codex"}, "unknown key; there are server, from, until, after, limit"),
        ({"from": "yesterday"}, "from: write a number of UNIX seconds"),
        ({"until": "nan"}, "until: write a number of UNIX seconds"),
        ({"from": "inf"}, "from: write a number of UNIX seconds"),
        ({"after": "-1"}, "after: write a whole number from 0"),
        ({"after": "9" * 17}, "after: write a whole number from 0"),
        ({"after": "٣"}, "after: write a whole number from 0"),
        ({"limit": "0"}, "limit: write a whole number from 1"),
        ({"limit": "1.5"}, "limit: write a whole number from 1"),
    ],
)
def test_what_a_query_cannot_mean(query: dict[str, str], message: str) -> None:
    with pytest.raises(WrongExtractError) as raised:
        read_extract(query)
    assert str(raised.value) == message


def test_a_server_is_in_its_events_and_in_deliveries_of_its_alerts() -> None:
    codex, other = Extract("codex"), Extract("other")
    both = a_delivery(an_alert(server="codex"), an_alert(server="other"))
    assert codex.lets(entry(both))
    assert other.lets(entry(both))
    assert codex.lets(entry(CLOSED))
    assert not other.lets(entry(CLOSED))
    assert not other.lets(entry(a_delivery(an_alert(server="codex"))))
    assert not codex.lets(entry(QUARANTINED))
    assert not codex.lets(entry(Paused()))
    assert all(Extract().lets(entry(event)) for event in (both, CLOSED, QUARANTINED, Paused()))


def test_times_hold_at_both_ends() -> None:
    extract = Extract(begin=START, until=START + 1)
    assert [extract.lets(entry(CLOSED, START + step)) for step in (-0.1, 0, 1, 1.1)] == [False, True, True, False]


@given(st.dictionaries(st.sampled_from(["server", "from", "until", "after", "limit", "x"]), st.text()))
def test_every_query_is_understood_or_told_why_not(query: dict[str, str]) -> None:
    try:
        extract = read_extract(query)
    except WrongExtractError:
        return
    assert extract.after >= 0
    assert extract.limit is None or extract.limit >= 1
