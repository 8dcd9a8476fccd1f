"""deploy/completion/: what click generates, and what each shell that is here makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import completion
from stack.completion import WHERE, path_of
from stack.tools import PROJECT

COMPLETE = """
source {file}
COMP_WORDS=(mcp-medic {words})
COMP_CWORD={place}
_mcp_medic_completion mcp-medic
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """``mcp-medic`` on PATH, and a fleet of two servers."""
    program = tmp_path / "mcp-medic"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m console "$@"\n')
    program.chmod(0o755)
    entry = "transport: http, url: 'http://127.0.0.1:3001/mcp'"
    (tmp_path / "fleet.yml").write_text(f"servers: [{{name: codex, {entry}}}, {{name: young, {entry}}}]\n")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
    return inherited | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "MCP_MEDIC_CONFIG": str(tmp_path / "fleet.yml"),
    }


def test_the_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main(["--check"]) == 0, capsys.readouterr().err


def test_a_file_that_is_not_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(completion, "PROJECT", tmp_path)
    monkeypatch.setattr(completion, "FOLDER", tmp_path)
    assert completion.main([]) == 0
    assert completion.main(["--check"]) == 0
    (tmp_path / "mcp-medic.zsh").write_text("#compdef mcp-medic\n")
    (tmp_path / "mcp-medic.fish").unlink()
    assert completion.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"mcp-medic.{shell} is out of date: python -m stack.completion" for shell in ("zsh", "fish")
    ]


@pytest.mark.parametrize("shell", WHERE)
def test_each_shell_reads_its_file(shell: str) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    said = subprocess.run([program, "-n", path_of(shell)], capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "place", "wanted"),
    [
        ("inc", 1, ["incidents"]),
        ("performance ''", 2, ["codex", "young"]),
        ("restart --no", 2, ["--no-wait"]),
    ],
)
def test_bash_completes_commands_servers_and_options(
    environ: dict[str, str], words: str, place: int, wanted: list[str]
) -> None:
    script = COMPLETE.format(file=path_of("bash"), words=words, place=place)
    said = subprocess.run(
        ["bash", "--norc", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stdout.split() == wanted, said.stderr


def test_fish_completes_servers(environ: dict[str, str], tmp_path: Path) -> None:
    if (program := shutil.which("fish")) is None:
        pytest.skip("fish is not installed")
    script = f"source {path_of('fish')}; complete --do-complete 'mcp-medic restart y'"
    said = subprocess.run(
        [program, "--no-config", "-c", script], env=environ | {"HOME": str(tmp_path)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert said.stdout.split() == ["young"], said.stderr
