from __future__ import annotations

import gzip
import math
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from exporter.exposition import Exposition, Wanted, families_of
from exporter.lines import number
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
    RedisFacts,
    RedisNodeFacts,
    SecurityReading,
    SourceName,
)
from exporter.snapshot import Facts, Snapshot
from exporter.sources.telemetry import checked, understood
from fleet.errors import PermanentError
from fleet.inventory import ServerName
from fleet.loading import load_fleet
from fleet.security import Check
from fleet.telemetry import (
    Breaker,
    Bytes,
    Cache,
    Cost,
    Exemplar,
    Histogram,
    Operations,
    Queue,
    Sessions,
    Telemetry,
    encode,
)
from stack.tools import present
from tests.exporter.fleets import CODEX, body, operations, parsed, process, value, write_fleet
from tests.exporter.reference import Families, openmetrics, plain

PROMTOOL = present("promtool")
EXEMPLARS = st.builds(
    Exemplar, value=st.floats(0, 1e3), trace_id=st.sampled_from(["a" * 32, "0123456789abcdef" * 2]),
    at=st.integers(0, 2 * 10**12).map(lambda milliseconds: milliseconds / 1000),
)  # fmt: skip
KINDS = {"counter", "gauge", "histogram"}
FAMILY_OF = {
    name: family.name for family in FAMILIES for name in (family.name, *(f"{family.name}_{part}" for part in
    ("bucket", "sum", "count")))
}  # fmt: skip
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
    snapshot.keep(CODEX, SourceName.SECURITY, SecurityReading(0.0, None, {Check.AUTH_FILE: True}), 0.1)
    instance = (ProcessFacts(9, 5.0, 70, 2.0, 3, threads=4),)
    found = ProcessReading(0.0, 0.0, instance, {(9, 5.0): 2.0}, proportional_memory_bytes=60)
    snapshot.keep(ServerName("other"), SourceName.PROCESS, found, 0.1)
    phases = {Phase.DISCOVER: PhaseResult(0.1, success=True)}
    snapshot.keep(CODEX, SourceName.PROBE, ProbeReading(0.0, 1, "", Era.MODERN, phases), 0.1)
    snapshot.keep(CODEX, SourceName.LOG, LogReading(0.0, lines={LineResult.MATCHED: 3}, lag_bytes=5), 0.1)
    snapshot.note_redis(RedisFacts(True, 0.0, 0.1, 5.0, {"127.0.0.1:6379": RedisNodeFacts(0.001, 9, 0, 0)}))
    return snapshot.facts(1.0)


def rendered(facts: Facts, openmetrics: bool = False) -> bytes:
    return b"".join(Exposition().body(facts, Wanted(openmetrics)))


def reference(facts: Facts, is_openmetrics: bool) -> bytes:
    return (openmetrics if is_openmetrics else plain)(Families(facts))


def text(facts: Facts) -> str:
    return rendered(facts).decode()


def understood_as(body_: bytes, openmetrics: bool) -> list[tuple[Any, ...]]:
    """Everything that the official parser reads: families and samples with their exemplars, in order."""
    families = (parse_openmetrics if openmetrics else parse_plain)(body_.decode())
    read: list[tuple[Any, ...]] = []
    for family in families:
        read.append((family.name, family.type, family.documentation, family.unit))
        read += [(s.name, *sorted(s.labels.items()), figure(s.value), s.timestamp, s.exemplar) for s in family.samples]
    return read


