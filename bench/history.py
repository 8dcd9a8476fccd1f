"""A past for a Prometheus that was just born, so that ranges of hours and days are as full as in production.

Written as OpenMetrics and made into blocks by promtool, piece by piece.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS
BLOCK_SECONDS: Final = 18 * HOUR_SECONDS
"""What Prometheus' own compaction would have made of them."""

_BLOCK: Final = "18h"
_PROMTOOL_SECONDS: Final = 900
_LINE: Final = re.compile(r"^(?P<name>[a-z_]+)\{(?P<labels>.*)\} (?P<value>\S+)")


@dataclass(frozen=True, slots=True)
class Past:
    """One series that was: ``step`` between two samples and for how long, in seconds. Counters rise to ``value``."""

    name: str
    labels: str
    value: float
    step: int
    reach: int

    @property
    def rises(self) -> bool:
        """Whether it is a counter."""
        return self.name.endswith(("_total", "_bucket", "_count", "_sum"))

    def lines(self, begin: int, end: int, now: int) -> Iterator[str]:
        """Its samples with ``begin`` <= time < ``end``, newest at ``now``."""
        head = f"{self.name}{{{self.labels}}} "
        first = max(begin, now - self.reach)
        for at in range(first + -first % self.step, min(end, now), self.step):
            share = (at - now + self.reach) / self.reach if self.rises else 1.0
            yield f"{head}{self.value * share:.6g} {at}\n"


def of_scrape(text: str, families: frozenset[str], target: str, step: int) -> Iterator[Past]:
    """The last hour of what a target exposes now; ``target`` is the labels that a scrape adds."""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is not None and _family(found["name"]) in families:
            yield Past(found["name"], f"{found['labels']},{target}", float(found["value"]), step, HOUR_SECONDS)


def _family(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name)


def write_blocks(promtool: Path, series: Sequence[Past], now: int, folder: Path) -> int:
    """Make blocks of all that was before ``now`` (UNIX) in ``folder``; how many samples.

    Raises:
        RuntimeError: promtool refused.
    """
    oldest = now - max(past.reach for past in series)
    samples = 0
    for begin in range(oldest - oldest % BLOCK_SECONDS, now, BLOCK_SECONDS):
        piece = folder.with_suffix(".om")
        samples += _write(piece, (line for past in series for line in past.lines(begin, begin + BLOCK_SECONDS, now)))
        command: list[str | Path] = [promtool, "tsdb", "create-blocks-from", "openmetrics"]
        command += [f"--max-block-duration={_BLOCK}", piece, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROMTOOL_SECONDS, check=False)
        piece.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"promtool made no blocks: {done.stderr.strip()[-500:]}")
    return samples


def _write(file: Path, lines: Iterable[str]) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(line)
            count += 1
        out.write("# EOF\n")
    return count
