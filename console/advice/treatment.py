"""Which servers are under treatment: who tunes or drives one meanwhile would be part of what its verdict measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.desk import Desk


async def treated(desk: Desk) -> Mapping[str, str]:
    """The servers with an open incident, and its id.

    Raises:
        MedicError: the receiver cannot be asked.
    """
    found = await desk.receiver.servers()
    with desk.receiver.service.taken_apart("/api/v1/servers"):
        return {one["name"]: one["incident"] for one in found["servers"] if one["incident"]}
