"""What several demonstrations showed, as one table. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from stack.timeline import Moment, Step, Timeline

_HEADS: Final = ("run", "fault", "alert", "rungs", "verdicts", "acts after", "healed after", "")


@dataclass(frozen=True, slots=True)
class Shown:
    """One demonstration. ``problem`` is empty when it went as it should; seconds are since the fault.

    ``alert`` fired first, ``alerts`` are all that fired, as NAME SEVERITY; ``verdicts`` are the last ones on each of
    ``rungs``.
    """

    fault: str
    alert: str = ""
    rungs: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    to_act: float | None = None
    to_heal: float | None = None
    problem: str = ""
    alerts: tuple[str, ...] = ()

    @classmethod
    def of(cls, fault: str, timeline: Timeline, problem: str = "", alerts: tuple[str, ...] = ()) -> Shown:
        """What the timeline of one demonstration says, and which alerts fired in it."""
        moments = timeline.moments
        began = [moment for moment in moments if moment.step is Step.BEGUN and moment.is_treatment]
        firing = timeline.first(Step.FIRING)
        healed = timeline.first(Step.HEALED)
        last = {moment.act: moment.detail.partition(":")[0] for moment in moments if moment.is_final_verdict}
        return cls(
            fault=fault,
            alert="" if firing is None else firing.subject.partition(" ")[0],
            alerts=alerts,
            rungs=tuple(moment.subject for moment in began),
            verdicts=tuple(last.get(moment.act, "none") for moment in began),
            to_act=_after(timeline, began[0] if began else None),
            to_heal=_after(timeline, healed),
            problem=problem,
        )


def _after(timeline: Timeline, moment: Moment | None) -> float | None:
    return None if moment is None else timeline.after_fault(moment)


def lines_of(results: Sequence[Shown]) -> list[str]:
    """The table, a line for each demonstration, heads first; a summary of several runs of a fault below."""
    numbers: dict[str, int] = {}
    rows: list[tuple[str, ...]] = [_HEADS]
    for shown in results:
        numbers[shown.fault] = numbers.get(shown.fault, 0) + 1
        rows.append(_row(numbers[shown.fault], shown))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return told + [_summary(fault, results) for fault, count in numbers.items() if count > 1]


def recorded(results: Sequence[Shown]) -> str:
    """The results as JSON, for ``read_record``."""
    return json.dumps([asdict(shown) for shown in results], indent=2) + "\n"


def read_record(text: str) -> list[Shown]:
    """What ``recorded`` wrote.

    Raises:
        ValueError: it is something else.
    """
    entries = json.loads(text)
    try:
        return [Shown(**{key: _frozen(value) for key, value in entry.items()}) for entry in entries]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"it is no record of demonstrations: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _row(number: int, shown: Shown) -> tuple[str, ...]:
    state = "healed" if not shown.problem else f"NOT HEALED: {shown.problem.splitlines()[0]}"
    return (
        str(number),
        shown.fault,
        shown.alert,
        ", ".join(shown.rungs),
        ", ".join(shown.verdicts),
        _seconds(shown.to_act),
        _seconds(shown.to_heal),
        state,
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _summary(fault: str, results: Sequence[Shown]) -> str:
    own = [shown for shown in results if shown.fault == fault]
    healed = [shown.to_heal for shown in own if not shown.problem and shown.to_heal is not None]
    text = f"{fault}: healed in {len(healed)} of {len(own)} runs"
    return f"{text}, after {min(healed):.1f} to {max(healed):.1f} s" if healed else text
