from __future__ import annotations

import re

import pytest

from exporter.metrics import FAMILIES, THRESHOLDS, UP, Family, Kind
from fleet.inventory import TOOL_VITALS
from fleet.telemetry import BOUNDS
from fleet.thresholds import TABLE

# The names of the contract whose facts this version's sources give, with their own labels.
CONTRACT = {
    "mcp_server_up": (),
    "mcp_server_operation_duration_seconds": ("mcp_method_name", "gen_ai_tool_name", "error_type", "network_transport"),
    "mcp_server_session_duration_seconds": (),
    "mcp_server_errors_total": ("error_type", "mcp_method_name"),
    "mcp_server_refused_total": ("reason",),
    "mcp_server_would_refuse_total": ("reason",),
    "mcp_server_stray_output_total": (),
    "mcp_server_in_flight": (),
    "mcp_server_bytes_total": ("direction",),
    "mcp_server_sessions": (),
    "mcp_server_sessions_limit": (),
    "mcp_server_cache_requests_total": (),
    "mcp_server_cache_hits_total": (),
    "mcp_server_cache_hit_ratio": (),
    "mcp_server_cache_entries": (),
    "mcp_server_cache_evictions_total": (),
    "mcp_server_circuit_breaker_state": ("breaker", "state"),
    "mcp_server_circuit_breaker_opened_total": ("breaker",),
    "mcp_server_queue_length": (),
    "mcp_server_queue_limit": (),
    "mcp_server_resident_memory_bytes": (),
    "mcp_server_resident_memory_max_bytes": (),
    "mcp_server_cpu_seconds_total": (),
    "mcp_server_open_fds": (),
    "mcp_server_processes": (),
    "mcp_server_start_time_seconds": (),
    "mcp_server_restarts_total": (),
    "mcp_server_cost_usd_total": ("model",),
    "mcp_server_config_value": ("section", "key"),
    "mcp_server_security_check": ("check",),
    "mcp_threshold_response_time_seconds": ("severity",),
    "mcp_threshold_cache_hit_ratio": ("severity",),
    "mcp_threshold_error_ratio": ("severity",),
    "mcp_threshold_sessions": ("severity",),
    "mcp_threshold_resident_memory_bytes": ("severity",),
    "mcp_server_instances": (),
    "mcp_probe_duration_seconds": ("phase",),
    "mcp_probe_success": ("phase",),
    "mcp_exporter_log_lag_bytes": (),
    "mcp_exporter_source_success": ("source",),
    "mcp_exporter_source_duration_seconds": ("source",),
    "mcp_exporter_source_age_seconds": ("source",),
    "mcp_exporter_labels_folded_total": ("label",),
    "mcp_exporter_config_last_reload_successful": (),
    "mcp_exporter_build_info": ("version", "python"),
}
OF_TARGETS = {"instance", "job", "env", "service", "region"}


def test_every_contract_name_is_published_with_its_labels() -> None:
    published = {family.name: family.labels for family in FAMILIES}
    assert {name: published.get(name) for name in CONTRACT} == CONTRACT


def test_names_are_unique() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_obeys_prometheus_naming(family: Family) -> None:
    assert re.fullmatch(r"mcp_[a-z][a-z0-9_]*[a-z0-9]", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|mb|megabytes|percent|minutes|bucket|sum|count|created)(_|$)", family.name)
    assert family.help.endswith(".")
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in family.labels)
    assert not {"server", "le", *OF_TARGETS} & set(family.labels)
    assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM)


def test_each_threshold_key_is_a_family() -> None:
    assert set(THRESHOLDS) == set(TABLE)
    assert all(family in FAMILIES for family in THRESHOLDS.values())


def test_what_a_tool_can_tell_are_gauges_of_a_server_without_further_labels() -> None:
    gauges = {f.name for f in FAMILIES if f.kind is Kind.GAUGE and f.per_server and not f.labels}
    assert set(TOOL_VITALS) <= gauges


def test_operation_buckets_are_those_of_the_contract() -> None:
    assert list(BOUNDS) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300]


def test_a_series_needs_a_value_for_each_label() -> None:
    with pytest.raises(ValueError, match="mcp_server_up has the labels"):
        UP.series("surplus")
