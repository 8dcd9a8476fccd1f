"""Which tests stay together in one worker, and that a real run deals them out so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.spread import APART, FIRST, group_of, place_of

PROJECT = Path(__file__).parents[1]
HOOKS = "from tests.conftest import pytest_collection_modifyitems, pytest_configure, pytest_xdist_make_scheduler\n"
NOTES_ITS_WORKER = """
from pathlib import Path
def test_it(worker_id, request):
    with Path("workers").open("a") as file:
        file.write(f"{request.node.nodeid.partition('::')[0]} {worker_id}\\n")
"""


@pytest.mark.parametrize("begins", FIRST)
def test_what_is_named_is_there(begins: str) -> None:
    assert (PROJECT / begins).exists()


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/e2e/test_treatment.py::test_a", "tests/e2e/test_treatment.py"),
        ("tests/e2e/test_any_other.py::test_a[x]", "tests/e2e/"),
        ("tests/receiver/shell/test_process.py::test_a[1]", "tests/receiver/shell/test_process.py::test_a[1]"),
        ("tests/fleet/test_doors.py::test_a[a::b]", "tests/fleet/test_doors.py"),
    ],
)
def test_what_stays_together(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group


def test_loops_start_first_and_the_rest_as_it_was_collected() -> None:
    files = [
        "tests/a/test_a.py",
        "tests/e2e/test_demo.py",
        APART[0],
        "tests/e2e/test_treatment.py",
        "tests/z/test_z.py",
    ]
    ordered = sorted((f"{file}::test" for file in files), key=place_of)
    assert [nodeid.partition("::")[0] for nodeid in ordered] == [files[3], files[1], files[2], files[0], files[4]]


def test_a_real_run_keeps_the_loops_of_several_files_in_one_worker(tmp_path: Path) -> None:
    files = ["tests/e2e/test_a.py", "tests/e2e/test_b.py", "tests/e2e/test_treatment.py"]
    (tmp_path / "tests" / "e2e").mkdir(parents=True)
    (tmp_path / "conftest.py").write_text(HOOKS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
    for file in files:
        (tmp_path / file).write_text(NOTES_ITS_WORKER, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadscope", "-p", "xdist", "-q"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = dict(line.split() for line in (tmp_path / "workers").read_text(encoding="utf-8").splitlines())
    assert sorted(workers) == files
    assert workers[files[0]] == workers[files[1]] != workers[files[2]]
