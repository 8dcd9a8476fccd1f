"""``mcp-medic`` itself: the group that every command joins, its sections in ``--help``."""

from __future__ import annotations

import enum
from collections import defaultdict

import click


class Section(enum.StrEnum):
    """What a command is for; ``--help`` lists them in this order."""

    READING = "What is measured"
    ADVICE = "What could be better"
    ACTING = "What to do to a server"
    INCIDENTS = "Incidents and automation"
    CHECKING = "Checks and troubleshooting"


class Root(click.Group):
    """A group whose help lists its commands by section."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own signature
        self._sections: defaultdict[Section, list[str]] = defaultdict(list)

    def adopt(self, section: Section, command: click.Command) -> None:
        """Take a command in."""
        self.add_command(command)
        self._sections[section].append(command.name or "")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each section with its commands and the first sentence of their help."""
        widest = max(map(len, self.commands), default=0)
        for section in Section:
            named = [(name, self.get_command(ctx, name)) for name in self._sections[section]]
            rows = [(name, found.get_short_help_str(formatter.width - 6 - widest)) for name, found in named if found]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mcp-medic")
def root() -> None:
    """Vitals and self-healing for MCP servers: the operator's console.

    Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 a needed service cannot be reached.
    """


assert isinstance(root, Root)  # noqa: S101 - what cls= made; mypy is told
main: Root = root
