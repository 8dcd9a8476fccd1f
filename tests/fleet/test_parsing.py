"""Properties of the strict YAML reader."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.errors import ConfigError, Problem
from fleet.loading import load_fleet
from fleet.opening import open_document
from fleet.parsing import Value


def only_value(text: str, environ: dict[str, str] | None = None) -> Value:
    """The value of ``key`` in a document that holds nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.yml"
        file.write_text(f"key: {text}\n")
        _, root = open_document(file, environ or {})
    value = root.section().take("key")
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("text", "number"), [("400e6", 4e8), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("0x10", 16.0), ("0o17", 15.0)]
)
def test_numbers_follow_yaml_1_2(text: str, number: float) -> None:
    assert only_value(text).number() == number


@pytest.mark.parametrize("text", ["yes", "on", "012:30", "1_000", "'5'", ".inf", ".nan", "1e999", "0b1", "9" * 5000])
def test_what_is_no_number_in_yaml_1_2(text: str) -> None:
    value = only_value(text)
    assert value.number() is None
    assert "must be a number" in value.document.problems[0].message


@pytest.mark.parametrize("text", ["yes", "no", "on", "'true'", "1"])
def test_what_is_no_boolean_in_yaml_1_2(text: str) -> None:
    assert only_value(text).boolean() is None


def test_variables_are_filled_in() -> None:
    environ = {"A": "x", "EMPTY": ""}
    assert only_value('"${A}-${B:-y}-${EMPTY:-z}"', environ).text() == "x-y-z"
    assert only_value("${N}", {"N": "7"}).integer() == 7


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: "${" not in text))
def test_a_quoted_text_is_read_as_it_is(text: str) -> None:
    assert only_value(json.dumps(text, ensure_ascii=ascii_only(text))).text() == text


def ascii_only(text: str) -> bool:
    """Whether JSON's escapes mean the same in YAML: they do, but for pairs of surrogates."""
    return all(ord(character) < 0x10000 for character in text)


def test_a_nul_is_refused_wherever_text_is_read() -> None:
    value = only_value(r'"a\0b"')
    assert value.text() is None
    assert value.any_text() is None
    assert value.path_value() is None
    assert {problem.message for problem in value.document.problems} == {"must be text"}


def test_half_a_surrogate_pair_is_refused_and_shown() -> None:
    value = only_value(r'"\ud800"')
    assert value.text() is None
    assert value.document.problems[0].value == r"'\ud800'"


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0))
def test_any_float_as_python_writes_it(number: float) -> None:
    assert only_value(repr(number)).number() == number


@given(st.binary(max_size=300))
@example(b"a: &a [*a]")
@example(b"? [x]\n: y")
@example(b"- !!python/object/apply:os.system [x]")
@example(b"servers: &s\n - *s")
@example(b"[" * 5000)
@example(b"a: 2024-99-99")
@example(b"servers: [{name: a, transport: http, url: 'http://[', listen: ':'}]")
def test_no_bytes_crash_the_loader(content: bytes) -> None:
    assert all(problem.message and problem.remedy for problem in problems_of(content))


def problems_of(content: bytes) -> tuple[Problem, ...]:
    """The problems of a fleet file with these bytes, none when it is valid."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.yml"
        file.write_bytes(content)
        try:
            load_fleet(file, {})
        except ConfigError as error:
            return error.problems
    return ()


KEYS = st.sampled_from(["servers", "name", "url", "receiver", "limits", "listen", "thresholds", "env", "ladders", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_no_tree_of_known_keys_crashes_the_loader(tree: dict[str, object]) -> None:
    content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    assert all(problem.message and problem.remedy for problem in problems_of(content))
