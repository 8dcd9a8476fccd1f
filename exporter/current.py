"""The configuration that holds now. A reload replaces it; whoever answers a request looks here each time."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.settings import Settings
from fleet.doors import Door
from fleet.inventory import Fleet


@dataclass(slots=True)
class Current:
    """The fleet and the settings made from it; both are replaced together."""

    fleet: Fleet
    settings: Settings

    def door(self) -> Door:
        """Who may post."""
        return self.settings.door
