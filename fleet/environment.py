"""What the operators' environment asks of every program here. Pure; each program passes its own environment in.

``MCP_DEBUG_LEVEL``: how much the logs say. ``ENABLE_PROMETHEUS_METRICS``: ``false`` takes ``/metrics`` away.
``REDIS_URL`` is where Redis is while fleet.yml does not say (``fleet.sections.services``). ``NODE_ENV`` is the
servers' own. All four are passed on to every server that is started.

The servers read the same variables and may know values that are unknown here. So an unknown value stops nothing: it
counts as not set, and ``complaints`` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

DEBUG_LEVEL: Final = "MCP_DEBUG_LEVEL"
METRICS: Final = "ENABLE_PROMETHEUS_METRICS"

_LEVELS: Final = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    # There is nothing finer than debug here; the servers have it.
    "trace": logging.DEBUG,
}
_SWITCH: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def log_level(environ: Mapping[str, str], default: int = logging.INFO) -> int:
    """The level of ``logging`` that ``MCP_DEBUG_LEVEL`` means."""
    return _LEVELS.get(_written(environ, DEBUG_LEVEL), default)


def metrics_enabled(environ: Mapping[str, str]) -> bool:
    """False when ``ENABLE_PROMETHEUS_METRICS`` is off."""
    return _SWITCH.get(_written(environ, METRICS), True)


def complaints(environ: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each variable whose value means nothing here."""
    return tuple(
        f"{name} is {environ[name]!r}, which means nothing here: write one of {', '.join(known)}"
        for name, known in ((DEBUG_LEVEL, _LEVELS), (METRICS, _SWITCH))
        if _written(environ, name) and _written(environ, name) not in known
    )


def _written(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()
