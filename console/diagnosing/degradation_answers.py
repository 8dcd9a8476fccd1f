"""Answers to the questions of ``degradation_tree``, from what Prometheus and the gateways measured."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from console.diagnosing import files, startup_answers
from console.diagnosing.walking import Finding, Said
from console.paper import number, ratio, seconds, size, usd
from console.reading.figures import BY_VITAL, Unit
from console.report import Word
from fleet.errors import MedicError
from fleet.signals import Severity

if TYPE_CHECKING:
    from console.diagnosing.facts import Facts, Figure

Answer = Callable[["Facts"], Awaitable[Finding]]

_UP: Final = 'min by (server) (mcp_server_up{{server="{server}"}})'
_CHANGED: Final = 'max by (server) (mcp_server_config_change_timestamp_seconds{{server="{server}"}})'
_CHANGES: Final = 'max by (server) (changes(mcp_server_config_hash{{server="{server}"}}[1h]))'
_PREDICTED: Final = 'mcp:memory_predicted_bytes{{server="{server}"}}'
_SAID: Final = {Word.HEALTHY: Said.YES, Word.UNKNOWN: Said.UNKNOWN}
_TOOL: Final = "gen_ai_tool_name"
_OWN_CHANGES: Final = ("set_config", "apply_profile")


async def up(facts: Facts) -> Finding:
    """``mcp_server_up`` as it is now, with the gateways' reason where it is 0."""
    value = await facts.one(_UP.format(server=facts.server.name))
    if value is None:
        return Finding(Said.UNKNOWN, "Prometheus has no mcp_server_up of it")
    if value >= 1:
        return Finding(Said.YES, "mcp_server_up is 1")
    reasons = [one.reason or one.error for one in await facts.instances() if not one.up]
    return Finding(Said.NO, f"mcp_server_up is 0{': ' + reasons[0] if reasons and reasons[0] else ''}")


async def answers_all_the_same(facts: Facts) -> Finding:
    """The exchange of this moment, beside what was measured."""
    found = await startup_answers.speaks(facts)
    tool = None if facts.server.probe is None else facts.server.probe.tool
    if found.said is Said.YES and tool is not None:
        return Finding(Said.YES, f"{found.saw}; look at its probe.tool {tool}")
    return found


async def settings(facts: Facts) -> Finding:
    """The gateway follows the file, and nothing in the file is wrong."""
    found = files.mistakes_of(facts.server, facts.desk.mistakes)
    if found:
        return await startup_answers.config(facts)
    problems = [one.settings_problem for one in await facts.instances() if one.settings_problem]
    if problems:
        return Finding(Said.NO, problems[0])
    return Finding(Said.YES, "no gateway refuses them")


def judged_by(name: str) -> Answer:
    """The answer of one vital figure against its levels."""

    async def answer(facts: Facts) -> Finding:
        figure = await facts.figure(name)
        return Finding(_SAID.get(figure.word, Said.NO), _told(name, figure))

    return answer


async def breaker(facts: Facts) -> Finding:
    """Closed, or not there at all."""
    figure = await facts.figure("circuit_breaker")
    if figure.now is None and not facts.server.tuning.enable_circuit_breaker:
        return Finding(Said.YES, "none is switched on")
    said = _SAID.get(figure.word, Said.NO)
    return Finding(said, {Said.YES: "closed", Said.NO: "open"}.get(said, "nobody says"))


async def unchanged(facts: Facts) -> Finding:
    """Nobody but the treatment itself changed the file within the last hour."""
    if facts.server.config is None:
        return Finding(Said.YES, "it has no configuration file")
    file, name = facts.server.config.file, facts.server.name
    changes, at = await facts.one(_CHANGES.format(server=name)), await facts.one(_CHANGED.format(server=name))
    if changes is None or at is None:
        return Finding(Said.UNKNOWN, "nobody says when it was changed")
    saw = f"{file} was written {seconds(max(0.0, facts.desk.now() - at))} ago"
    if changes < 1:
        return Finding(Said.YES, f"{file} is what it was an hour before")
    if await _treated(facts):
        return Finding(Said.YES, f"{saw}, by the treatment of the open incident")
    return Finding(Said.NO, saw, await startup_answers.way_back(file))


