"""Which alerts each fault raised in a real run, as docs/alerts.md shows it: ``python -m stack.alerts_table RECORD``.

python -m stack.demo --fault all --record run/faults.json
python -m stack.alerts_table run/faults.json
python -m stack.alerts_table --check                         (does the page still speak of these faults and alerts?)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.signals import BY_NAME
from stack.scenarios import SCENARIOS, Scenario
from stack.table import Shown, read_record
from stack.tools import PROJECT

PAGE: Final = PROJECT / "docs" / "alerts.md"
BEGIN: Final = "<!-- measured: python -m stack.alerts_table -->"
END: Final = "<!-- end of what was measured -->"
_HEADS: Final = ("fault", "where it comes from", "alerts that fired", "treated by", "acts after", "healed after")


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says of one fault: every alert that fired, as NAME SEVERITY."""

    fault: str
    alerts: tuple[str, ...]


def strangers(alerts: Iterable[str], scenario: Scenario) -> list[str]:
    """Which of the alerts that fired (NAME SEVERITY) a fault should not have raised."""
    expected = BY_NAME[scenario.signal].alert
    return [alert for alert in alerts if alert.partition(" ")[0] != expected]


def table(results: Sequence[Shown]) -> str:
    """The results as a table in Markdown.

    Raises:
        ValueError: one was not healed, or a fault is missing or there twice.
    """
    if [shown.fault for shown in results] != list(SCENARIOS):
        raise ValueError(f"the record must hold {', '.join(SCENARIOS)}, each once: make demo FAULT=all")
    for shown in results:
        if shown.problem:
            raise ValueError(f"{shown.fault} was not shown as it should: {shown.problem.splitlines()[0]}")
    rows = [_HEADS, ("---",) * len(_HEADS), *(_cells(shown) for shown in results)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(shown: Shown) -> tuple[str, ...]:
    return (
        shown.fault,
        SCENARIOS[shown.fault].cause,
        ", ".join(f"`{alert}`" for alert in shown.alerts),
        ", ".join(f"{rung}: {verdict}" for rung, verdict in zip(shown.rungs, shown.verdicts, strict=True)),
        _seconds(shown.to_act),
        _seconds(shown.to_heal),
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"


def replaced(page: str, measured: str) -> str:
    """The page with another table.

    Raises:
        ValueError: it has no place for one.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"it has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{measured}\n{END}{after}"


def rows_of(page: str) -> Iterator[Row]:
    """What the page's table says."""
    measured = page.partition(BEGIN)[2].partition(END)[0]
    for line in measured.strip().splitlines()[2:]:
        fault, _, alerts, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        yield Row(fault, tuple(alert.strip(" `") for alert in alerts.split(",") if alert.strip()))


def problems(page: str) -> list[str]:
    """Where the page's table speaks of other faults and alerts than there are."""
    rows = list(rows_of(page))
    found = []
    if [row.fault for row in rows] != list(SCENARIOS):
        found.append(f"it shows {', '.join(row.fault for row in rows)}; the faults are {', '.join(SCENARIOS)}")
    for row in rows:
        if not row.alerts:
            found.append(f"{row.fault} raised no alert")
        elif row.fault in SCENARIOS and strangers(row.alerts, SCENARIOS[row.fault]):
            found.append(f"{row.fault} raised {', '.join(strangers(row.alerts, SCENARIOS[row.fault]))}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or with ``--check`` say where the page is out of date (exit 1)."""
    parser = argparse.ArgumentParser(prog="python -m stack.alerts_table", description=__doc__.partition("\n")[0])
    parser.add_argument("record", type=Path, nargs="?", metavar="RECORD", help="what --record of stack.demo wrote")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is out of date")
    options = parser.parse_args(arguments)
    if options.check == (options.record is not None):
        parser.error("give either RECORD or --check")
    page = PAGE.read_text(encoding="utf-8")
    if options.check:
        found = problems(page)
        sys.stderr.writelines(f"docs/{PAGE.name}: {problem}\n" for problem in found)
        return 1 if found else 0
    try:
        measured = table(read_record(options.record.read_text(encoding="utf-8")))
        PAGE.write_text(replaced(page, measured), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.record}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
