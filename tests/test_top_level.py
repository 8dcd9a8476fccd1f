"""The list of top-level folders is a decision: import-linter guards what is inside them, this guards the list."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1]

DISTRIBUTED = {"console", "exporter", "fleet", "gateway", "grafana", "receiver", "rules"}
BESIDE = {".ci", "bench", "deploy", "docs", "examples", "stack", "tests"}


def test_every_top_level_folder_is_known() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    folders = {line.partition("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    assert folders <= DISTRIBUTED | BESIDE
    assert folders >= DISTRIBUTED


def test_every_package_is_listed_for_the_distribution() -> None:
    listed = set(tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        str(init.parent.relative_to(PROJECT)).replace("/", ".")
        for name in DISTRIBUTED
        for init in (PROJECT / name).rglob("__init__.py")
    }
    assert listed == found


def test_each_package_is_a_charter_without_code() -> None:

    for name in DISTRIBUTED:
        for init in (PROJECT / name).rglob("__init__.py"):
            body = ast.parse(init.read_text()).body
            assert len(body) == 1, init
            assert isinstance(body[0], ast.Expr), init
