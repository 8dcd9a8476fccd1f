"""The operators' security checks: each passes and fails for its own reason only."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.profiles import PROFILES, held_by
from fleet.security import CHECKED, Approval, Check, Security, is_private, promised

SOUND = Security(
    audit_logging=True,
    sensitive_data_detection=True,
    approval=Approval(auto_approve_read_only=True, auto_approve_full_access=False),
    compression=True,
)


def failing(security: Security, audited: bool = False) -> set[Check]:
    return {check for check, passes in promised(security, audited).items() if not passes}


def test_every_check_says_what_holds() -> None:
    assert set(CHECKED) == set(Check)


def test_a_file_that_promises_everything_passes() -> None:
    assert failing(SOUND) == set()


@pytest.mark.parametrize("said", [False, None])
@pytest.mark.parametrize(
    ("said_of", "check"),
    [
        (lambda said: replace(SOUND, audit_logging=said), Check.AUDIT_LOGGING),
        (lambda said: replace(SOUND, sensitive_data_detection=said), Check.SENSITIVE_DATA_DETECTION),
        (lambda said: replace(SOUND, compression=said), Check.COMPRESSION),
    ],
    ids=["audit_logging", "sensitive_data_detection", "compression"],
)
def test_what_is_off_or_not_said_fails_alone(
    said_of: Callable[[bool | None], Security], check: Check, said: bool | None
) -> None:
    assert failing(said_of(said)) == {check}


@pytest.mark.parametrize("compression", [None, False, True])
def test_a_file_without_the_section_promised_nothing(compression: bool | None) -> None:
    assert promised(Security(compression=compression), audited=False) == {}
    begun = Security(risk_assessment=True, compression=compression)
    assert {Check.AUDIT_LOGGING, Check.APPROVAL_WORKFLOWS} <= failing(begun)


def test_without_workflows_nothing_needs_approval() -> None:
    assert failing(replace(SOUND, approval=None)) == {Check.APPROVAL_WORKFLOWS, Check.FULL_ACCESS_APPROVAL}


def test_full_access_that_approves_itself_fails() -> None:
    assert failing(replace(SOUND, approval=Approval(auto_approve_full_access=True))) == {Check.FULL_ACCESS_APPROVAL}
    assert failing(replace(SOUND, approval=Approval(auto_approve_isolated=True))) == set()


def test_a_gateways_audit_log_counts() -> None:
    assert failing(replace(SOUND, audit_logging=False), audited=True) == set()


@pytest.mark.parametrize(
    ("mode", "private"),
    [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o601, False), (0o666, False)],
)
def test_only_the_owner_may_read_credentials(mode: int, private: bool) -> None:
    assert is_private(stat.S_IFREG | mode) is private
    assert not is_private(stat.S_IFDIR | mode)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_holds_when_each_of_its_settings_does(name: str) -> None:
    values: dict[tuple[str, str], object] = {(s.section, s.key): v for s, v in PROFILES[name].changes.items()}
    assert held_by(values) == {name}
    for missing in values:
        assert held_by({key: value for key, value in values.items() if key != missing}) == frozenset()
        assert held_by({**values, missing: -1}) == frozenset()
