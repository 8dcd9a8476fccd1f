"""deploy/completion/: what makes a shell complete ``mcp-medic``: ``python -m stack.completion``, ``--check`` in CI.

The files ask ``mcp-medic`` itself, so that they need no change when a command is added.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from click.shell_completion import get_completion_class

from console.__main__ import main as console
from stack.tools import PROJECT

FOLDER: Final = PROJECT / "deploy" / "completion"
WHERE: Final = {
    "bash": "/usr/share/bash-completion/completions/mcp-medic",
    "zsh": "/usr/share/zsh/vendor-completions/_mcp-medic, or source it in ~/.zshrc",
    "fish": "/usr/share/fish/vendor_completions.d/mcp-medic.fish",
}
"""The shells, and where each looks for such a file."""

_PROGRAM: Final = "mcp-medic"
_ASKED_BY: Final = "_MCP_MEDIC_COMPLETE"


def path_of(shell: str) -> Path:
    """The file for one shell."""
    return FOLDER / f"{_PROGRAM}.{shell}"


def script_of(shell: str) -> str:
    """What belongs into it: click's script, with the place that it is for."""
    made = get_completion_class(shell)
    if made is None:
        raise ValueError(f"click completes nothing for {shell}")
    asked = made(console, {}, _PROGRAM, _ASKED_BY)
    # Not source(): of bash it would start one to warn where that is older than 4.4. The text is the same.
    first, _, rest = (asked.source_template % asked.source_vars()).strip().partition("\n")
    note = f"# For {WHERE[shell]}. Generated: python -m stack.completion"
    # zsh reads its own first line.
    return f"{first}\n{note}\n{rest}\n" if first.startswith("#") else f"{note}\n{first}\n{rest}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` say which are out of date (exit 1)."""
    parser = argparse.ArgumentParser(prog="python -m stack.completion", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    wanted = {path_of(shell): script_of(shell) for shell in WHERE}
    if parser.parse_args(arguments).check:
        stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
        sys.stderr.writelines(
            f"{file.relative_to(PROJECT)} is out of date: python -m stack.completion\n" for file in stale
        )
        return 1 if stale else 0
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
