"""``check-config``, and what else looks without asking a service first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from console import check_config as checking
from console.frame import CONFIG, JSON
from console.root import Section, main


@click.command("check-config")
@CONFIG
@JSON
def check_config(config: Path, json_wanted: bool) -> None:
    """Say every mistake in the fleet file at once, with line, key path, value and remedy.

    Example: mcp-medic check-config --config /etc/mcp-medic/fleet.yml
    """
    report = checking.check(config, os.environ)
    text = checking.as_json(report) if json_wanted else checking.as_text(report)
    click.echo(text, err=not (json_wanted or report.valid))
    sys.exit(0 if report.valid else 1)


main.adopt(Section.CHECKING, check_config)
