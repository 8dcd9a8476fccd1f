"""What happened to one server, as moments in order: from Prometheus' alerts and the receiver's journal. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

JsonObject = Mapping[str, Any]


TREATMENTS: Final = frozenset({"reset_cache", "set_config", "apply_profile", "end_sessions", "restart"})
"""Actions whose verdict can say that they healed."""

SO_FAR: Final = " so far"


class Step(enum.StrEnum):
    """The steps of a treatment, as the timeline names them."""

    FAULT = "fault"
    CROSSED = "threshold crossed"
    FIRING = "alert firing"
    WEBHOOK = "webhook received"
    BEGUN = "rung begun"
    ENDED = "rung ended"
    DENIED = "rung refused"
    ASKED = "asked by hand"
    VERDICT = "verdict"
    HEALED = "healed"
    RECOVERY = "way back"
    ESCALATED = "people called"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline. ``at`` is UNIX seconds; ``subject`` is the alert or the rung it is about.

    ``act`` tells two acts apart that are called the same.
    """

    at: float
    step: Step
    subject: str
    detail: str
    act: str = ""

    @property
    def identity(self) -> tuple[Step, str, str, str]:
        """What makes two moments the same when both were seen in two looks."""
        # The value of a pending or firing alert changes from look to look; it is shown as first seen.
        detail = "" if self.step in {Step.CROSSED, Step.FIRING} else self.detail
        return self.step, self.subject, detail, self.act

    @property
    def is_treatment(self) -> bool:
        """Whether it is about a rung that changes the server."""
        return self.subject.partition(" ")[0] in TREATMENTS

    @property
    def is_final_verdict(self) -> bool:
        """Whether it is a verdict that stands, on a rung that changes the server."""
        return self.step is Step.VERDICT and self.is_treatment and SO_FAR not in self.detail


class Timeline:
    """The moments seen so far; ``take`` tells which ones are new."""

    def __init__(self, fault_at: float) -> None:
        self.fault_at = fault_at
        self._seen: dict[tuple[Step, str, str, str], Moment] = {}

    def take(self, moments: Iterable[Moment]) -> list[Moment]:
        """The moments not seen before, oldest first."""
        new = []
        for moment in sorted(moments, key=lambda moment: moment.at):
            if moment.identity not in self._seen:
                self._seen[moment.identity] = moment
                new.append(moment)
        return new

    @property
    def moments(self) -> list[Moment]:
        """Everything seen so far, oldest first."""
        return sorted(self._seen.values(), key=lambda moment: moment.at)

    def first(self, step: Step, subject: str = "") -> Moment | None:
        """The first moment of a step, of ``subject`` when one is given."""
        found = [m for m in self._seen.values() if m.step is step and subject in {"", m.subject}]
        return min(found, key=lambda moment: moment.at, default=None)

    def after_fault(self, moment: Moment) -> float:
        """Seconds since the fault was switched on."""
        return moment.at - self.fault_at


def moments_of_rules(rules: JsonObject, server: str, since: float) -> list[Moment]:
    """The pending and firing alerts of a server, from the ``data`` of Prometheus' ``/api/v1/rules?type=alert``."""
    found = []
    for group in rules["groups"]:
        for rule in group["rules"]:
            evaluated = _unix(rule["lastEvaluation"])
            for alert in rule.get("alerts", []):
                if alert["labels"].get("server") == server:
                    found += _of_alert(alert, evaluated)
    return [moment for moment in found if moment.at >= since]


def _of_alert(alert: JsonObject, evaluated: float) -> list[Moment]:
    labels = alert["labels"]
    subject = f"{labels['alertname']} {labels['severity']}"
    began = _unix(alert["activeAt"])
    treatable = "signal" in labels
    value = f"{labels['signal']} {float(alert['value']):.3g}" if treatable else ""
    # An alert for people crosses nothing: it waits for other alerts.
    moments = [Moment(began, Step.CROSSED, subject, value)] if treatable else []
    if alert["state"] == "firing":
        moments.append(Moment(max(evaluated, began), Step.FIRING, subject, value))
    return moments


