"""The second tree of the operators' guide: a server runs and gets worse. Its figures, the gravest first. Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from console.diagnosing.walking import Ending, Question

FIRST: Final = "up"

_RESTART: Final = "mcp-medic restart {server}{config}"
_RESTORE: Final = "mcp-medic restore {server}{config}"
_DETAILS: Final = "mcp-medic metrics {server}{config} --detailed"
_TUNING: Final = "mcp-medic recommendations {server}{config} --config-tuning"

_BROKEN: Final = Ending("{server} is broken, not slow: {saw}", "mcp-medic diagnose {server}{config} --tree startup")

QUESTIONS: Final[Mapping[str, Question]] = {
    "up": Question(
        "Is it up, as it is measured?",
        yes="settings",
        no="answers_all_the_same",
        unknown=Ending(
            "nobody can say how {server} does: {saw}", "mcp-medic diagnose {server}{config} --tree monitoring"
        ),
    ),
    "answers_all_the_same": Question(
        "Does it answer all the same?",
        yes=Ending("{server} answers, and yet it is measured as broken: {saw}", "mcp-medic test {server}{config}"),
        no=_BROKEN,
        unknown=_BROKEN,
    ),
    "settings": Question(
        "Does the gateway take its settings?",
        yes="breaker",
        no=Ending("the gateway works with older settings of {server}: {saw}", _RESTORE),
        unknown="breaker",
    ),
    "breaker": Question(
        "Is its circuit breaker closed?",
        yes="errors",
        no=Ending("calls of {server} failed in a row until its circuit breaker opened: {saw}", _RESTART),
        unknown="errors",
    ),
    "errors": Question(
        "Do its calls succeed?", yes="memory", no="unchanged_before_errors", unknown="memory"
    ),
    "unchanged_before_errors": Question(
        "Was its configuration left alone?",
        yes="errors_spread",
        no=Ending("calls of {server} fail since its configuration was changed: {saw}", _RESTORE),
        unknown="errors_spread",
    ),
    "errors_spread": Question(
        "Does more than one tool fail?",
        yes=Ending("calls of {server} fail, whichever tool is called: {saw}", _RESTART),
        no=Ending("one tool of {server} fails and what it calls is ill, not the server: {saw}", _DETAILS),
        unknown=Ending("too many calls of {server} fail", _RESTART),
    ),
    "memory": Question(
        "Is its memory below its level?", yes="response_time", no="memory_steady", unknown="response_time"
    ),
    "memory_steady": Question(
        "Has its memory stopped growing?",
        yes=Ending("{server} takes much memory and stays there: {saw}", _TUNING),
        no=Ending("{server} leaks memory: {saw}", _RESTART),
        unknown=Ending("{server} takes too much memory", _RESTART),
    ),
    "response_time": Question(
        "Are its answers fast enough?", yes="sessions", no="unchanged_before_slowness", unknown="sessions"
    ),
    "unchanged_before_slowness": Question(
        "Was its configuration left alone?",
        yes="places",
        no=Ending("{server} is slow since its configuration was changed: {saw}", _RESTORE),
        unknown="places",
    ),
    "places": Question(
        "Do calls find a place at once?",
        yes="slowness_spread",
        no=Ending("calls of {server} wait for a place: {saw}", "mcp-medic high-load {server}{config}"),
        unknown="slowness_spread",
    ),
    "slowness_spread": Question(
        "Is more than one tool slow?",
        yes="cache_helps",
        no=Ending("one tool of {server} is slow and waits for what it calls: {saw}", _DETAILS),
        unknown="cache_helps",
    ),
    "cache_helps": Question(
        "Does its cache help?",
        yes=Ending("{server} is slow, whichever tool is called", _RESTART),
        no=Ending("{server} is slow and its cache does not help: {saw}", "mcp-medic reset-cache {server}{config}"),
        unknown=Ending("{server} is slow, whichever tool is called", _RESTART),
    ),
    "sessions": Question(
        "Is there room for more sessions?",
        yes="queue",
        no=Ending("{server} has more sessions than it should: {saw}", "mcp-medic high-load {server}{config}"),
        unknown="queue",
    ),
    "queue": Question(
        "Is its queue short?",
        yes="cache",
        no=Ending("calls of {server} wait though its answers are fast: {saw}", _TUNING),
        unknown="cache",
    ),
    "cache": Question(
        "Is its cache hit often enough?",
        yes="cost",
        no=Ending("the cache of {server} is seldom hit: {saw}", _TUNING),
        unknown="cost",
    ),
    "cost": Question(
        "Are its costs within the budget?",
        yes=Ending("no figure of {server} is beyond its level", "mcp-medic performance {server}{config}", ill=False),
        no=Ending("{server} costs more than its budget: {saw}", _TUNING),
        unknown=Ending(
            "no figure of {server} that is known is beyond its level", "mcp-medic performance {server}{config}",
            ill=False,
        ),
    ),
}  # fmt: skip
