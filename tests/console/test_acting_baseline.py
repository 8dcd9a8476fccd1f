"""A baseline is what a real Prometheus remembers, over no more than it remembers, and the receiver's from then on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from tests.console.acting_world import Clinic, clinic
from tests.console.past import Past, remembered

HOURS = 48
STEP = 600


@pytest.fixture(scope="module")
def past() -> Past:
    """Two days of alpha until a moment ago; beta called nobody and cost nothing."""
    end = int(time.time()) - 60
    moments = range(end - HOURS * 3600, end + 1, STEP)
    return {
        'mcp:sampled_response_time{server="alpha"}': [(at, 1.0 + (place % 7) / 10) for place, at in enumerate(moments)],
        'mcp:sampled_cost{server="alpha"}': [(at, 0.5 + (place % 5) / 100) for place, at in enumerate(moments)],
    }


@pytest.fixture(scope="module")
def prometheus(past: Past, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with remembered(past, tmp_path_factory.mktemp("past")) as url:
        yield url


def looking_at(opened: Clinic, prometheus: str) -> Path:
    """The console's fleet file with the Prometheus that remembers."""
    document = json.loads(opened.config.read_text())
    document["prometheus"]["url"] = prometheus
    file = opened.world.folder / "remembering.yml"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.prometheus
async def test_it_is_measured_shown_and_kept(past: Past, prometheus: str) -> None:
    async with clinic() as opened:
        config = looking_at(opened, prometheus)
        told = await opened.types("baseline", "alpha", "--period", "7d", "--json", config=config)
        found = told.json
        assert (told.code, found["kept"]) == (0, True), (told.out, told.err)
        response, cost = past.values()
        assert found["response_time_seconds"] == pytest.approx(mean(value for _, value in response))
        assert found["cost_usd_per_hour"] == pytest.approx(mean(value for _, value in cost))
        assert found["samples"] == len(response)
        # The history is shorter than the week that was asked for, and its begin is known to a look.
        assert found["begin"] == pytest.approx(response[0][0], abs=3600)
        shown = await opened.types("baseline", "alpha", config=config, columns=40)
        assert "asked for 7.0 d: the history is shorter" in " ".join(shown.out.split())
        assert max(map(len, shown.out.splitlines())) <= 40
        part = await opened.types("baseline", "alpha", "--period", "1d", "--json", config=config)
        last_day = [value for at, value in response if at > part.json["until"] - 86_400]
        assert part.json["response_time_seconds"] == pytest.approx(mean(last_day))


@pytest.mark.prometheus
async def test_without_the_receiver_it_is_measured_and_said_not_to_be_kept(prometheus: str) -> None:
    async with clinic(running_receiver=False) as opened:
        config = looking_at(opened, prometheus)
        told = await opened.types("baseline", "alpha", "--json", config=config)
        assert told.code == 3
        assert (told.json["kept"], told.json["samples"]) == (False, HOURS * 3600 / STEP + 1)
        (gap,) = told.json["unreachable"]
        assert gap["address"] == opened.url


@pytest.mark.prometheus
async def test_nothing_measured_is_nothing_to_keep(prometheus: str) -> None:
    async with clinic() as opened:
        told = await opened.types("baseline", "beta", "--json", config=looking_at(opened, prometheus))
        assert (told.code, told.json["kept"], told.json["response_time_seconds"]) == (1, False, None)
        assert "no history of beta" in told.json["detail"]


async def test_without_prometheus_nothing_can_be_said() -> None:
    async with clinic() as opened:
        nobody = "http://127.0.0.1:9"
        told = await opened.types("baseline", "alpha", config=looking_at(opened, nobody))
        assert (told.code, told.out) == (3, "")
        assert told.err.startswith(f"mcp-medic: Prometheus at {nobody} cannot be reached")
