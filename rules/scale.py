"""The shipped rules in a shorter time: ``python -m rules.scale --factor 15 --scrape-interval 1s IN OUT``.

A demonstration and the end-to-end tests run the shipped rules with every duration divided by one factor, never a
second copy of them. Durations are: ranges, subqueries and offsets in PromQL, the horizon of ``predict_linear``,
``for``, ``keep_firing_for`` and a group's ``interval`` and ``query_offset``. A range is never below four scrapes,
because ``rate`` needs two and one may be lost. A number of seconds elsewhere in an expression cannot be told from
any other number and stays: write such a condition as a range.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml

from fleet.inventory import Limits
from rules.generate import rendered
from rules.promql import Kind, Token, duration, milliseconds, tokens

MIN_SCRAPES: Final = 4
"""No range is shorter than this many scrapes."""

Document = Mapping[str, Any]
"""A rule file as YAML reads it."""

_RULE_DURATIONS: Final = ("for", "keep_firing_for")
_GROUP_DURATIONS: Final = ("interval", "query_offset")


def scaled(document: Document, factor: float, scrape_seconds: float) -> dict[str, Any]:
    """A copy of the rule file ``document`` with each duration divided by ``factor``.

    Args:
        document: with ``groups``, as Prometheus reads it.
        factor: above 0; 15 makes a minute four seconds.
        scrape_seconds: the scrape interval under which the result will run.

    Raises:
        ValueError: the factor or scrape interval is not above 0, a duration in the document is none, or it
            is no rule file.
    """
    if not factor > 0 or not scrape_seconds > 0:
        raise ValueError(f"factor and scrape interval must be above 0, not {factor} and {scrape_seconds}")
    groups = _groups(document)
    return {**document, "groups": [_group(group, factor, scrape_seconds) for group in groups]}


def scaled_expression(expression: str, factor: float, scrape_seconds: float) -> str:
    """``expression`` with its ranges, offsets and prediction horizons divided by ``factor``; all else as it was."""
    out: list[str] = []
    places = _Places()
    for token in tokens(expression):
        horizon = places.horizon_closed_by(token)
        if horizon is not None:
            argument = "".join(out[horizon:])
            out[horizon:] = [_horizon(argument, factor)]
        elif token.kind is Kind.DURATION and not places.is_horizon:
            out.append(scaled_duration(token.text, factor, places.least_scrapes * scrape_seconds))
            places.read(token, len(out))
            continue
        out.append(token.text)
        places.read(token, len(out))
    return "".join(out)


def scaled_duration(text: str, factor: float, least_seconds: float = 0.0) -> str:
    """A Prometheus duration divided by ``factor``, to the millisecond; 0 stays 0, all else is 1 ms or more.

    Raises:
        ValueError: ``text`` is no duration.
    """
    before = milliseconds(text)
    if before == 0:
        return "0s"
    return duration(max(round(before / factor), round(least_seconds * 1000), 1))


def scaled_limits(limits: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """``receiver.limits`` of fleet.yml, completed with the defaults, with all seconds divided by ``factor``.

    Counts (``count``, ``concurrent_treatments``, ``min_operations``) stay: they count, they do not last.
    """
    complete = asdict(Limits())
    for key, value in limits.items():
        complete[key] = {**complete.get(key, {}), **value} if isinstance(value, Mapping) else value
    return _seconds_divided(complete, factor)


def _seconds_divided(values: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {key: _limit(key, value, factor) for key, value in values.items()}


def _limit(key: str, value: object, factor: float) -> object:
    if isinstance(value, Mapping):
        return _seconds_divided(value, factor)
    if key.endswith("_seconds") and isinstance(value, int | float):
        return value / factor
    return value


def _groups(document: object) -> list[Document]:
    groups = document.get("groups") if isinstance(document, Mapping) else None
    if isinstance(groups, list) and all(_is_group(group) for group in groups):
        return groups
    raise ValueError("it is no rule file: a list `groups` is expected whose items have a list `rules`")


def _is_group(group: object) -> bool:
    rules = group.get("rules") if isinstance(group, Mapping) else None
    return isinstance(rules, list) and all(isinstance(rule, Mapping) for rule in rules)


def _group(group: Document, factor: float, scrape_seconds: float) -> dict[str, Any]:
    return {
        **_divided(group, _GROUP_DURATIONS, factor),
        "rules": [_rule(rule, factor, scrape_seconds) for rule in group["rules"]],
    }


def _rule(rule: Document, factor: float, scrape_seconds: float) -> dict[str, Any]:
    expression = scaled_expression(str(rule.get("expr", "")), factor, scrape_seconds)
    return {**_divided(rule, _RULE_DURATIONS, factor), "expr": expression}


def _divided(values: Document, keys: tuple[str, ...], factor: float) -> dict[str, Any]:
    return {key: scaled_duration(str(value), factor) if key in keys else value for key, value in values.items()}


def _horizon(argument: str, factor: float) -> str:
    """The second argument of ``predict_linear``: seconds as a number, a product, or a duration (Prometheus 3)."""
    text = argument.strip()
    space = argument[: len(argument) - len(argument.lstrip())]
    try:
        return f"{space}{float(text) / factor:.12g}"
    except ValueError:
        return f"{space}({text}) / {factor:.12g}"


class _Places:
    """Where the reading stands: inside a range, after ``offset``, in the horizon of a ``predict_linear``."""

    def __init__(self) -> None:
        self._calls: list[tuple[bool, int]] = []  # per open bracket: a predict_linear's?, where its horizon starts
        self._previous = ""
        self._before_previous = ""

    @property
    def least_scrapes(self) -> int:
        """How many scrapes a duration that stands here must last: a range four, the step of a subquery one."""
        return {"[": MIN_SCRAPES, ":": 1}.get(self._previous, 0)

    @property
    def is_horizon(self) -> bool:
        """True where a duration is a number of the horizon itself, not a range or an offset inside of it."""
        inside = any(horizon_at for _, horizon_at in self._calls)
        return inside and self._previous not in ("[", ":", "offset") and self._before_previous != "offset"

    def horizon_closed_by(self, token: Token) -> int | None:
        """Where the horizon started that ``token`` closes, as an index of the output, or None."""
        if token.text == ")" and self._calls and self._calls[-1][1]:
            return self._calls[-1][1]
        return None

    def read(self, token: Token, written: int) -> None:
        """Take in ``token``, after which the output has ``written`` parts."""
        if token.kind in (Kind.SPACE, Kind.COMMENT):
            return
        if token.text in ("(", "{", "["):
            self._calls.append((token.text == "(" and self._previous == "predict_linear", 0))
        elif token.text in (")", "}", "]") and self._calls:
            self._calls.pop()
        elif token.text == "," and self._calls and self._calls[-1] == (True, 0):
            self._calls[-1] = (True, written)
        self._before_previous, self._previous = self._previous, token.text


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"it is no YAML, line {mark.line + 1 if mark else 1}") from error


def main(arguments: list[str] | None = None) -> int:
    """Scale one file into another; exit 2 with one line when the input is unusable."""
    parser = argparse.ArgumentParser(prog="python -m rules.scale", description=__doc__)
    parser.add_argument("--factor", type=float, required=True, help="what each duration is divided by")
    parser.add_argument("--scrape-interval", default="1s", help="no range below four of these (default 1s)")
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    try:
        result = scaled(_read(options.source), options.factor, milliseconds(options.scrape_interval) / 1000)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.source}: cannot be scaled: {error}\n")
        return 2
    options.target.write_text(rendered(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
