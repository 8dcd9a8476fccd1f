"""What every shipped rule must have, beyond what promtool checks: ``python -m rules.lint [FILE...]``.

Whoever is paged at night reads one alert: it must compare with something, say what, where and how bad, and lead to a
page that exists. Pure but for reading the files.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from rules.alerts import RUNBOOKS
from rules.generate import RULES_FILE
from rules.promql import Kind, Token, metric_names, milliseconds, tokens

SCRAPE_MS: Final = 15_000
"""The scrape interval of ``deploy/prometheus.yml``; a shorter one makes every window safer."""

RUNBOOK_FOLDER: Final = Path(__file__).parents[1] / "docs" / "runbooks"
ALWAYS_FIRES: Final = "McpWatchdog"

_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_LEVELS: Final = frozenset({"critical", "warning", "info"})
_SHAKY: Final = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
_ABSENCE: Final = frozenset({"absent", "absent_over_time"})
_ANNOTATIONS: Final = ("summary", "description", "runbook_url")

Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Around:
    """What a rule is judged against.

    ``intervals``: how often a recorded series gets a sample, milliseconds by name. ``published``: the names that
    programs publish, None when nobody knows them here. ``runbooks``: the folder of the pages.
    """

    intervals: Mapping[str, int]
    published: Collection[str] | None
    runbooks: Path


def findings(
    document: Mapping[str, Any], *, published: Collection[str] | None = None, runbooks: Path = RUNBOOK_FOLDER
) -> list[str]:
    """Every mistake in a rule file's ``document``, as ``RULE: what is wrong, what to do``; none is good."""
    groups = document["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    around = Around(_intervals(groups), published, runbooks)
    found = [f"{_name(rule)}: {said}" for rule in rules for said in _of_rule(rule, around)]
    return [*found, *_repeated(rules)]


def _of_rule(rule: Rule, around: Around) -> Iterator[str]:
    for check in _ALERT_CHECKS if "alert" in rule else _RECORD_CHECKS:
        yield from check(rule, around)
    for check in _CHECKS:
        yield from check(rule, around)


def _compares(rule: Rule, _: Around) -> Iterator[str]:
    if rule["alert"] != ALWAYS_FIRES and not _COMPARISONS & set(_operators(rule["expr"])):
        yield "fires whatever the value is; compare with something"


def _waits_for_absence(rule: Rule, _: Around) -> Iterator[str]:
    named = {token.text for token in tokens(rule["expr"]) if token.kind is Kind.NAME}
    if named & _ABSENCE and "for" not in rule:
        yield "fires for one missed scrape; give what may be absent a `for`"


def _has_labels(rule: Rule, _: Around) -> Iterator[str]:
    labels = rule.get("labels", {})
    # The severity of a level comes with the series of the levels.
    if labels.get("severity") not in _LEVELS and not ("severity" not in labels and "mcp:threshold_" in rule["expr"]):
        yield f"the label severity is {labels.get('severity')!r}; write one of {', '.join(sorted(_LEVELS))}"


def _has_annotations(rule: Rule, around: Around) -> Iterator[str]:
    annotations, labels = rule.get("annotations", {}), rule.get("labels", {})
    for name in _ANNOTATIONS:
        if not annotations.get(name, "").strip():
            yield f"the annotation {name} is missing"
    for name in ("summary", "description"):
        if "signal" in labels and annotations.get(name, "").strip() and "$labels.server" not in annotations[name]:
            yield f"the annotation {name} does not name the server"
    if annotations.get("runbook_url") != f"{RUNBOOKS}/{rule['alert']}.md":
        yield f"runbook_url is not {RUNBOOKS}/{rule['alert']}.md"
    page = around.runbooks / f"{rule['alert']}.md"
    if not page.is_file():
        yield f"{page.name} is missing in {around.runbooks.name}"
    elif not page.read_text(encoding="utf-8").startswith(f"# {rule['alert']}\n"):
        yield f"{page.name} does not begin with its alert's name"


def _says_both_numbers(rule: Rule, _: Around) -> Iterator[str]:
    if "mcp:threshold_" not in rule["expr"]:
        return
    description = rule.get("annotations", {}).get("description", "")
    if "$value" not in description or "mcp:threshold_" not in description:
        yield "the description names not both the value and the threshold"


def _is_ours(rule: Rule, _: Around) -> Iterator[str]:
    if not re.fullmatch(r"mcp:[a-z][a-z0-9_]*", rule["record"]):
        yield "the name of a recorded series is mcp:NAME, without a window (rules.scale changes windows)"


def _is_stable(rule: Rule, _: Around) -> Iterator[str]:
    named = {token.text for token in tokens(rule["expr"]) if token.kind is Kind.NAME}
    for name in sorted(named & _SHAKY):
        yield f"{name} makes series come and go with their neighbours; compare with a level"


def _names_buckets_as_floats(rule: Rule, _: Around) -> Iterator[str]:
    for bound in re.findall(r'\ble="([^"]*)"', rule["expr"]):
        if bound != "+Inf" and "." not in bound:
            yield f'le="{bound}" matches nothing in Prometheus 3, which writes le="{bound}.0"'


def _looks_far_enough(rule: Rule, around: Around) -> Iterator[str]:
    for metric, window in _windows(rule["expr"]):
        least = 2 * around.intervals.get(metric, SCRAPE_MS)
        if milliseconds(window) < least:
            yield f"{metric}[{window}] holds fewer than two samples of {least // 2000} s apart; look back further"


def _names_what_exists(rule: Rule, around: Around) -> Iterator[str]:
    if around.published is None:
        return
    for name in sorted({*metric_names(rule["expr"])} - {*around.published} - around.intervals.keys()):
        yield f"nobody publishes or records {name}"


Check = Callable[[Rule, Around], Iterable[str]]

_ALERT_CHECKS: Final[tuple[Check, ...]] = (
    _compares,
    _waits_for_absence,
    _has_labels,
    _has_annotations,
    _says_both_numbers,
)
_RECORD_CHECKS: Final[tuple[Check, ...]] = (_is_ours,)
_CHECKS: Final[tuple[Check, ...]] = (_is_stable, _names_buckets_as_floats, _looks_far_enough, _names_what_exists)


def _repeated(rules: Iterable[Rule]) -> list[str]:
    told = Counter((_name(rule), tuple(sorted(rule.get("labels", {}).items()))) for rule in rules)
    return [f"{name}: stands {count} times with the same labels" for (name, _), count in told.items() if count > 1]


def _name(rule: Rule) -> str:
    return str(rule.get("alert") or rule.get("record"))


def _intervals(groups: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return {
        rule["record"]: milliseconds(group["interval"]) if "interval" in group else SCRAPE_MS
        for group in groups
        for rule in group["rules"]
        if "record" in rule
    }


def _written(expression: str) -> list[Token]:
    return [token for token in tokens(expression) if token.kind not in (Kind.SPACE, Kind.COMMENT)]


def _operators(expression: str) -> Iterator[str]:
    """The comparisons, but no matcher inside of braces."""
    depth, pending = 0, ""
    for token in tokens(expression):
        depth += {"{": 1, "}": -1}.get(token.text, 0)
        if depth == 0 and token.text in "<>=!":
            pending += token.text
            continue
        if pending:
            yield pending
            pending = ""


def _windows(expression: str) -> Iterator[tuple[str, str]]:
    """The metric and the range of every range selector; a subquery has none of its own."""
    metric, depth, written = "", 0, _written(expression)
    for place, token in enumerate(written):
        depth += {"{": 1, "}": -1}.get(token.text, 0)
        if token.kind is Kind.NAME and depth == 0:
            metric = token.text
        elif token.text == "[" and written[place + 2].text == "]":
            yield metric, written[place + 1].text


def main(arguments: list[str] | None = None) -> int:
    """Print every finding; exit 1 when there is one."""
    parser = argparse.ArgumentParser(prog="python -m rules.lint", description="check rule files as people read them")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[RULES_FILE])
    options = parser.parse_args(arguments)
    said = [
        f"{file.name}: {finding}"
        for file in options.files
        for finding in findings(yaml.safe_load(file.read_text(encoding="utf-8")))
    ]
    sys.stderr.write("".join(f"{line}\n" for line in said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
