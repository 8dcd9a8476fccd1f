"""Rules about how a server is set up: what can be seen of it, what can be done for it, what its logs cost. Pure."""

from __future__ import annotations

from typing import Final

from console import paper
from console.advice.facts import Facts
from console.advice.recommendation import Draft, Effort, Gravity, Risk
from console.advice.rule import Rule
from console.reading.figures import BY_VITAL
from fleet.server_settings import LOG_LEVELS
from fleet.signals import Severity

CHATTY: Final = frozenset({"debug", "trace"})
PRODUCTION_LEVEL: Final = "info"
_JUDGED: Final = ("response_time_p95", "cache_hit_rate", "error_rate", "sessions", "memory", "queue", "cost")


def _no_gateway(facts: Facts) -> Draft | None:
    if facts.around.gateways or facts.count("telemetry") > 0:
        return None
    from_logs = facts.count("calls") > 0
    return Draft(
        gravity=Gravity.MEDIUM if from_logs else Gravity.HIGH,
        title="Put the gateway before this server",
        why="no gateway answers for it on this host, and nothing else reports its sessions, its cache and its breaker:"
        " of its calls only what its logs tell is known"
        if from_logs
        else "no gateway answers for it on this host, and nothing else reports its calls: response time, errors,"
        " sessions and cache are not measured",
        effect="every call is measured, caching, breaker and caps follow the server's file, and a restart is not"
        " noticed"
        " by clients",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="clients have to use the gateway's address; it alters nothing that is not switched on",
        figures=("telemetry", "calls"),
        facts=(facts.in_fleet("gateways that answer here", str(facts.around.gateways)),),
    )


def _no_probe(facts: Facts) -> Draft | None:
    if facts.server.probe is not None and facts.server.probe.tool is not None:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Name a read-only tool as probe.tool",
        why="without one a server whose handshake works and whose tools do not is called up until a client complains",
        effect="the tool is called each probe.interval_seconds, and its failure is McpServerDown",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="the tool is called a few times a minute: take a cheap one that only reads",
        facts=(facts.in_fleet("probe.tool", "is not set"),),
    )


def _no_restart(facts: Facts) -> Draft | None:
    if facts.server.restart is not None:
        return None
    return Draft(
        gravity=Gravity.MEDIUM,
        title="Say how this server is restarted",
        why="without restart.via nobody but a person can restart it: treatment ends in an escalation",
        effect="a hang, a crash or a leak is treated by itself, under its budget",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="mode: suggest says what would be done without doing it",
        facts=(facts.in_fleet("restart", "is not set"),),
    )


def _no_config(facts: Facts) -> Draft | None:
    if facts.server.config is not None:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Name the server's TOML as config_file",
        why="without one nothing can be tuned, no profile applied, and every threshold is the table's",
        effect="its [mcp], [performance] and [monitoring] are followed",
        effort=Effort.FLEET_FILE,
        risk=Risk.NONE,
        risk_because="a file is changed by treatment and by --apply only, and each change keeps what it replaces",
        facts=(facts.in_fleet("config_file", "is not set"),),
    )


def _no_backup(facts: Facts) -> Draft | None:
    if facts.around.backups:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Keep a copy of the server's TOML",
        why="none is kept beside it: there is nothing that restore could put back",
        effect="restore can put just these bytes back",
        effort=Effort.COMMAND,
        risk=Risk.NONE,
        risk_because="a copy is written beside the file",
        facts=(facts.in_file("copies kept", "0"),),
        command=f"mcp-medic backup {facts.server.name}",
    )


def _chatty_logs(facts: Facts) -> Draft | None:
    chatty = {each: facts.written(each) for each in LOG_LEVELS if facts.written(each) in CHATTY}
    if not chatty or facts.around.debugging:
        return None
    unsure = "; if debug-mode is on, it puts the levels back by itself" if facts.around.debugging is None else ""
    return Draft(
        gravity=Gravity.LOW,
        title="Log less in production",
        why=f"{' and '.join(f'{each} is {level}' for each, level in chatty.items())}",
        effect=f"at {PRODUCTION_LEVEL} the log grows more slowly; by how much is not measured",
        effort=Effort.SETTING,
        risk=Risk.LOW,
        risk_because=f"what only {' or '.join(sorted(set(chatty.values())))} tells is missing when you look for a"
        " cause:"
        f" debug-mode raises it for a while{unsure}",
        facts=tuple(facts.in_file(str(each), str(level)) for each, level in chatty.items()),
        changes=dict.fromkeys(chatty, f'"{PRODUCTION_LEVEL}"'),
    )


def _levels_meet(facts: Facts) -> Draft | None:
    """Levels that cross are a mistake of the configuration, which no command gets past."""
    meet = []
    for name in _JUDGED:
        warning, critical = facts.level(name, Severity.WARNING), facts.level(name, Severity.CRITICAL)
        if warning is not None and warning == critical:
            meet.append((name, warning))
    if not meet:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title="Set the warning before the critical level",
        why=f"of {', '.join(name for name, _ in meet)} warning and critical are the same: nobody is told before it is"
        " critical",
        effect="a warning comes first, and the gentle treatments of it",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="more warnings",
        facts=tuple(
            facts.level_of(f"{name}: warning and critical", level, BY_VITAL[name].unit) for name, level in meet
        ),
    )


def _sessions_outlive_cap(facts: Facts) -> Draft | None:
    cap, critical = facts.tuning.max_concurrent_sessions, facts.level("sessions", Severity.CRITICAL)
    if cap is None or critical is None or cap <= critical:
        return None
    return Draft(
        gravity=Gravity.LOW,
        title=f"Raise the alert for sessions to the cap of {cap}",
        why=f"the file allows {cap} sessions, but {paper.number(critical)} are critical: a server in full use, as it is"
        " allowed, is treated as ill",
        effect="the alert for sessions comes where the cap is, not below it",
        effort=Effort.FLEET_FILE,
        risk=Risk.LOW,
        risk_because="where many sessions do make it ill, lower the cap instead",
        figures=("sessions", "sessions_most"),
        facts=(facts.in_file("mcp.max_concurrent_sessions", str(cap)),),
    )


RULES: Final = (
    Rule("no_gateway", _no_gateway, concerns=lambda facts: facts.is_http),
    Rule("no_restart", _no_restart),
    Rule("no_probe_tool", _no_probe, concerns=lambda facts: facts.is_http),
    Rule("no_config_file", _no_config),
    Rule("no_backup", _no_backup, concerns=lambda facts: facts.server.config is not None),
    Rule("debug_logs", _chatty_logs),
    Rule("levels_meet", _levels_meet),
    Rule("cap_above_alert", _sessions_outlive_cap),
)
