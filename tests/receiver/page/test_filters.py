"""Which incidents are asked for: by server, state, time and number."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events import IncidentId
from receiver.incident import Incident
from receiver.views import MAX_LIMIT, Filter, WrongFilterError, read_filter
from tests.receiver.shell.conftest import Start

TIMES = st.floats(min_value=0, max_value=100)


def incident(number: int, server: str, opened_at: float, closed_at: float | None) -> Incident:
    return Incident(
        id=IncidentId(f"{server}-{number}"), number=number, server=server, opened_at=opened_at, closed_at=closed_at
    )


INCIDENTS = st.lists(
    st.builds(
        lambda number, server, opened_at, lasted: incident(
            number, server, opened_at, None if lasted is None else opened_at + lasted
        ),
        st.integers(1, 1000),
        st.sampled_from(["a", "b"]),
        TIMES,
        st.none() | TIMES,
    ),
    max_size=10,
)


@given(
    INCIDENTS, TIMES, TIMES, st.sampled_from(["", "a"]), st.sampled_from(["", "closed", "waiting"]), st.integers(1, 5)
)
def test_exactly_those_that_were_open_then(
    incidents: list[Incident], begin: float, until: float, server: str, state: str, limit: int
) -> None:
    query = {"server": server, "state": state, "from": repr(begin), "until": repr(until), "limit": str(limit)}
    found = read_filter(query, ["a", "b"]).of(incidents)
    wanted = [
        each
        for each in incidents
        if server in {"", each.server}
        and state in {"", str(each.state)}
        and each.opened_at <= until
        and begin <= (math.inf if each.closed_at is None else each.closed_at)
    ]
    assert found == wanted[:limit]


def test_nothing_asked_for_is_everything() -> None:
    assert read_filter({}, []) == Filter()
    assert read_filter({"server": "", "state": "", "limit": ""}, []) == Filter()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"server": "nobody"}, "server: fleet.yml names no such server"),
        ({"state": "ill"}, "state: write one of waiting"),
        ({"limit": "0"}, f"limit: write a whole number from 1 to {MAX_LIMIT}"),
        ({"limit": "1.5"}, "limit: write a whole number"),
        ({"limit": "many"}, "limit: write a number"),
        ({"from": "yesterday"}, "from: write a number of UNIX seconds"),
        ({"until": "nan"}, "until: write a number of UNIX seconds"),
        ({"until": "inf"}, "until: write a number of UNIX seconds"),
        ({"serv": "a"}, "unknown filter; there are server"),
    ],
)
def test_a_mistake_is_said(query: dict[str, str], said: str) -> None:
    with pytest.raises(WrongFilterError) as caught:
        read_filter(query, ["a"])
    assert str(caught.value).startswith(said)


@given(st.dictionaries(st.sampled_from(["server", "state", "from", "until", "limit", "x"]), st.text(max_size=12)))
def test_any_query_is_a_filter_or_a_sentence(query: dict[str, str]) -> None:
    with contextlib.suppress(WrongFilterError):
        assert read_filter(query, ["a"]).limit <= MAX_LIMIT


async def test_over_http(start: Start) -> None:
    async with start() as client:
        assert (await client.get("/api/v1/incidents?server=alpha&limit=5")) == (200, {"incidents": []})
        status, said = await client.get("/api/v1/incidents?server=nobody")
        assert status == 400
        assert "no such server" in said["error"]