def figure(value_: float) -> float | str:
    """NaN is not equal to itself."""
    return "NaN" if math.isnan(value_) else value_


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
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(rendered(facts, openmetrics=True).decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert samples == parsed(text(facts))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda method, tool, error, transport, reason, model, breaker, seconds, exemplars: body(
                operations=[Operations(method=method, tool=tool, error_type=error, transport=transport,
                                       count=2, sum=seconds, buckets=[1] * 15, exemplars=exemplars)],
                sessions=Sessions(ended=Histogram(count=1, sum=seconds)),
                refused={reason: 1}, would_refuse={reason: 1}, cost=[Cost(model=model, usd=1.0)],
                breakers=[Breaker(name=breaker)],
            ),
            NAME | st.just("tools/call"), NAME, NAME, NAME, NAME, NAME, NAME, st.floats(0, 1e16),
            st.lists(EXEMPLARS, max_size=16),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_the_official_client_says_the_same(servers: Facts, pushes: list[Telemetry]) -> None:
    facts = facts_of(servers, [each for each in pushes if encodable(each)])
    for is_openmetrics in (False, True):
        ours, theirs = rendered(facts, is_openmetrics), reference(facts, is_openmetrics)
        assert understood_as(ours, is_openmetrics) == understood_as(theirs, is_openmetrics)
    known = {"name", "reason", "server"}
    for name, labels in parsed(text(facts)):
        assert any(name.startswith(family.name) for family in FAMILIES)
        assert {key for key, _ in labels} - known <= {label for family in FAMILIES for label in (*family.labels, "le")}


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
        input=rendered(facts),
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


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_the_official_client_says_the_same_of_every_family(servers: Facts, is_openmetrics: bool) -> None:
    facts = complete(servers)
    ours, theirs = rendered(facts, is_openmetrics), reference(facts, is_openmetrics)
    assert understood_as(ours, is_openmetrics) == understood_as(theirs, is_openmetrics)


@given(st.floats() | st.integers(-(2**70), 2**70) | st.booleans())
def test_a_number_is_read_back_exactly(given_: float) -> None:
    read = float(number(given_))
    assert read == float(given_) or (math.isnan(read) and math.isnan(given_))
    assert set(number(given_)) <= set("0123456789+-.e") or number(given_) in {"NaN", "+Inf", "-Inf"}


def test_exemplars_stand_in_their_bucket_and_only_in_openmetrics(servers: Facts) -> None:
    seen = [Exemplar(value=0.3, trace_id="a" * 32, at=1700000000.123), Exemplar(value=0.3, trace_id="b" * 32, at=17.0)]
    pushed = body(operations=[operations(2, exemplars=[*seen, Exemplar(value=900.0, trace_id="c" * 32, at=18.5)])])
    facts = facts_of(servers, [pushed])
    assert "trace_id" not in text(facts)
    lines = [line for line in rendered(facts, openmetrics=True).decode().splitlines() if "trace_id" in line]
    assert [line.partition('le="')[2] for line in lines] == [
        f'0.5"}} 2 # {{trace_id="{"a" * 32}"}} 0.3 1700000000.123',
        f'+Inf"}} 2 # {{trace_id="{"c" * 32}"}} 900.0 18.500',
    ]


def test_a_compressed_body_is_the_same_body(servers: Facts) -> None:
    facts = complete(servers)
    compressed = b"".join(Exposition().body(facts, Wanted(gzip=True)))
    assert gzip.decompress(compressed) == rendered(facts)


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["mcp_server_up"], {"mcp_server_up"}),
        (["mcp_server_errors_total", "mcp_server_up"], {"mcp_server_errors_total", "mcp_server_up"}),
        (["mcp_server_operation_duration_seconds_bucket"], {"mcp_server_operation_duration_seconds"}),
        (["mcp_exporter_build_info"], {"mcp_exporter_build_info"}),
        (["no_such_metric", ""], set()),
        ([], set()),
    ],
)
@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_only_the_families_asked_for(
    servers: Facts, names: list[str], families: set[str], is_openmetrics: bool
) -> None:
    facts = complete(servers)
    shown = b"".join(Exposition().body(facts, Wanted(is_openmetrics, families=families_of(names))))
    whole = parsed(text(facts))
    assert {written(entry[0]) for entry in understood_as(shown, is_openmetrics) if entry[1] in KINDS} == families
    if not is_openmetrics:
        of_them = {key: figure for key, figure in whole.items() if FAMILY_OF[key[0]] in families}
        assert parsed(shown.decode()) == of_them
    assert shown.endswith(b"# EOF\n") is is_openmetrics


def written(parsed_name: str) -> str:
    """The name in the table: the parsers take ``_total`` off."""
    counters = {family.name for family in FAMILIES if family.kind == "counter"}
    return f"{parsed_name}_total" if f"{parsed_name}_total" in counters else parsed_name


def test_a_lone_surrogate_does_not_take_the_scrape_away(servers: Facts) -> None:
    snapshot = Snapshot(servers.inventory, ())
    snapshot.keep(CODEX, SourceName.CONFIG, ConfigReading(0.0, (0, 0, 0), {("mcp", "\udc80"): math.nan}, {}), 0.1)
    scrape = parsed(text(snapshot.facts(0.0)))
    assert math.isnan(value(scrape, "mcp_server_config_value", {"section": "mcp", "key": "?"}) or 0.0)
