from __future__ import annotations

import subprocess
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.exposition import render
from exporter.metrics import FAMILIES
from exporter.quantities import ProcessFacts
from exporter.readings import (
    ConfigReading,
    Era,
    LineResult,
    LogReading,
    Phase,
    PhaseResult,
    ProbeReading,
    ProcessReading,
    SourceName,
)
from exporter.snapshot import Facts, Snapshot
from exporter.sources.telemetry import checked, understood
from fleet.errors import PermanentError
from fleet.inventory import ServerName
from fleet.loading import load_fleet
from fleet.telemetry import (
    Breaker,
    Bytes,
    Cache,
    Cost,
    Histogram,
    Operations,
    Queue,
    Sessions,
    Telemetry,
    encode,
)
from stack.tools import present
from tests.exporter.fleets import CODEX, body, operations, parsed, process, value, write_fleet

PROMTOOL = present("promtool")
NAME = st.text(max_size=140) | st.sampled_from(['"', "\\", "\n", 'a"b\\n{}', "é検索", "# EOF", "le"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Two servers of which nothing is known."""
    entry = ", probe: {tool: echo}, logs: [{path: calls.log}]"
    fleet = load_fleet(write_fleet(tmp_path_factory.mktemp("fleet"), entry, servers=("codex", "other")), {})
    return Snapshot(fleet.servers, ()).facts(0.0)


def full() -> Telemetry:
    """A push that names every fact."""
    return body(
        operations=[operations(3), operations(2, error="tool_error"), operations(1, method="tools/list", tool="")],
        sessions=Sessions(active=2, limit=15, ended=Histogram(count=1, sum=4.0)),
        cache=Cache(requests=10, hits=4, entries=2, evictions=1),
        breakers=[Breaker(name="upstream", opened=1)],
        queue=Queue(length=1, limit=10),
        in_flight=1,
        bytes=Bytes(in_=7, out=8),
        refused={"sessions": 2},
        would_refuse={"timeouts": 3},
        stray_output=1,
        unreadable=1,
        restarts=1,
        cost=[Cost(model="gpt-5-codex", usd=0.25)],
        processes=[process(1, 100)],
    )


def facts_of(servers: Facts, pushes: Iterable[Telemetry]) -> Facts:
    snapshot = Snapshot(servers.inventory, ())
    for each in pushes:
        try:
            push = understood(checked(encode(each)), snapshot.server(CODEX).admitted)
        except PermanentError:
            continue
        snapshot.receive(CODEX, push, 0.0, each.started_at)
    return snapshot.facts(0.0)


def complete(servers: Facts) -> Facts:
    """Facts in which every family has a series."""
    snapshot = Snapshot(servers.inventory, ())
    snapshot.receive(CODEX, understood(full(), snapshot.server(CODEX).admitted), 0.0, full().started_at)
    snapshot.keep(CODEX, SourceName.CONFIG, ConfigReading(0.0, (0, 0, 0), {("mcp", "batch_size"): 5.0}, {}), 0.1)
    found = ProcessReading(0.0, 0.0, (ProcessFacts(9, 5.0, 70, 2.0, 3),), {(9, 5.0): 2.0})
    snapshot.keep(ServerName("other"), SourceName.PROCESS, found, 0.1)
    phases = {Phase.DISCOVER: PhaseResult(0.1, success=True)}
    snapshot.keep(CODEX, SourceName.PROBE, ProbeReading(0.0, 1, "", Era.MODERN, phases), 0.1)
    snapshot.keep(CODEX, SourceName.LOG, LogReading(0.0, lines={LineResult.MATCHED: 3}, lag_bytes=5), 0.1)
    return snapshot.facts(1.0)


def text(facts: Facts) -> str:
    return render(facts, openmetrics=False)[0].decode()


def test_known_figures_are_shown_exactly(servers: Facts) -> None:
    scrape = parsed(text(facts_of(servers, [full()])))
    call = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "echo", "network_transport": "tcp"}
    name = "mcp_server_operation_duration_seconds"
    assert value(scrape, f"{name}_count", {**call, "error_type": ""}) == 3
    assert value(scrape, f"{name}_sum", {**call, "error_type": ""}) == pytest.approx(0.9)
    assert value(scrape, f"{name}_bucket", {**call, "error_type": "", "le": "0.2"}) == 0
    assert value(scrape, f"{name}_bucket", {**call, "error_type": "", "le": "3.0"}) == 3
    assert value(scrape, f"{name}_bucket", {**call, "error_type": "", "le": "+Inf"}) == 3
    assert value(scrape, f"{name}_count", {**call, "error_type": "tool_error"}) == 2
    assert value(scrape, "mcp_server_errors_total", {"error_type": "tool_error", "mcp_method_name": "tools/call"}) == 2
    assert value(scrape, "mcp_server_sessions") == 2
    assert value(scrape, "mcp_server_cache_hit_ratio") == 0.4
    assert value(scrape, "mcp_server_cost_usd_total", {"model": "gpt-5-codex"}) == 0.25
    assert value(scrape, "mcp_server_up", server="other") == 1
    assert value(scrape, "mcp_server_sessions", server="other") is None


def test_every_family_of_the_table_can_be_shown(servers: Facts) -> None:
    shown = text(complete(servers))
    assert [family.name for family in FAMILIES if f"# TYPE {family.name} {family.kind}\n" not in shown] == []
    assert "_created" not in shown


def test_both_formats_say_the_same(servers: Facts) -> None:
    facts = complete(servers)
    body_, content_type = render(facts, openmetrics=True)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(body_.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert samples == parsed(text(facts))
    assert render(facts, openmetrics=False)[1] == "text/plain; version=0.0.4; charset=utf-8"


@given(
    st.lists(
        st.builds(
            lambda method, tool, error, transport, reason, model, breaker: body(
                operations=[Operations(method=method, tool=tool, error_type=error, transport=transport,
                                       count=1, sum=0.5, buckets=[1] * 15)],
                refused={reason: 1}, would_refuse={reason: 1}, cost=[Cost(model=model, usd=1.0)],
                breakers=[Breaker(name=breaker)],
            ),
            NAME | st.just("tools/call"), NAME, NAME, NAME, NAME, NAME, NAME,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_no_pushed_text_breaks_the_exposition(servers: Facts, pushes: list[Telemetry]) -> None:
    facts = facts_of(servers, [each for each in pushes if encodable(each)])
    known = {"name", "reason", "server"}
    for name, labels in parsed(text(facts)):
        assert any(name.startswith(family.name) for family in FAMILIES)
        assert {key for key, _ in labels} - known <= {label for family in FAMILIES for label in (*family.labels, "le")}
    list(parse_openmetrics(render(facts, openmetrics=True)[0].decode()))  # type: ignore[no-untyped-call]


def encodable(telemetry: Telemetry) -> bool:
    """False for text that no JSON body can carry."""
    try:
        encode(telemetry)
    except (UnicodeEncodeError, ValueError):
        return False
    return True


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("is_complete", [False, True])
def test_promtool_finds_nothing(servers: Facts, is_complete: bool) -> None:
    facts = complete(servers) if is_complete else servers
    checked_ = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=render(facts, openmetrics=False)[0],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked_.returncode, checked_.stdout, checked_.stderr) == (0, b"", b"")


def test_a_call_beyond_the_last_bound_is_only_in_the_last_bucket(servers: Facts) -> None:
    slow = Operations(method="tools/call", tool="echo", count=3, sum=900.0, buckets=[0] * 14 + [2])
    scrape = parsed(text(facts_of(servers, [body(operations=[slow])])))
    name = "mcp_server_operation_duration_seconds"
    labels = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "echo", "error_type": "", "network_transport": "tcp"}
    assert value(scrape, f"{name}_bucket", {**labels, "le": "300.0"}) == 2
    assert value(scrape, f"{name}_bucket", {**labels, "le": "+Inf"}) == 3
    assert value(scrape, f"{name}_count", labels) == 3
