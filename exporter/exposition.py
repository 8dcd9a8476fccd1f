"""The facts as text: Prometheus' format, or OpenMetrics, in chunks, compressed when asked for.

Nothing is kept between two scrapes but the text around the values (``exporter.lines``); there is no registry and no
``_created``. Runs in a thread, because it takes as long as there are series. The official client library says what
is right: a test renders the same facts with both.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Final

from exporter import metrics
from exporter.facts import ScrapeResult, StateFailure
from exporter.lines import Texts, encoded, header, number, plain_line, with_exemplars
from exporter.metrics import FAMILIES, Family, Kind, Series
from exporter.quantities import Counts, Exemplars
from exporter.series import redis
from exporter.snapshot import Facts
from exporter.vitals import vitals

CHUNK_BYTES: Final = 128 * 1024
"""What is joined and compressed at once: well below a millisecond with the interpreter's lock held."""

LINES_AT_ONCE: Final = 1000
"""Plain lines that become one piece."""

GZIP_LEVEL: Final = 1
"""By measure (``bench.rendering``): 2 and 3 are no smaller, 6 takes three times as long for a fifth less."""

_GZIP_WINDOW: Final = 31
"""Tells zlib to write gzip's header and checksum, with the largest window: a smaller one takes twice as long."""

_GZIP_MEMORY: Final = 6
"""Small tables for the compressor's search stay in the processor's cache beside the text; larger ones find no more."""

_Histogram = tuple[str, Series, Counts, Exemplars | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scrape asks for: the format, whether compressed, and which families (None: all of them)."""

    openmetrics: bool = False
    gzip: bool = False
    families: frozenset[str] | None = None


class Exposition:
    """Renders; use it from one thread at a time."""

    def __init__(self) -> None:
        self._texts = Texts()

    def body(self, facts: Facts, wanted: Wanted) -> tuple[bytes, ...]:
        """The body in chunks."""
        chunks = _chunks(self._pieces(facts, wanted))
        return tuple(_compressed(chunks) if wanted.gzip else chunks)

    def _pieces(self, facts: Facts, wanted: Wanted) -> Iterator[bytes]:
        """The text, family by family, in pieces of one histogram or some plain lines."""
        shown = _Shown(self._texts, wanted)
        for name, known in facts.servers.items():
            found = vitals(facts.inventory[name], known, facts.now)
            shown.take_samples(name, found.samples.items())
            shown.take_histograms(name, found.histograms.items(), found.exemplars)
        for family, labels, value in _of_the_program(facts):
            shown.take_line(family, plain_line(family, labels, value))
        return shown.pieces()


class _Shown:
    """The lines of one scrape by family. Histograms, most of the text, are written only when their turn comes."""

    def __init__(self, texts: Texts, wanted: Wanted) -> None:
        self._texts, self._openmetrics = texts, wanted.openmetrics
        chosen = [family for family in FAMILIES if wanted.families is None or family.name in wanted.families]
        self._lines: dict[str, list[str]] = {f.name: [] for f in chosen if f.kind is not Kind.HISTOGRAM}
        self._histograms: dict[str, list[_Histogram]] = {f.name: [] for f in chosen if f.kind is Kind.HISTOGRAM}

    def take_samples(self, server: str, samples: Iterable[tuple[Series, float]]) -> None:
        """The plain series of a server. The innermost loop: it runs for each series of the fleet."""
        around, known, families = self._texts.around, self._texts.known.get, self._lines.get
        for series, value in samples:
            lines = families(series[0])
            if lines is not None:
                head, tail = known(series) or around(series)
                text = repr(value)
                # As ``lines.number``, without the call: digits end every finite number.
                lines.append(f"{head}{server}{tail}{text if text[-1] <= '9' else number(value)}\n")

    def take_histograms(
        self, server: str, histograms: Iterable[tuple[Series, Counts]], exemplars: Mapping[Series, Exemplars]
    ) -> None:
        """The histograms of a server."""
        for series, counts in histograms:
            kept = self._histograms.get(series.family)
            if kept is not None:
                kept.append((server, series, counts, exemplars.get(series) if self._openmetrics else None))

    def take_line(self, family: Family, line: str) -> None:
        """A series of the program itself."""
        lines = self._lines.get(family.name)
        if lines is not None:
            lines.append(line)

    def pieces(self) -> Iterator[bytes]:
        """Everything taken, in the order of the table."""
        for family in FAMILIES:
            lines, histograms = self._lines.get(family.name), self._histograms.get(family.name)
            if lines or histograms:
                yield encoded(header(family, self._openmetrics))
            for start in range(0, len(lines or ()), LINES_AT_ONCE):
                yield encoded("".join((lines or [])[start : start + LINES_AT_ONCE]))
            for server, series, counts, exemplars in histograms or ():
                text = self._texts.histogram(server.encode(), series, counts)
                yield text if exemplars is None else with_exemplars(text, exemplars)
        if self._openmetrics:
            yield b"# EOF\n"


def families_of(names: Iterable[str]) -> frozenset[str]:
    """The families that ``name[]`` parameters speak of: by their own name or by that of one of their samples."""
    return frozenset(_FAMILY_OF_SAMPLE[name] for name in names if name in _FAMILY_OF_SAMPLE)


def _samples_of(family: Family) -> Iterator[str]:
    yield family.name
    if family.kind is Kind.HISTOGRAM:
        yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
    if family.kind is Kind.COUNTER:
        yield family.name.removesuffix("_total")


_FAMILY_OF_SAMPLE: Final = {sample: family.name for family in FAMILIES for sample in _samples_of(family)}


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW, _GZIP_MEMORY)
    for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()


def _of_the_program(facts: Facts) -> Iterator[tuple[Family, tuple[str, ...], float]]:
    for result, count in facts.pushes.items():
        yield metrics.TELEMETRY_PUSHES, (result,), count
    for answered in ScrapeResult:
        yield metrics.SCRAPES, (answered,), facts.scrapes.get(answered, 0)
    yield metrics.STATE_SUCCESS, (), float(facts.state.success)
    for reason in StateFailure:
        yield metrics.STATE_FAILURES, (reason,), facts.state.failures.get(reason, 0)
    yield from redis.of_redis(facts.redis)
    # The configuration is read once, at start: who answers has read it.
    yield metrics.RELOAD_SUCCESSFUL, (), 1.0
    yield metrics.BUILD_INFO, (version(), platform.python_version()), 1.0


@cache
def version() -> str:
    """The version of the installed distribution, or ``unknown`` in a bare checkout."""
    try:
        return metadata.version("mcp-medic")
    except metadata.PackageNotFoundError:
        return "unknown"
