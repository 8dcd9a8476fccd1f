"""What one receiver needs to know, read once from fleet.yml and the files that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleet.doors import is_loopback
from fleet.errors import ConfigError, Problem
from fleet.loading import DOOR_REMEDY, is_anybody_known, load_to_serve
from fleet.web_config import WebConfig, read_web_config
from receiver.credentials import read_credentials

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
        look_seconds: between two looks at a server that only new alerts ask for (0.5: each asks Prometheus twice).
        reconcile_seconds: between two readings of Alertmanager's active alerts (60: what one lost webhook costs).
        verify_retry_seconds: between two questions after an act whose end is not known (2).
        verify_deadline_seconds: after that the act's outcome is ``unknown`` (60: longer than a restart may take).
        retry_seconds, retry_longest_seconds: wait after a failed step, doubled each time (1 to 60).
        proof_seconds: between two looks at the servers' files (30: what is proven stood for minutes).
        retention_seconds: between two looks for what the journal may forget (21600: it is read as a whole each time).
        overdue_seconds: between two attempts at what is due and not for the moment (15: most of what ends that wakes
            its worker, the end of a maintenance window does not).
        stop_seconds: how long a stop waits for an act under way (6 of the 8 seconds that a stop may take).
    """

    telemetry_lag_seconds: float = 2.0
    look_seconds: float = 0.5
    reconcile_seconds: float = 60.0
    verify_retry_seconds: float = 2.0
    verify_deadline_seconds: float = 60.0
    retry_seconds: float = 1.0
    retry_longest_seconds: float = 60.0
    retention_seconds: float = 21_600.0
    stop_seconds: float = 6.0
    proof_seconds: float = 30.0
    overdue_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The fleet, where to listen, and the file of TLS and users. Who may come in stands in ``fleet.receiver``."""

    fleet: Fleet
    listen: Address
    web_config_file: Path | None = None
    timing: Timing = Timing()


def read_settings(
    config: Path, environ: Mapping[str, str], listen: Address | None = None, web_config_file: Path | None = None
) -> Settings:
    """Read everything; ``listen`` and ``web_config_file`` (from the command line) win over the file's.

    Raises:
        ConfigError: every mistake of fleet.yml, or of the files that say who may come in; those of the servers' own
            files are only logged.
    """
    fleet = load_to_serve(config, environ, receiver_web_config_file=web_config_file)
    chosen = listen or fleet.receiver.listen
    file = web_config_file or fleet.receiver.web_config_file
    problems: list[Problem] = []
    web_config = WebConfig()
    try:
        read_credentials(fleet.receiver)
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        web_config = WebConfig() if file is None else read_web_config(file)
    except ConfigError as error:
        problems.extend(error.problems)
    if not problems and not is_loopback(chosen.host) and not is_anybody_known(fleet.receiver, web_config):
        problems.append(
            Problem(
                str(config),
                0,
                "receiver.authentication",
                f"is missing: --listen {chosen} is not loopback",
                DOOR_REMEDY,
            )
        )
    if problems:
        raise ConfigError(tuple(problems))
    return Settings(fleet, chosen, file)


def with_timing(settings: Settings, timing: Timing) -> Settings:
    """The same settings at another pace."""
    return replace(settings, timing=timing)