def moments_of_events(events: Iterable[JsonObject], server: str) -> list[Moment]:
    """What an incident's journal says, in the timeline's words; kinds that it does not show are left out."""
    told: dict[str, str] = {}
    moments: list[Moment] = []
    for event in events:
        if event["kind"] == "act_intended":
            told[str(event.get("act", ""))] = _rung(event)
        act = str(event.get("act", ""))
        moments += [replace(moment, act=act) for moment in _of_event(event, server, told.get(act, _rung(event)))]
    return moments


def _rung(event: JsonObject) -> str:
    """What an act is called: its action with what it was told, a stage of the way back by its name."""
    action, told = str(event.get("action", "")), str(event.get("told") or "")
    settings = told.count("=")
    if settings > 1:
        return f"{action} of {settings} settings"
    return told if told.startswith(action) else f"{action} {told}".strip()


def _of_event(event: JsonObject, server: str, rung: str) -> list[Moment]:
    at = float(event["at"])
    match event["kind"]:
        case "delivered":
            return _of_delivery(at, event, server)
        case "act_intended":
            return [Moment(at, Step.BEGUN, rung, _changes(event.get("changes") or {}))]
        case "act_ended":
            return [Moment(at, Step.ENDED, rung, _joined(event["outcome"], event["detail"]))]
        case "act_denied":
            return [Moment(at, Step.DENIED, rung, str(event["reason"]))]
        case "verdict_given":
            return _of_verdict(at, rung, event)
        case "recovery_begun":
            return [Moment(at, Step.RECOVERY, "", ", ".join(event["stages"]))]
        case "action_asked":
            return [Moment(at, Step.ASKED, str(event["action"]), str(event.get("refused") or ""))]
        case "escalated":
            return [Moment(at, Step.ESCALATED, "", _joined(event["reason"], event.get("detail", "")))]
        case "closed":
            return [Moment(at, Step.CLOSED, "", _of_closing(event))]
    return []


def _changes(changes: JsonObject) -> str:
    return ", ".join(f"{name} = {value}" for name, value in changes.items())


def _of_closing(event: JsonObject) -> str:
    """The reason, then which settings do not stand as they stood before."""
    parts = [str(event["reason"])]
    for key, words in (("left", "still as treatment set it"), ("kept", "kept as a person changed them")):
        if event.get(key):
            parts.append(f"{words}: {_changes(event[key])}")
    return "; ".join(parts)


def _of_delivery(at: float, event: JsonObject, server: str) -> list[Moment]:
    return [
        Moment(at, Step.WEBHOOK, f"{alert['alertname']} {alert['severity']}", f"by {event['via']}")
        for alert in event["alerts"]
        if alert["server"] == server and alert["firing"]
    ]


def _of_verdict(at: float, action: str, event: JsonObject) -> list[Moment]:
    verdict = str(event["verdict"])
    said = "; ".join(_of_judgement(judgement) for judgement in event["judgements"])
    if not event.get("final", True):
        # Repeated until it is final: shown once for each reason, not at each look.
        reasons = sorted({judgement["reason"] for judgement in event["judgements"] if judgement.get("reason")})
        return [Moment(at, Step.VERDICT, action, _joined(f"{verdict}{SO_FAR}", ", ".join(reasons)))]
    moments = [Moment(at, Step.VERDICT, action, _joined(verdict, said))]
    if verdict == "healed" and moments[0].is_treatment:
        moments.append(Moment(at, Step.HEALED, action, f"by measurement after {action}"))
    return moments


def _of_judgement(judgement: JsonObject) -> str:
    if judgement.get("value") is None:
        return _joined(judgement["signal"], judgement.get("reason", ""))
    text = f"{judgement['signal']} {judgement['value']:.3g}"
    if judgement.get("threshold") is not None:
        text += f" (threshold {judgement['threshold']:g})"
    if judgement.get("evidence") is not None:
        text += f", {judgement['evidence']:.0f} measured in {judgement['window_seconds']:.1f} s"
    return text


def _joined(first: object, second: object) -> str:
    return ": ".join(str(part) for part in (first, second) if part)


def _unix(text: str) -> float:
    """RFC 3339 as Go writes it, nine digits of a second and all, in UNIX seconds."""
    return datetime.fromisoformat(text).timestamp()
