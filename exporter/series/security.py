"""The operators' security checks as series: 1 passes, 0 fails, absent where nothing can be said."""

from __future__ import annotations

from exporter import metrics
from exporter.metrics import Series
from exporter.readings import SecurityReading
from fleet.security import Check


def samples(reading: SecurityReading | None, sessions_without_expiry: int | None) -> dict[Series, float]:
    """What files answer, and what Redis does: how many session keys have no time to live, None where nobody counted."""
    checks = {} if reading is None else dict(reading.checks)
    if sessions_without_expiry is not None:
        checks[Check.SESSION_EXPIRY] = sessions_without_expiry == 0
    return {metrics.SECURITY_CHECK.series(check): float(passes) for check, passes in checks.items()}
