"""Every file of ``data``: alerts and measurements over time, and the journal that must come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.sections.receiver import DEFAULT_LADDERS
from tests.scenarios import clock
from tests.scenarios.world import play

FILES = sorted((Path(__file__).parent / "data").glob("*.yml"))


def read(file: Path) -> dict[str, Any]:
    scenario: dict[str, Any] = yaml.safe_load(file.read_text())
    assert not scenario.keys() - {"title", "fleet", "toml", "events", "until", "journal", "toml_after", "metrics"}
    return scenario


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_journal_is_as_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read(file)
    world = clock.run(play(tmp_path, scenario, monkeypatch))
    assert world.words() == scenario["journal"], scenario["title"]
    for name, raw in scenario.get("toml_after", {}).items():
        assert world.settings_of("codex").get(name) == raw, name


def test_there_are_enough_of_them_and_every_ladder_is_climbed() -> None:
    assert len(FILES) >= 40
    acted = {line for file in FILES for line in read(file)["journal"]}
    for signal, ladder in DEFAULT_LADDERS.items():
        for rung in ladder:
            if rung.action != "escalate":
                assert str(rung) in acted, f"{rung} of {signal}"
