"""Whatever a person writes under a key of a server or of Redis: remedies, never a crash, never a secret."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.errors import ConfigError, Problem
from fleet.inventory import Fleet
from fleet.loading import load_fleet

SECRET = "hunter2"

NAMES = st.sampled_from(
    ["path", "format", "fields", "patterns", "tool", "arguments", "map", "scale", "interval_seconds", "spawn", "via",
     "on_exit", "argv", "redis_pattern", "tools", "systemd_unit", "port", "duration_ms", "call", "mcp_server_sessions"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["json", "text", "gateway", "restart", "(?P<tool>x)", "a.b", "${X}", "${X:-1}", "(", "*"])
)  # fmt: skip
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4)
)
KEYS = st.sampled_from(
    ["logs", "tool_metrics", "probe", "process", "restart", "sessions", "cache", "audit_log", "auth_file", "enforce"]
)


def loaded(document: Mapping[str, object]) -> Fleet | tuple[Problem, ...]:
    """The fleet that the document means, or its problems."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.yml"
        file.write_bytes(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))
        try:
            return load_fleet(file, {})
        except ConfigError as error:
            return error.problems


@given(st.dictionaries(KEYS, TREES, max_size=3), st.sampled_from(["http", "stdio"]))
@example({"logs": [{"path": "x", "format": "text", "patterns": {"call": "(?P<tool>" * 200}}]}, "http")
@example({"tool_metrics": [{"tool": "t", "map": {"a": {"path": "b", "scale": float("inf")}}}]}, "http")
def test_nothing_under_a_servers_key_crashes_the_loader(entry: dict[str, object], transport: str) -> None:
    server = {"name": "a", "transport": transport, **({"url": "http://h"} if transport == "http" else {}), **entry}
    found = loaded({"servers": [server]})
    if not isinstance(found, Fleet):
        assert found
        assert all(problem.message and problem.remedy for problem in found)


REDIS = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["redis://", "rediss://:", "", "x://", "unix://"]), st.just(SECRET),
              st.text(max_size=6)),
    st.dictionaries(st.sampled_from(["url", "password", "x"]), st.just(f"redis://:{SECRET}@[") | TREES, max_size=2),
    st.lists(st.just(SECRET), max_size=2),
)  # fmt: skip


@given(REDIS, st.booleans())
def test_nothing_of_redis_is_ever_shown(written: object, as_url: bool) -> None:
    found = loaded({"redis": {"url": written} if as_url else written})
    assert SECRET not in (repr(found) if isinstance(found, Fleet) else "".join(map(str, found)))
