"""What is written of the totals, and how it reads: what changed since the last write, totals as bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from exporter import merging
from exporter.facts import Held, HeldSource, Kept, ServerFacts
from exporter.metrics import FAMILIES, Kind, Series
from exporter.quantities import Counts, Totals
from exporter.readings import LogPosition, LogPositions, LogReading, SourceName
from fleet.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Change:
    """What one server's kept totals need to become true again.

    Attributes:
        sources: telemetry sources whose totals grew.
        gone: ids of sources that were written and are held no longer, because they ended.
        ended: the sum over all ended sources, None when unchanged.
        ended_ids: digests of the sources that ended since.
        own: the totals of what this program read itself, None when unchanged.
        log_files: how far the logs were read, which belongs to ``own``; None when unchanged.
    """

    sources: Mapping[str, HeldSource]
    gone: AbstractSet[str]
    ended: Totals | None
    ended_ids: AbstractSet[int]
    own: Totals | None
    log_files: LogPositions | None = None

    def __bool__(self) -> bool:
        changed = (self.ended, self.own, self.log_files)
        return bool(self.sources or self.gone or self.ended_ids) or any(part is not None for part in changed)


def kept(known: ServerFacts) -> Kept:
    """What is to be kept of a server."""
    log = known.readings.get(SourceName.LOG)
    return Kept(known.held, merging.own(known), log.files if isinstance(log, LogReading) else known.log_files)


def change(before: Kept, after: Kept) -> Change:
    """What to write so that ``before`` becomes ``after``."""
    old, new = before.held, after.held
    return Change(
        sources={name: source for name, source in new.sources.items() if _grew(old, name, source)},
        gone=old.sources.keys() - new.sources.keys(),
        ended=None if new.ended == old.ended else new.ended,
        ended_ids=new.ended_ids.beyond(old.ended_ids),
        own=None if after.own == before.own else after.own,
        log_files=None if after.log_files == before.log_files else after.log_files,
    )


def _grew(old: Held, name: str, source: HeldSource) -> bool:
    known = old.sources.get(name)
    return known is None or (known.totals is not source.totals and known.totals != source.totals)


class _Written(msgspec.Struct, array_like=True, frozen=True):
    """``Totals`` as JSON has it: each series with its family and label values."""

    counters: list[tuple[str, list[str], float]]
    histograms: list[tuple[str, list[str], int, float, list[int]]]
    cpu: list[tuple[int, float, float]]


_DECODER: Final = msgspec.json.Decoder(_Written)
_ENCODER: Final = msgspec.json.Encoder()
_FAMILIES: Final = {family.name: family for family in FAMILIES}


def encoded(totals: Totals) -> bytes:
    """The totals as JSON."""
    return _ENCODER.encode(
        _Written(
            [(series.family, list(series.labels), value) for series, value in totals.counters.items()],
            [
                (series.family, list(series.labels), counts.count, counts.sum, list(counts.buckets))
                for series, counts in totals.histograms.items()
            ],
            [(pid, start, seconds) for (pid, start), seconds in totals.cpu.items()],
        )
    )


def decoded(body: bytes) -> Totals:
    """Read them back.

    Raises:
        PermanentError: it is not what ``encoded`` writes, or names a series that this version does not publish.
    """
    try:
        written = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"not totals: {error}") from error
    return Totals(
        {_series(Kind.COUNTER, family, labels): value for family, labels, value in written.counters},
        {
            _series(Kind.HISTOGRAM, family, labels, len(buckets)): Counts(count, seconds, tuple(buckets))
            for family, labels, count, seconds, buckets in written.histograms
        },
        {(pid, start): seconds for pid, start, seconds in written.cpu},
    )


def _series(kind: Kind, name: str, labels: list[str], buckets: int = 0) -> Series:
    family = _FAMILIES.get(name)
    if family is None or family.kind is not kind or (len(family.labels), len(family.bounds)) != (len(labels), buckets):
        raise PermanentError(f"{name} with {len(labels)} labels and {buckets} buckets is no {kind} of this version")
    return Series(name, tuple(labels))


class _WrittenPosition(msgspec.Struct, array_like=True, frozen=True):
    """``LogPosition`` as JSON has it."""

    inode: int
    offset: int
    head: bytes
    tail: bytes
    written_ns: int
    skipping: bool


_POSITIONS_DECODER: Final = msgspec.json.Decoder(dict[str, list[_WrittenPosition]])


def encoded_positions(files: LogPositions) -> bytes:
    """How far the logs were read, as JSON."""
    return _ENCODER.encode(
        {
            str(path): [
                _WrittenPosition(at.inode, at.offset, at.head, at.tail, at.written_ns, at.skipping) for at in trail
            ]
            for path, trail in files.items()
        }
    )


def decoded_positions(body: bytes) -> LogPositions:
    """Read them back.

    Raises:
        PermanentError: it is not what ``encoded_positions`` writes.
    """
    try:
        written = _POSITIONS_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"no positions in logs: {error}") from error
    return {
        Path(path): tuple(
            LogPosition(at.inode, at.offset, at.head, at.tail, at.written_ns, at.skipping) for at in trail
        )
        for path, trail in written.items()
    }
