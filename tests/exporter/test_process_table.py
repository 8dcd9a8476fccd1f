"""The listing of this machine's processes, by /proc and by psutil."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from exporter.sources.process_table import Listing, Machine, ProcFs, Psutil, Row, this_machine
from tests.exporter.processes import Tree


@pytest.mark.skipif(not psutil.LINUX, reason="both can be asked on Linux only")
def test_proc_and_psutil_see_the_same(tree: Tree) -> None:
    direct, asked = ProcFs(), Psutil()
    left, right = direct.rows(), asked.rows()
    for pid in (tree.pid, tree.child, os.getpid()):
        one, other = left[pid], right[pid]
        assert (one.parent, one.start_time, one.zombie, one.threads) == (
            other.parent, other.start_time, other.zombie, other.threads,
        )  # fmt: skip
        assert abs(one.resident_memory_bytes - other.resident_memory_bytes) < 5_000_000
        assert direct.command_line(pid) == asked.command_line(pid).strip()
    for pid in (tree.pid, tree.child):
        assert direct.open_fds(pid) == asked.open_fds(pid)
    assert isinstance(this_machine(), ProcFs)


def test_a_process_that_is_gone_is_told_from_one_that_may_not_be_read(tree: Tree, machine: Machine) -> None:
    tree.end()
    for ask in (machine.open_fds, machine.command_line):
        with pytest.raises(ProcessLookupError):
            ask(tree.pid)
    assert tree.pid not in machine.rows()


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    """The kernel puts a process' name between parentheses and quotes nothing."""
    folder = tmp_path / "proc"
    (folder / "7").mkdir(parents=True)
    (folder / "stat").write_text("cpu 1 2\nbtime 1000\n")
    numbers = " ".join(str(number) for number in range(4, 52))
    (folder / "7" / "stat").write_bytes(b"7 (a) R 1 (b \xff) S 3 " + numbers.encode())
    [row] = ProcFs(str(folder)).rows().values()
    assert (row.pid, row.parent, row.zombie, row.threads) == (7, 3, False, 19)
    (folder / "8").mkdir()
    (folder / "8" / "stat").write_bytes(b"")
    (folder / "self").mkdir()
    assert list(ProcFs(str(folder)).rows()) == [7]


def test_a_tree_never_holds_a_process_older_than_its_parent() -> None:
    def row(pid: int, parent: int, start: float) -> Row:
        return Row(pid, parent, start, False, 1, 0.0, 1)

    class Given(Psutil):
        def rows(self) -> dict[int, Row]:
            given = [row(1, 0, 1.0), row(5, 1, 10.0), row(6, 5, 11.0), row(7, 5, 9.0), row(8, 6, 12.0), row(9, 9, 20.0)]
            return {each.pid: each for each in given}

    listing = Listing(Given(), 0.0)
    assert [each.pid for each in listing.tree(listing.rows[5])] == [5, 6, 8]
    assert [each.pid for each in listing.tree(listing.rows[9])] == [9]
