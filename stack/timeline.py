"""What happened to one server, as moments in order: from Prometheus' alerts and the receiver's journal. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

JsonObject = Mapping[str, Any]


class Step(enum.StrEnum):
    """The steps of a treatment, as the timeline names them."""

    FAULT = "fault"
    CROSSED = "threshold crossed"
    FIRING = "alert firing"
    WEBHOOK = "webhook received"
    BEGUN = "rung begun"
    ENDED = "rung ended"
    DENIED = "rung refused"
    VERDICT = "verdict"
    HEALED = "healed"
    ESCALATED = "people called"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline. ``at`` is UNIX seconds; ``subject`` is the alert or the action it is about."""

    at: float
    step: Step
    subject: str
    detail: str

    @property
    def identity(self) -> tuple[Step, str, str]:
        """What makes two moments the same when both were seen in two looks."""
        # The value of a pending or firing alert changes from look to look; it is shown as first seen.
        detail = "" if self.step in {Step.CROSSED, Step.FIRING} else self.detail
        return self.step, self.subject, detail


class Timeline:
    """The moments seen so far; ``take`` tells which ones are new."""

    def __init__(self, fault_at: float) -> None:
        self.fault_at = fault_at
        self._seen: dict[tuple[Step, str, str], Moment] = {}

    def take(self, moments: Iterable[Moment]) -> list[Moment]:
        """The moments not seen before, oldest first."""
        new = []
        for moment in sorted(moments, key=lambda moment: moment.at):
            if moment.identity not in self._seen:
                self._seen[moment.identity] = moment
                new.append(moment)
        return new

    def first(self, step: Step, subject: str = "") -> Moment | None:
        """The first moment of a step, of ``subject`` when one is given."""
        found = [m for m in self._seen.values() if m.step is step and subject in {"", m.subject}]
        return min(found, key=lambda moment: moment.at, default=None)

    def after_fault(self, moment: Moment) -> float:
        """Seconds since the fault was switched on."""
        return moment.at - self.fault_at


TREATMENTS: Final = frozenset({"restart"})
"""Actions whose verdict can say that they healed."""


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
    return [moment for event in events for moment in _of_event(event, server)]


def _of_event(event: JsonObject, server: str) -> list[Moment]:
    at, action = float(event["at"]), str(event.get("action", ""))
    match event["kind"]:
        case "delivered":
            return _of_delivery(at, event, server)
        case "act_intended":
            return [Moment(at, Step.BEGUN, action, "")]
        case "act_ended":
            return [Moment(at, Step.ENDED, action, _joined(event["outcome"], event["detail"]))]
        case "act_denied":
            return [Moment(at, Step.DENIED, action, str(event["reason"]))]
        case "verdict_given":
            return _of_verdict(at, action, event)
        case "escalated":
            return [Moment(at, Step.ESCALATED, "", _joined(event["reason"], event.get("detail", "")))]
        case "closed":
            return [Moment(at, Step.CLOSED, "", str(event["reason"]))]
    return []


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
        return [Moment(at, Step.VERDICT, action, _joined(f"{verdict} so far", ", ".join(reasons)))]
    moments = [Moment(at, Step.VERDICT, action, _joined(verdict, said))]
    if verdict == "healed" and action in TREATMENTS:
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
