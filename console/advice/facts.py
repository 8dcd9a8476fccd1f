"""What is known of one server when it is judged: figures with their queries, its entry, its file, what stands around
it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from console.advice.figures import FIGURES, query
from console.advice.recommendation import Evidence
from console.reading.capacity import levels_of
from console.reading.figures import BY_VITAL
from fleet.inventory import Transport
from fleet.server_settings import Setting
from fleet.signals import Severity

if TYPE_CHECKING:
    from console.reading.capacity import Capacity
    from console.reading.figures import Unit
    from fleet.inventory import Server
    from fleet.server_config import Tuning


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a server, as seen from here.

    ``gateways`` is how many of them answer on this host. ``backups`` is how many copies of its TOML are kept.
    ``file_text`` is the TOML as it is written, comments and all. ``debugging`` is whether ``debug-mode`` is on, None
    where nobody could be asked.
    """

    gateways: int = 0
    backups: int = 0
    file_text: str = field(default="", repr=False)
    debugging: bool | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """One server over ``period`` seconds. ``figures`` has what was measured, by the names of ``figures.FIGURES``."""

    server: Server
    period: int
    figures: Mapping[str, float]
    room: Capacity | None = None
    around: Around = Around()
    history_seconds: float | None = None

    def of(self, name: str) -> float:
        """A figure that a rule needs.

        Raises:
            KeyError: nobody measured it.
        """
        return self.figures[name]

    def count(self, name: str) -> float:
        """As ``of``; 0 of what never happened."""
        return self.figures.get(name, 0.0)

    @property
    def tuning(self) -> Tuning:
        """What the server's TOML says, the defaults without one."""
        return self.server.tuning

    @property
    def is_http(self) -> bool:
        """Whether its clients share one server, and a cache."""
        return self.server.transport is Transport.HTTP

    def level(self, vital: str, severity: Severity) -> float | None:
        """The level of a figure of ``console.reading.figures`` on this server."""
        return levels_of(self.server, BY_VITAL[vital]).get(severity)

    def below_warning(self, name: str, vital: str, share: float = 1.0) -> bool:
        """Whether a figure was measured below this share of the level at which people are warned."""
        level, value = self.level(vital, Severity.WARNING), self.figures.get(name)
        return value is not None and level is not None and value < level * share

    def at_warning(self, name: str, vital: str) -> bool:
        """Whether a figure is at the level at which people are warned, or beyond."""
        level, value = self.level(vital, Severity.WARNING), self.figures.get(name)
        return value is not None and level is not None and value >= level

    def written(self, setting: Setting) -> Any:
        """What the server's TOML says there, None where it says nothing."""
        section = {} if self.server.config is None else self.server.config.values.get(setting.section, {})
        return section.get(setting.key) if isinstance(section, Mapping) else None

    def evidence(self, name: str) -> Evidence:
        """A figure with the query that measured it."""
        asked = FIGURES[name]
        return Evidence(
            name=asked.title, value=self.figures.get(name), unit=asked.unit, text="",
            source=query(name, self.server.name, self.period, self.server.cache_tools),
        )  # fmt: skip

    def in_file(self, name: str, text: str) -> Evidence:
        """A fact of the server's TOML."""
        source = "no config_file" if self.server.config is None else str(self.server.config.file)
        return Evidence(name=name, value=None, unit=None, text=text, source=source)

    def in_fleet(self, name: str, text: str) -> Evidence:
        """A fact of the server's entry in fleet.yml."""
        return Evidence(name=name, value=None, unit=None, text=text, source=f"fleet.yml: servers.{self.server.name}")

    def level_of(self, name: str, value: float | None, unit: Unit) -> Evidence:
        """A level that the server is judged by."""
        return Evidence(name=name, value=value, unit=unit, text="", source="the server's thresholds")
