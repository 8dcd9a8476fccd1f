"""The first tree of the operators' guide: a server does not start. Files first, then who stands in its way. Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from console.diagnosing.walking import Ending, Question

FIRST: Final = "config"

_TRY: Final = "mcp-medic test {server}{config}"
_NOT_RUNNING: Final = Ending("{server} does not run: {saw}", "mcp-medic start {server}{config}")

QUESTIONS: Final[Mapping[str, Question]] = {
    "config": Question(
        "Is its configuration file in order?",
        yes="auth_file",
        no=Ending("{server} has a broken configuration: {saw}", "mcp-medic restore {server}{config}"),
        unknown="auth_file",
    ),
    "auth_file": Question(
        "Is its auth file there, for its owner alone?",
        yes="runtime",
        no=Ending("{server} has no usable credentials: {saw}", _TRY + " --dry-run"),
        unknown="runtime",
    ),
    "runtime": Question(
        "Can its command be run?",
        yes="control_directory",
        no=Ending("the command that starts {server} cannot be run: {saw}", _TRY + " --dry-run"),
        unknown="control_directory",
    ),
    "control_directory": Question(
        "Is the control directory this user's alone?",
        yes="port",
        no=Ending("no gateway can keep its control socket: {saw}", _TRY + " --dry-run"),
        unknown="port",
    ),
    "port": Question(
        "Is its port free, or its own?",
        yes="gateway_runs",
        no=Ending("another program stands in the way of {server}: {saw}", _TRY + " --dry-run"),
        unknown="gateway_runs",
    ),
    "gateway_runs": Question(
        "Does the gateway run that starts it?",
        yes="wanted",
        no=Ending("nobody starts {server}: {saw}", "mcp-gateway http{config}"),
        unknown="runs",
    ),
    "wanted": Question(
        "Is it meant to run?",
        yes="runs",
        no=Ending("{server} was stopped on purpose: {saw}", "mcp-medic start {server}{config}"),
        unknown="runs",
    ),
    "runs": Question("Does its process run?", yes="redis", no="stays_up", unknown="redis"),
    "stays_up": Question(
        "Did it stay up while it ran?",
        yes=_NOT_RUNNING,
        no=Ending("{server} ends again and again: {saw}", _TRY),
        unknown=_NOT_RUNNING,
    ),
    "redis": Question(
        "Does Redis answer?",
        yes="speaks",
        no=Ending("Redis, which fleet.yml names, is away: {saw}", "mcp-medic health-check {server}{config}"),
        unknown="speaks",
    ),
    "speaks": Question(
        "Does it speak its protocol?",
        yes=Ending(
            "nothing keeps {server} from starting: it answers",
            "mcp-medic diagnose {server}{config} --tree degradation",
            ill=False,
        ),
        no=Ending("{server} does not speak its protocol: {saw}", "mcp-medic restart {server}{config}"),
        unknown=Ending("nothing was found that keeps {server} from starting", _TRY, ill=False),
    ),
}
