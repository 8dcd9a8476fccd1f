"""``diagnose``: walks a tree, or finds out which one holds, and ends in a sentence and a command."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from console.diagnosing import degradation_answers as degradation
from console.diagnosing import links
from console.diagnosing import monitoring_answers as monitoring
from console.diagnosing import startup_answers as startup
from console.diagnosing.facts import Facts
from console.diagnosing.trees import CHOICE, FIRST, QUESTIONS, TREE_OF, Tree
from console.diagnosing.walking import Finding, Said, Step, Walk
from console.report import ServiceReport
from fleet.errors import MedicError

if TYPE_CHECKING:
    from console.desk import Desk
    from fleet.inventory import Server

Answer = Callable[[Facts], Awaitable[Finding]]

ANSWER_SECONDS: Final = 60.0
"""Nothing that is asked here takes longer; whoever hangs is unknown."""


class Diagnosis(ServiceReport, frozen=True, kw_only=True):
    """A walk: the ``tree`` it ended in, each ``step``, the cause in one ``sentence``, and one ``command`` to type.

    ``ill``: the sentence names something that is wrong.
    """

    server: str
    tree: Tree | None
    steps: tuple[Step, ...]
    sentence: str
    command: str
    ill: bool

    def failed(self) -> bool:
        """Something is wrong."""
        return self.ill


ANSWERS: Final[Mapping[str, Answer]] = MappingProxyType(
    {
        "answers": startup.speaks,
        "measured": monitoring.fresh,
        "config": startup.config,
        "auth_file": startup.auth_file,
        "runtime": startup.command_runs,
        "control_directory": startup.control_directory,
        "port": startup.port,
        "gateway_runs": startup.gateway_runs,
        "wanted": startup.wanted,
        "stays_up": startup.stays_up,
        "runs": startup.runs,
        "redis": startup.redis,
        "speaks": startup.speaks,
        "up": degradation.up,
        "answers_all_the_same": degradation.answers_all_the_same,
        "settings": degradation.settings,
        "breaker": degradation.breaker,
        "errors": degradation.judged_by("error_rate"),
        "unchanged_before_errors": degradation.unchanged,
        "errors_spread": degradation.errors_spread,
        "memory": degradation.judged_by("memory"),
        "memory_steady": degradation.memory_steady,
        "response_time": degradation.judged_by("response_time_p95"),
        "unchanged_before_slowness": degradation.unchanged,
        "places": degradation.places,
        "slowness_spread": degradation.slowness_spread,
        "cache_helps": degradation.cache_helps,
        "sessions": degradation.judged_by("sessions"),
        "queue": degradation.judged_by("queue"),
        "cache": degradation.cache_helps,
        "cost": degradation.cost,
        "exporter": monitoring.service(links.exporter_healthy),
        "exporter_ready": monitoring.service(links.exporter_ready),
        "prometheus": monitoring.service(links.prometheus),
        "clock": monitoring.link(links.clock),
        "targets": monitoring.link(links.targets),
        "sources": monitoring.sources,
        "gateways": monitoring.gateways,
        "fresh": monitoring.fresh,
        "logs": monitoring.logs,
        "rules": monitoring.link(links.rules),
        "discovered": monitoring.link(links.discovered),
        "alertmanager": monitoring.service(links.alertmanager),
        "route": monitoring.link(links.route),
        "receiver": monitoring.service(links.receiver_healthy),
        "receiver_ready": monitoring.service(links.receiver_ready),
        "delivery": monitoring.link(links.delivery),
        "monitoring_redis": startup.redis,
    }
)
"""Who answers which question."""


async def diagnosed(desk: Desk, server: Server, tree: Tree | None) -> Diagnosis:
    """Walk ``tree``, or choose one, to its end."""
    facts = Facts(desk, server)
    walk = Walk(QUESTIONS, server.name, config_flag(desk), CHOICE if tree is None else FIRST[tree])
    while walk.conclusion is None:
        with desk.screen.status(QUESTIONS[walk.at].asks):
            walk = walk.answered(await _answered(facts, walk.at))
    return Diagnosis(
        server=server.name,
        tree=TREE_OF.get(walk.steps[-1].question),
        steps=walk.steps,
        sentence=walk.conclusion.sentence,
        command=walk.conclusion.command,
        ill=walk.conclusion.ill,
        unreachable=tuple(facts.gaps.values()),
    )


async def _answered(facts: Facts, question: str) -> Finding:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await ANSWERS[question](facts)
    except TimeoutError:
        return Finding(Said.UNKNOWN, f"no answer within {ANSWER_SECONDS:g} s")
    except MedicError as error:
        return Finding(Said.UNKNOWN, str(error))


def config_flag(desk: Desk) -> str:
    """`` --config FILE`` where a person who types the command would need it."""
    file = str(desk.fleet.file)
    known = desk.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
    return "" if file == known else f" --config {shlex.quote(file)}"
