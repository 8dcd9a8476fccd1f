"""``mcp-medic``: flags in, exit code out; the environment is read here only.

Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 a needed service cannot be reached.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from console import check_config as checking


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mcp-medic")
def main() -> None:
    """Vitals and self-healing for MCP servers: the operator's console."""


@main.command("check-config")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path("fleet.yml"),
    envvar="MCP_MEDIC_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The fleet file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_config(file: Path, as_json: bool) -> None:
    """Say every mistake in the fleet file at once, with line, key path, value and remedy.

    Example: mcp-medic check-config --config /etc/mcp-medic/fleet.yml
    """
    report = checking.check(file, os.environ)
    click.echo(checking.as_json(report) if as_json else checking.as_text(report), err=not (as_json or report.valid))
    sys.exit(0 if report.valid else 1)


if __name__ == "__main__":
    main()