async def _treated(facts: Facts) -> bool:
    """Whether an open incident changed the file itself; no receiver, no treatment."""
    try:
        found = await facts.desk.receiver.incidents(server=facts.server.name, limit="5")
    except MedicError:
        return False
    acts: list[dict[str, Any]] = [act for one in found if one.get("closed_at") is None for act in one.get("acts", ())]
    return any(str(act.get("told", "")).startswith(_OWN_CHANGES) for act in acts)


async def errors_spread(facts: Facts) -> Finding:
    """More than one tool fails, or the only one that is called."""
    return await _spread(facts, "mcp:tool_error_ratio", "error_rate", ratio)


async def slowness_spread(facts: Facts) -> Finding:
    """More than one tool is slow, or the only one that is called."""
    return await _spread(facts, "mcp:tool_response_time_p95_seconds", "response_time_p95", seconds)


async def _spread(facts: Facts, series: str, vital: str, write: Callable[[float | None], str]) -> Finding:
    signal = BY_VITAL[vital].judged_by
    levels = facts.server.thresholds.get(signal.threshold or "", {}) if signal is not None else {}
    limit = levels.get(Severity.WARNING, levels.get(Severity.CRITICAL, math.inf))
    found = await facts.vector(f'{series}{{server="{facts.server.name}"}}')
    tools = {each.labels.get(_TOOL, ""): each.value for each in found if not math.isnan(each.value)}
    ill = sorted((name for name, value in tools.items() if value >= limit), key=lambda name: -tools[name])
    if not ill:
        return Finding(Said.UNKNOWN, "the figures of its tools do not say which")
    listed = ", ".join(f"{name} {write(tools[name])}" for name in ill[:3])
    if len(ill) == 1 and len(tools) > 1:
        return Finding(Said.NO, f"{listed}, of {len(tools)} tools that are called")
    return Finding(Said.YES, listed if len(tools) > 1 else f"{listed}, the only tool that is called")


async def memory_steady(facts: Facts) -> Finding:
    """What the last hour foretells for four hours ahead stays below the critical level."""
    figure = await facts.figure("memory")
    ahead = await facts.one(_PREDICTED.format(server=facts.server.name))
    critical = facts.server.thresholds.get("resident_memory_bytes", {}).get(Severity.CRITICAL)
    if ahead is None or critical is None or figure.now is None or math.isnan(ahead):
        return Finding(Said.UNKNOWN, "nobody foretells its memory")
    saw = f"{size(figure.now)} now, {size(ahead)} in four hours at this pace"
    return Finding(Said.NO if ahead >= critical and ahead > figure.now * 1.1 else Said.YES, saw)


async def places(facts: Facts) -> Finding:
    """No call waits."""
    figure = await facts.figure("queue")
    if figure.now is None:
        return Finding(Said.UNKNOWN, "nobody counts the calls that wait")
    return Finding(Said.NO if figure.now >= 1 else Said.YES, f"{number(figure.now)} calls wait")


async def cache_helps(facts: Facts) -> Finding:
    """The hit ratio, where caching is on."""
    if not facts.server.tuning.enable_response_caching:
        return Finding(Said.YES, "caching is switched off")
    figure = await facts.figure("cache_hit_rate")
    return Finding(_SAID.get(figure.word, Said.NO), _told("cache_hit_rate", figure))


async def cost(facts: Facts) -> Finding:
    """What its tokens cost, where anybody counts it."""
    figure = await facts.figure("cost")
    if figure.now is None and not facts.desk.fleet.prices:
        return Finding(Said.YES, "fleet.yml names no prices: nobody counts it")
    return Finding(_SAID.get(figure.word, Said.NO), _told("cost", figure))


_WRITERS: Final[dict[Unit, Callable[[float | None], str]]] = {
    Unit.SECONDS: seconds,
    Unit.RATIO: ratio,
    Unit.BYTES: size,
    Unit.USD_PER_HOUR: usd,
}


def _told(name: str, figure: Figure) -> str:
    """The figure, its level, and how it was an hour before."""
    write = _WRITERS.get(BY_VITAL[name].unit, number)
    if figure.now is None:
        return f"nobody measures {name} now"
    parts = [f"{name} {write(figure.now)}"]
    if figure.level is not None:
        parts.append(f"its level {write(figure.level)}")
    if figure.word is Word.UNKNOWN:
        parts.append("too few calls to judge it")
    if figure.before is not None:
        parts.append(f"an hour before {write(figure.before)}")
    return ", ".join(parts)
