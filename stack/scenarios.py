"""The faults that can be shown: what each makes ill, what the server needs for it, and how it is switched on."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fleet.inventory import Enforced, Transport
from fleet.server_settings import SettingValue
from fleet.signals import SignalName
from stack.derived import with_settings
from stack.loop import Loop


class Cause(enum.StrEnum):
    """Where a fault comes from."""

    SERVER = "in the memory of the server's process"
    CLIENTS = "30 sessions that clients opened and abandoned"
    DEPLOYMENT = "a setting that a deployment got wrong"


_BAD_DEPLOYMENT: Final = MappingProxyType({"mcp.cache_ttl_ms": 10})
_BOTH: Final = frozenset(Transport)
_HTTP: Final = frozenset({Transport.HTTP})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault.

    Attributes:
        fault: its name on the command line, and what the example server is told where it is the cause.
        signal: what it makes ill.
        cause: where it comes from.
        transports: over which it can be shown.
        settings: what the server's TOML says from the beginning.
        enforce: the limits that the gateway enforces.
    """

    fault: str
    signal: SignalName
    cause: Cause = Cause.SERVER
    transports: frozenset[Transport] = _HTTP
    settings: Mapping[str, SettingValue] = field(default_factory=dict)
    enforce: frozenset[Enforced] = frozenset()

    async def switch_on(self, loop: Loop) -> None:
        """Let it happen."""
        match self.cause:
            case Cause.SERVER:
                loop.switch_on(self.fault)
            case Cause.CLIENTS:
                await loop.start_crowd()
            case Cause.DEPLOYMENT:
                file = loop.server_config
                written = file.with_suffix(".new")
                written.write_text(with_settings(file.read_text(encoding="utf-8"), _BAD_DEPLOYMENT), encoding="utf-8")
                written.replace(file)


SCENARIOS: Final = MappingProxyType(
    {
        scenario.fault: scenario
        for scenario in (
            Scenario("errors", SignalName.ERROR_RATIO, transports=_BOTH),
            Scenario("slow", SignalName.RESPONSE_TIME),
            Scenario("crash", SignalName.DOWN, transports=_BOTH),
            Scenario("hang", SignalName.DOWN, transports=_BOTH),
            Scenario("leak", SignalName.MEMORY, transports=_BOTH),
            Scenario(
                "sessions",
                SignalName.SESSIONS,
                cause=Cause.CLIENTS,
                # The cap of the example is far too high: the profile for high load lowers it and the idle time.
                enforce=frozenset({Enforced.SESSIONS}),
            ),
            Scenario(
                "cache",
                SignalName.CACHE_HIT_RATIO,
                cause=Cause.DEPLOYMENT,
                settings={"mcp.enable_response_caching": True},
            ),
        )
    }
)
"""Every fault by its name, in the order in which ``all`` shows them."""


def shown_over(transport: Transport, mode: str = "automatic") -> tuple[str, ...]:
    """The faults that can be shown over a transport.

    Left alone (``suggest``), a hit ratio calls nobody: its end would never be seen.
    """
    quiet = {SignalName.CACHE_HIT_RATIO} if mode == "suggest" else set()
    return tuple(
        name
        for name, scenario in SCENARIOS.items()
        if transport in scenario.transports and scenario.signal not in quiet
    )
