"""One bad file for each mistake in ``mistakes/``; its first lines hold the exact messages that a person gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import ConfigError
from fleet.loading import load_fleet

FOLDER = Path(__file__).parent / "mistakes"
FILES = sorted(FOLDER.glob("*.yml"))
EXPECTED = "# expected: "


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_mistake_has_its_exact_message(file: Path) -> None:
    expected = [line.removeprefix(EXPECTED) for line in file.read_text().splitlines() if line.startswith(EXPECTED)]
    assert expected
    with pytest.raises(ConfigError) as raised:
        load_fleet(file, {})
    assert [str(problem).replace(f"{FOLDER}/", "") for problem in raised.value.problems] == expected


def test_every_mistake_was_found() -> None:
    assert len(FILES) >= 30
