"""Numbers and lengths of time as people read them. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from fleet.signals import BY_NAME

NONE: Final = "\N{EN DASH}"
"""What stands where there is no number."""

_LARGE: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def of_signal(name: str, value: float | None) -> str:
    """A signal's value in its unit; a dash where there is none."""
    known = BY_NAME.get(name)
    return amount(value, "" if known is None else known.unit)


def amount(value: float | None, unit: str) -> str:
    """``value`` in one of the units of ``fleet.signals``; a dash where there is none."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    match unit:
        case "seconds":
            return f"{value * 1000:.0f} ms" if 0 < abs(value) < 0.1 else f"{plain(value)} s"
        case "ratio":
            return f"{plain(value * 100)} %"
        case "bytes":
            return _bytes(value)
        case "usd_per_hour":
            return f"{value:.2f} USD/h"
        case "sessions" | "calls":
            return f"{plain(value)} {unit[:-1] if value == 1 else unit}"
        case "factor":
            return f"{plain(value)}×"  # noqa: RUF001 - the sign for times
        case _:
            return plain(value)


def plain(value: float) -> str:
    """Three digits that count, and no zeros that do not."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 100:
        return f"{value:.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def lasting(seconds: float) -> str:
    """A length of time in its two largest units: ``2 min 5 s``."""
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    if whole < 60:
        return f"{seconds:.1f} s" if 0.05 <= seconds < 9.95 else f"{whole} s"
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def stamp(at: float) -> str:
    """UNIX seconds as ISO 8601 in UTC, for ``datetime``; "" where no clock shows such a time."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


def clock(at: float) -> str:
    """``21:56:44 UTC``."""
    return _shown(at, "%H:%M:%S UTC")


def moment(at: float) -> str:
    """``2026-11-22 21:56:44 UTC``."""
    return _shown(at, "%Y-%m-%d %H:%M:%S UTC")


def _shown(at: float, form: str) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "at no time"


def _bytes(value: float) -> str:
    for size, unit in _LARGE:
        if abs(value) >= size:
            return f"{plain(value / size)} {unit}"
    return f"{plain(value)} B"
