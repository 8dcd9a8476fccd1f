"""What one receiver needs to know, read once from fleet.yml and the token files that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleet.doors import is_loopback
from fleet.errors import ConfigError, Problem
from fleet.loading import load_fleet
from fleet.tokens import read_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.inventory import Address, Fleet


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that are nobody's policy; a test shortens them, an operator has no reason to.

    Attributes:
        telemetry_lag_seconds: after an act before a scrape can no longer show what happened during it (2: a gateway
            reports once a second).
        reconcile_seconds: between two readings of Alertmanager's active alerts (60: what one lost webhook costs).
        verify_retry_seconds: between two questions after an act whose end is not known (2).
        verify_deadline_seconds: after that the act's outcome is ``unknown`` (60: longer than a restart may take).
        retry_seconds, retry_longest_seconds: wait after a failed step, doubled each time (1 to 60).
        stop_seconds: how long a stop waits for an act under way (6 of the 8 seconds that a stop may take).
    """

    telemetry_lag_seconds: float = 2.0
    reconcile_seconds: float = 60.0
    verify_retry_seconds: float = 2.0
    verify_deadline_seconds: float = 60.0
    retry_seconds: float = 1.0
    retry_longest_seconds: float = 60.0
    stop_seconds: float = 6.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The fleet, where to listen, the accepted bearer tokens (none: no authentication, on loopback only)."""

    fleet: Fleet
    listen: Address
    tokens: tuple[str, ...]
    timing: Timing = Timing()

    def __repr__(self) -> str:
        return f"Settings(fleet={self.fleet.file}, listen={self.listen}, tokens=<{len(self.tokens)} secret>)"


def read_settings(config: Path, environ: Mapping[str, str], listen: Address | None = None) -> Settings:
    """Read everything; ``listen`` (from the command line) wins over the file's.

    Raises:
        ConfigError: every mistake of fleet.yml, or of the token files.
    """
    fleet = load_fleet(config, environ)
    problems: list[Problem] = []
    tokens: list[str] = []
    for index, file in enumerate(fleet.receiver.bearer_token_files):
        try:
            tokens.append(read_token(file, f"receiver.authentication.bearer_token_files[{index}]"))
        except ConfigError as error:
            problems.extend(error.problems)
    chosen = listen or fleet.receiver.listen
    if not is_loopback(chosen.host) and not fleet.receiver.bearer_token_files:
        problems.append(
            Problem(
                str(config),
                0,
                "receiver.authentication.bearer_token_files",
                f"is empty: --listen {chosen} is not loopback",
                "Name a file with a token, or listen on 127.0.0.1",
            )
        )
    if problems:
        raise ConfigError(tuple(problems))
    return Settings(fleet, chosen, tuple(tokens))


def with_timing(settings: Settings, timing: Timing) -> Settings:
    """The same settings at another pace."""
    return replace(settings, timing=timing)
