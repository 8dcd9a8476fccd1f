"""docs/metrics.md says of every family what the code says, and its queries are PromQL over what is published."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from exporter import chapters, documentation
from exporter.chapters import CHAPTERS, EXAMPLES, LABEL_VALUES, UNITS
from exporter.metrics import FAMILIES, Family, Kind
from stack.tools import find

NAMES = {family.name for family in FAMILIES}


def test_the_page_is_what_the_code_says() -> None:
    assert documentation.main(["--check"]) == 0


def test_every_family_stands_in_one_chapter() -> None:
    told = Counter(family.name for chapter in CHAPTERS for family in chapter.families)
    assert set(told) == NAMES
    assert set(told.values()) == {1}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_familys_entry_is_whole(family: Family) -> None:
    entry = documentation.page().partition(f"### `{family.name}`\n")[2].partition("\n#")[0]
    assert family.help in entry
    assert re.search(rf"^- {family.kind}, unit: \S+", entry, re.MULTILINE)
    assert all(f"`{label}`" in entry for label in family.labels)
    example = re.search(r"^- example: `(.+)`$", entry, re.MULTILINE)
    assert example is not None
    named = set(re.findall(r"\bmcp_(?!method_name)[a-z0-9_]+", example.group(1)))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} & {family.name}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} <= NAMES


def test_nothing_is_told_of_what_is_not_published() -> None:
    assert set(EXAMPLES) <= NAMES
    labels = {label for family in FAMILIES for label in family.labels}
    assert set(LABEL_VALUES) == {"server", *labels}
    assert {name for name in UNITS if not name.startswith("mcp_threshold_")} <= NAMES


def test_a_histograms_buckets_and_a_counters_unit_are_told() -> None:
    assert "unit: seconds; buckets 0.01 0.02 0.05 " in documentation.page()
    assert {documentation.unit_of(family) for family in FAMILIES if family.kind is Kind.HISTOGRAM} == {"seconds"}


def test_promtool_reads_every_example(tmp_path: Path) -> None:
    rules = [
        {"record": f"example:{number}", "expr": documentation.example_of(family)}
        for number, family in enumerate(FAMILIES)
    ]
    file = tmp_path / "examples.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "examples", "rules": rules}]}))
    ended = subprocess.run(
        [find("promtool"), "check", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"SUCCESS: {len(FAMILIES)} rules found" in ended.stdout


def test_a_page_that_differs_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "metrics.md"
    monkeypatch.setattr(documentation, "PAGE", other)
    assert documentation.main(["--check"]) == 1
    assert documentation.main([]) == 0
    assert documentation.main(["--check"]) == 0
    other.write_text(other.read_text().replace("# Metrics", "# Something"))
    assert documentation.main(["--check"]) == 1


def test_a_family_that_no_chapter_has_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surplus = Family("mcp_server_surplus", Kind.GAUGE, "Surplus.", ("unheard_of",))
    monkeypatch.setattr(documentation, "FAMILIES", (*FAMILIES, surplus))
    assert documentation.main(["--check"]) == 1
    assert "no chapter has mcp_server_surplus" in capsys.readouterr().err
    monkeypatch.setattr(documentation, "CHAPTERS", (*CHAPTERS, chapters.Chapter("Surplus", "Nowhere.", (surplus,))))
    assert documentation.main(["--check"]) == 1
    assert "nothing says what unheard_of can hold" in capsys.readouterr().err
