"""A loop's own folder and configuration, without any part running."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fleet.loading import load_fleet
from stack import loop as loop_module
from stack import tools
from stack.loop import PARTS, Loop, LoopOptions
from stack.processes import NotReadyError

NO_PARTS = LoopOptions(label="folder", without=frozenset(PARTS))


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loop_module, "RUN", tmp_path)
    return tmp_path


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_the_folder_is_there_while_it_runs_and_gone_afterwards(run_folder: Path) -> None:
    async with Loop(NO_PARTS) as loop:
        assert loop.folder.parent == run_folder
        fleet = load_fleet(loop.fleet_file, {})
        assert fleet.receiver.bearer_token_files[0].read_text(encoding="utf-8") == loop.token
        assert stat.S_IMODE((loop.folder / "token").stat().st_mode) == 0o600
    assert left_in(run_folder) == []


async def test_a_kept_folder_stays(run_folder: Path) -> None:
    async with Loop(NO_PARTS) as loop:
        loop.keep = True
    assert left_in(run_folder) == [loop.folder]


async def test_in_a_deep_clone_the_control_sockets_path_still_fits(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = run_folder / ("d" * 60) / ("e" * 60)
    monkeypatch.setattr(loop_module, "RUN", deep)
    async with Loop(NO_PARTS) as loop:
        control_dir = load_fleet(loop.fleet_file, {}).gateway.control_dir
        assert not control_dir.is_relative_to(deep)
        assert control_dir.parent.is_dir()
    assert not control_dir.parent.exists()


async def test_a_fault_is_switched_on_by_one_whole_file(run_folder: Path) -> None:
    async with Loop(NO_PARTS) as loop:
        loop.switch_on("slow")
        assert loop.fault_file.read_text(encoding="utf-8") == "slow"
        assert not loop.fault_file.with_suffix(".new").exists()


async def test_a_part_that_cannot_start_is_named_and_its_log_stays(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "find", lambda name: run_folder / name)
    (run_folder / "prometheus").write_text("#!/bin/sh\necho 'no disk left'\nexit 7\n", encoding="utf-8")
    (run_folder / "prometheus").chmod(0o755)
    loop = Loop(LoopOptions(label="folder", without=frozenset(PARTS) - {"prometheus"}))
    with pytest.raises(NotReadyError, match=r"prometheus ended with status 7; its log .* ends with\n +no disk left"):
        await loop.__aenter__()
    assert (loop.folder / "prometheus.log").exists()
    assert loop.processes.strays() == []
