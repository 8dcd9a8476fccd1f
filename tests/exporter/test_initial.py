"""Which counters begin at 0: what can happen on a server, and nothing else."""

from __future__ import annotations

import pytest

from exporter import initial, metrics
from exporter.readings import SecurityReading
from fleet.inventory import Enforced
from fleet.security import Check
from fleet.telemetry import ERROR_TYPES, OTHER, TOOLS_CALL, Refused, SensitiveKind


def reasons(family: metrics.Family, *enforced: Enforced) -> set[str]:
    found = initial.counters(frozenset(enforced), None)
    return {series.labels[0] for series in found if series.family == family.name}


def test_all_begin_at_zero() -> None:
    assert set(initial.counters(frozenset(), None).values()) == {0.0}


def test_every_error_type_of_what_is_judged_is_there() -> None:
    found = initial.counters(frozenset(), None)
    assert {metrics.ERRORS.series(error, TOOLS_CALL) for error in ERROR_TYPES} <= set(found)
    assert not {metrics.ERRORS.series(error, OTHER) for error in ERROR_TYPES} & set(found)


@pytest.mark.parametrize(
    ("enforced", "refused", "would_refuse"),
    [
        ((), {"breaker", "restarting"}, {"sessions", "timeouts", "retries"}),
        ((Enforced.SESSIONS,), {"breaker", "restarting", "sessions", "queue"}, {"timeouts", "retries"}),
        ((Enforced.TIMEOUTS, Enforced.RETRIES), {"breaker", "restarting", "timeouts", "retries"}, {"sessions"}),
        (tuple(Enforced), set(Refused), set()),
    ],
)
def test_a_limit_refuses_where_it_is_enforced_and_is_counted_where_not(
    enforced: tuple[Enforced, ...], refused: set[str], would_refuse: set[str]
) -> None:
    assert reasons(metrics.REFUSED, *enforced) == refused
    assert reasons(metrics.WOULD_REFUSE, *enforced) == would_refuse


@pytest.mark.parametrize(("detects", "kinds"), [(True, set(SensitiveKind)), (False, set())])
def test_kinds_of_sensitive_data_are_there_where_they_are_looked_for(detects: bool, kinds: set[str]) -> None:
    security = SecurityReading(0.0, None, {Check.SENSITIVE_DATA_DETECTION: detects})
    found = initial.counters(frozenset(), security)
    assert {series.labels[0] for series in found if series.family == metrics.SENSITIVE_DATA.name} == kinds


def test_what_never_happened_is_left_out_and_what_happened_is_kept() -> None:
    happened, never = metrics.WOULD_REFUSE.series("restarting"), metrics.REFUSED.series("timeouts")
    idle = metrics.STRAY_OUTPUT.series()
    assert dict(initial.without_idle({happened: 1.0, never: 0.0, idle: 0.0})) == {happened: 1.0, idle: 0.0}
