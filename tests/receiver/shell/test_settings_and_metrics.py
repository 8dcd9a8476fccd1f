"""Secrets stay out of prints; every series of the contract is there from the start."""

from __future__ import annotations

import re

from receiver.actions.table import ACTIONS
from receiver.credentials import read_credentials
from receiver.incident import IncidentState
from receiver.metrics import Metrics
from tests.receiver.shell.world import TOKEN, World


def test_a_token_is_never_printed(world: World) -> None:
    settings = world.settings()
    credentials = read_credentials(settings.fleet.receiver)
    assert credentials.tokens == (TOKEN,)
    for shown in (repr(settings), str(settings), repr(credentials), str(credentials)):
        assert TOKEN not in shown


def test_every_series_of_the_contract_starts_at_0() -> None:
    states = [state for state in IncidentState if state is not IncidentState.CLOSED]
    text = Metrics(["alpha"], ACTIONS, states).exposition({"alpha": "escalated"}).decode()
    for line in (
        'mcp_remediation_webhooks_total{result="quarantined"} 0.0',
        'mcp_remediation_incidents{server="alpha",state="escalated"} 1.0',
        'mcp_remediation_incidents{server="alpha",state="waiting"} 0.0',
        'mcp_remediation_verdicts_total{signal="error_ratio",verdict="inconclusive"} 0.0',
        'mcp_remediation_actions_total{action="restart",outcome="unknown",server="alpha"} 0.0',
        'mcp_remediation_denied_total{reason="cooldown"} 0.0',
        "mcp_remediation_time_to_act_seconds_count 0.0",
        "mcp_remediation_time_to_heal_seconds_count 0.0",
        "mcp_remediation_manual_actions_total 0.0",
        'mcp_remediation_escalations_total{reason="inconclusive"} 0.0',
    ):
        assert line in text.splitlines()


def test_every_family_is_ours_and_has_a_help_text() -> None:
    text = Metrics(["alpha"], ACTIONS, ["waiting"]).exposition({}).decode()
    helped = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert families == set(helped)
    assert all(name.startswith(("mcp_remediation_", "mcp_baseline_")) for name in families)
