from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter import folding
from exporter.folding import Labels
from exporter.quantities import Admitted
from fleet.telemetry import ERROR_TYPES, METHODS, OTHER, TOOLS_CALL, Refused

TEXT = st.text() | st.sampled_from(["tools/call", "tool_error", "other", "", "tcp", "sessions", "upstream"])


@given(st.lists(TEXT, max_size=30))
def test_any_text_becomes_a_value_of_a_closed_set(values: list[str]) -> None:
    labels = Labels(Admitted())
    for value in values:
        assert labels.method(value) in {*METHODS, OTHER}
        assert labels.error_type(value) in {"", *ERROR_TYPES}
        assert labels.transport(value) in {*folding.TRANSPORTS, OTHER}
        assert labels.reason(value) in {*Refused, OTHER}
        assert labels.breaker(value) in {*folding.BREAKERS, OTHER}


@given(st.lists(st.lists(TEXT, max_size=120), max_size=5))
def test_tools_and_models_are_bounded_and_never_withdrawn(pushes: list[list[str]]) -> None:
    admitted = Admitted()
    for names in pushes:
        labels = Labels(admitted)
        for name in names:
            tool, model = labels.tool(TOOLS_CALL, name), labels.model(name)
            assert tool in {name, OTHER}
            assert model in {name, OTHER}
            assert len(tool) <= folding.MAX_VALUE_LENGTH
        assert admitted.tools <= labels.admitted.tools
        admitted = labels.admitted
    assert len(admitted.tools) <= folding.MAX_TOOLS
    assert len(admitted.models) <= folding.MAX_MODELS


def test_the_tool_after_the_last_place_is_folded_and_counted() -> None:
    labels = Labels(Admitted(tools=frozenset(f"t{number}" for number in range(folding.MAX_TOOLS))))
    assert labels.tool(TOOLS_CALL, "t0") == "t0"
    assert labels.tool(TOOLS_CALL, "one-more") == OTHER
    assert labels.folded == {"gen_ai_tool_name": 1}


def test_what_is_other_already_is_not_counted_as_folded() -> None:
    labels = Labels(Admitted())
    assert (labels.method(OTHER), labels.error_type(OTHER), labels.tool(TOOLS_CALL, OTHER)) == (OTHER, OTHER, OTHER)
    assert not labels.folded


def test_japanese_tool_names_are_names_and_control_characters_are_not() -> None:
    labels = Labels(Admitted())
    assert labels.tool(TOOLS_CALL, "検索") == "検索"
    for hostile in ("a\nb", "a\x00", "\x1b[31m", "x" * 129, "\ud800", "\u202e"):
        assert labels.tool(TOOLS_CALL, hostile) == OTHER
    assert labels.folded == {"gen_ai_tool_name": 6}


def test_only_tool_calls_have_a_tool() -> None:
    assert Labels(Admitted()).tool("resources/read", "file:///etc/passwd") == ""


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=20))
def test_the_four_labels_of_an_operation_are_those_of_each(operations: list[tuple[str, str, str, str]]) -> None:
    at_once, each = Labels(Admitted(tools=frozenset({"seen"}))), Labels(Admitted(tools=frozenset({"seen"})))
    for method, tool, error_type, transport in [
        *operations,
        ("ping", "seen", "", "tcp"),
        (TOOLS_CALL, "seen", "", "tcp"),
    ]:
        shown = each.method(method)
        wanted = shown, each.tool(shown, tool), each.error_type(error_type), each.transport(transport)
        assert at_once.operation(method, tool, error_type, transport) == wanted
    assert (at_once.folded, at_once.admitted) == (each.folded, each.admitted)
