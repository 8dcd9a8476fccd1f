"""Rules about sessions, waiting calls and memory. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from console import paper
from console.advice.facts import Facts
from console.advice.recommendation import Draft, Effort, Gravity, Risk
from console.advice.rule import Rule
from console.reading.capacity import Growth, Outlook, next_cap
from console.reading.figures import Unit
from console.reading.period import written
from fleet.inventory import Enforced
from fleet.profiles import PROFILES
from fleet.server_settings import Setting, SettingValue, as_toml
from fleet.signals import LOW_LOAD_SESSIONS, LOW_LOAD_SHARE, Severity

if TYPE_CHECKING:
    from fleet.toml_text import Raw

NEAR_THE_CAP: Final = 0.8
ROOM_IN_MEMORY: Final = 0.75
"""The part of the warning level below which memory is called free."""

SOON_DAYS: Final = 30
VERY_SOON_DAYS: Final = 7
FAR_DAYS: Final = 90
"""What lies further ahead is a matter of ``review`` and ``metrics --capacity-planning``."""
_POOL_STEP: Final = 5
_POOL_FACTOR: Final = 1.5

SESSIONS_CAP: Final = Setting("mcp", "max_concurrent_sessions")
POOL: Final = Setting("performance", "connection_pool_size")


def _cap(facts: Facts) -> int:
    return facts.tuning.max_concurrent_sessions or 0


def _is_crowded(facts: Facts) -> bool:
    return facts.count("refused_sessions") >= 1 or facts.of("sessions") >= NEAR_THE_CAP * _cap(facts)


def larger_cap(facts: Facts) -> int | None:
    """The next larger cap that memory has room for; None where it has not, or nobody measured what a session needs."""
    wanted = next_cap(facts.server)
    if wanted is None or not facts.below_warning("memory_most", "memory", ROOM_IN_MEMORY):
        return None
    fit = None if facts.room is None else facts.room.sessions_fit
    # A stdio server has a process for each session: what one of them needs does not limit their number.
    if fit is None:
        return None if facts.is_http else wanted
    return min(wanted, fit) if fit > _cap(facts) else None


def _more_sessions(facts: Facts) -> Draft | None:
    cap, refused = _cap(facts), facts.count("refused_sessions")
    then = larger_cap(facts) if _is_crowded(facts) else None
    if then is None:
        return None
    critical = facts.level("sessions", Severity.CRITICAL)
    alarm = (
        f"; the alert for sessions is critical at {critical:g}: raise thresholds.sessions with it"
        if critical is not None and then >= critical
        else ""
    )
    each = None if facts.room is None or facts.room.memory is None else facts.room.memory.each
    grows = "" if each is None else f", about {paper.size(each * (then - cap))} of memory more when all are used"
    return Draft(
        gravity=Gravity.HIGH if refused >= 1 else Gravity.MEDIUM,
        title=f"Allow {then} sessions instead of {cap}",
        why=f"sessions stand at {paper.number(facts.of('sessions'))} of {cap}, {paper.number(round(refused))} were"
        f" refused in {written(facts.period)}, and memory is free",
        effect=f"room for {then - cap} more sessions{grows}",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"the server works for more clients at once{alarm}",
        figures=("sessions", "sessions_most", "refused_sessions", "memory", "memory_most"),
        changes={SESSIONS_CAP: as_toml(then)},
    )


def _high_load(facts: Facts) -> Draft | None:
    ill = facts.at_warning("memory", "memory") or facts.at_warning("p95", "response_time_p95")
    changes = _profile(facts, "high_load", lower=True)
    if not ill or not facts.at_warning("sessions", "sessions") or not changes:
        return None
    return Draft(
        gravity=Gravity.HIGH,
        title="Apply the profile for high load, or add a second instance",
        why=f"with {paper.number(facts.of('sessions'))} sessions memory or response time is where people are warned",
        effect=f"at most {changes.get(SESSIONS_CAP, str(_cap(facts)))} sessions, fewer processes, shorter timeouts:"
        " less"
        " work at once for the server; how much faster it gets is measured by its verdict",
        effort=Effort.COMMAND,
        risk=Risk.MEDIUM,
        risk_because="clients beyond the lower cap are refused where enforce names sessions",
        figures=("sessions", "memory", "p95", "refused_sessions"),
        changes=changes,
        command=f"mcp-medic high-load {facts.server.name}",
    )


def _low_load(facts: Facts) -> Draft | None:
    cap, most = _cap(facts), facts.of("sessions_most")
    quiet = 0 < most <= LOW_LOAD_SHARE * cap and cap < LOW_LOAD_SESSIONS and facts.count("queue_most") == 0
    changes = _profile(facts, "low_load", lower=False)
    well = facts.below_warning("memory_most", "memory", ROOM_IN_MEMORY) and not facts.at_warning(
        "p95", "response_time_p95"
    )
    if not quiet or not well or not changes:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Apply the profile for low load",
        why=f"at most {paper.number(most)} of {cap} sessions were used in {written(facts.period)}, nothing waited, and"
        f" memory stayed below {paper.size(facts.of('memory_most'))}",
        effect="larger batches and more connections for the few who call; what it brings, a benchmark before and after"
        " says",
        effort=Effort.COMMAND,
        risk=Risk.LOW,
        risk_because="the wider limits are there too when load comes back",
        figures=("sessions_most", "queue_most", "memory_most", "p95"),
        changes=changes,
        command=f"mcp-medic low-load {facts.server.name}",
    )


def _profile(facts: Facts, name: str, *, lower: bool) -> dict[Setting, Raw]:
    """What of a profile moves a setting that the file has the way the profile is for."""
    moved = {}
    for setting, value in PROFILES[name].changes.items():
        now = facts.written(setting)
        if _is_moved(now, value, lower=lower):
            moved[setting] = as_toml(value)
    return moved


def _is_moved(now: object, then: SettingValue, *, lower: bool) -> bool:
    if isinstance(then, bool):
        return isinstance(now, bool) and now != then
    return isinstance(now, int) and not isinstance(now, bool) and (then < now if lower else then > now)


def _pool(facts: Facts) -> Draft | None:
    pool, refused = facts.tuning.connection_pool_size or 0, facts.count("refused_queue")
    if facts.of("queue_most") < 1 and refused < 1:
        return None
    figures = ("queue_most", "refused_queue", "in_flight_most", "p95", "memory_most")
    waited = f"up to {paper.number(facts.of('queue_most'))} calls waited for one of {pool} connections"
    if not facts.below_warning("p95", "response_time_p95") or facts.at_warning("memory_most", "memory"):
        return Draft(
            gravity=Gravity.MEDIUM,
            title="Look for what makes the server slow before you widen its pool",
            why=f"{waited}, but response time or memory is where people are warned, or not measured: calls wait because"
            " the server is busy",
            effect="none by a setting: a wider pool would only make more calls slow",
            effort=Effort.WORK,
            risk=Risk.NONE,
            risk_because="nothing is changed",
            figures=figures,
            command=f"mcp-medic diagnose {facts.server.name}",
        )
    then = math.ceil(pool * _POOL_FACTOR / _POOL_STEP) * _POOL_STEP
    return Draft(
        gravity=Gravity.HIGH if refused >= 1 else Gravity.MEDIUM,
        title=f"Let {then} calls be at the server at once instead of {pool}",
        why=f"{waited}, {paper.number(round(refused))} were refused after waiting, and the server answers fast",
        effect=f"{then - pool} more calls at once: the longest queue of {paper.number(facts.of('queue_most'))} becomes"
        f" {paper.number(max(0.0, facts.of('queue_most') - (then - pool)))}",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because="the server gets more work at once; its response time tells whether that is too much",
        figures=figures,
        changes={POOL: as_toml(then)},
    )


def _only_measured(facts: Facts) -> Draft | None:
    over = facts.of("would_sessions")
    if over < 1:
        return None
    return Draft(
        gravity=Gravity.MEDIUM,
        title="Enforce the cap on sessions, or raise it to what is used",
        why=f"{paper.number(round(over))} sessions beyond the cap of {_cap(facts)} were let through: the file's cap"
        " is only"
        " measured",
        effect=f"enforced, the {paper.number(round(over))} of {written(facts.period)} would have been refused; the"
        " most at"
        f" once were {paper.number(facts.figures.get('sessions_most'))}",
        effort=Effort.FLEET_FILE,
        risk=Risk.MEDIUM,
        risk_because="enforce: [sessions] also lets calls wait beyond connection_pool_size",
        figures=("would_sessions", "sessions", "sessions_most"),
        facts=(facts.in_fleet("enforce", ", ".join(sorted(facts.server.enforce)) or "names nothing"),),
    )


def _memory_grows(facts: Facts) -> Draft | None:
    memory = _growth(facts, "memory")
    if memory is None or memory.outlook not in {Outlook.WITHIN_A_YEAR, Outlook.MET} or not memory.per_day:
        return None
    days = max(0.0, ((memory.limit or 0.0) - (memory.level or 0.0)) / memory.per_day)
    if days > FAR_DAYS:
        return None
    sessions = _growth(facts, "sessions")
    explained = sessions is not None and sessions.outlook in {
        Outlook.MET, Outlook.WITHIN_A_YEAR, Outlook.LATER, Outlook.NO_LIMIT
    }  # fmt: skip
    fresh = max(0.0, (memory.limit or 0.0) - facts.of("memory_least")) / memory.per_day
    return Draft(
        gravity=_soon(days),
        title="Plan for more memory" if explained else "Find what keeps memory for ever; restart it in time until then",
        why=f"memory grows by {paper.size(memory.per_day)} a day ({paper.size(memory.low)} to {paper.size(memory.high)}"
        f" with 95 %), {'and so do the sessions' if explained else 'and the sessions do not'}",
        effect=f"at this pace it meets its critical level in {paper.number(round(days))} days; from the least of the"
        " period"
        f" it takes {paper.number(round(fresh))}: a restart each {paper.number(max(1, math.floor(fresh / 2)))} days"
        " keeps"
        " it below",
        effort=Effort.WORK,
        risk=Risk.LOW,
        risk_because="a restart ends what is under way; behind a gateway clients do not notice",
        figures=("memory", "memory_least", "memory_most", "sessions"),
        facts=(facts.level_of("memory is critical at", memory.limit, Unit.BYTES),),
        command=f"mcp-medic metrics {facts.server.name} --capacity-planning --period {written(facts.period)}",
    )


def _soon(days: float) -> Gravity:
    if days <= VERY_SOON_DAYS:
        return Gravity.HIGH
    return Gravity.MEDIUM if days <= SOON_DAYS else Gravity.LOW


def _growth(facts: Facts, name: str) -> Growth | None:
    growths = () if facts.room is None else facts.room.growth
    return next((one for one in growths if one.name == name), None)


def _has_cap(facts: Facts) -> bool:
    return facts.tuning.max_concurrent_sessions is not None


def _enforces_sessions(facts: Facts) -> bool:
    return Enforced.SESSIONS in facts.server.enforce


RULES: Final = (
    Rule("more_sessions", _more_sessions, concerns=_has_cap, needs=("sessions", "memory_most")),
    Rule("high_load", _high_load, concerns=_has_cap, needs=("sessions",)),
    Rule("low_load", _low_load, concerns=_has_cap, needs=("sessions_most", "memory_most")),
    Rule(
        "pool_small", _pool, needs=("queue_most",),
        concerns=lambda facts: _enforces_sessions(facts) and facts.tuning.connection_pool_size is not None,
    ),
    Rule(
        "cap_only_measured", _only_measured, needs=("would_sessions",),
        concerns=lambda facts: _has_cap(facts) and not _enforces_sessions(facts),
    ),
    Rule("memory_grows", _memory_grows, needs=("memory", "memory_least")),
)  # fmt: skip
