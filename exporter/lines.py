"""A series and its value as a line of the text format; both formats write the same lines. Pure.

What stands before the value is made once for a series and serves every server of the fleet: a scrape only formats
values. A histogram is one template of its family into which labels, then figures, are put at once; in bytes, because
that takes half as long as in text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from exporter.metrics import FAMILIES, Family, Series
from exporter.quantities import Counts, Exemplars

MAX_REMEMBERED: Final = 250_000
"""Series whose text is remembered, at about 400 bytes each; past it, it is made anew."""

_FAMILIES: Final = {family.name: family for family in FAMILIES}
_LABELS: Final = b"\0"
"""Where the labels stand in a histogram's template."""


def escaped(value: str) -> str:
    """A label value as it stands between quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def number(value: float) -> str:
    """A value. Python's shortest text of a finite number is read back exactly by Go."""
    text = repr(value)
    # Digits end every finite number; what else there is ("nan", "inf", "True") does not.
    return text if text[-1] <= "9" else _unusual(float(value))


def _unusual(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def encoded(text: str) -> bytes:
    """As it is sent. A lone surrogate in a label must not take the whole scrape away."""
    return text.encode("utf-8", "replace")


def header(family: Family, openmetrics: bool) -> str:
    """The HELP and TYPE lines. OpenMetrics names a counter without ``_total`` there."""
    name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        text = text.replace('"', '\\"')
    return f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n"


def plain_line(family: Family, labels: Sequence[str], value: float) -> str:
    """A line of a family that speaks of this program."""
    pairs = ",".join(f'{name}="{escaped(text)}"' for name, text in zip(family.labels, labels, strict=True))
    return f"{family.name}{{{pairs}}} {number(value)}\n" if pairs else f"{family.name} {number(value)}\n"


class Texts:
    """Remembers the text around a series' server and value. One thread at a time.

    ``known`` are the series met so far, for the innermost loop, which asks ``around`` only for the others.
    """

    def __init__(self) -> None:
        self.known: dict[Series, tuple[str, str]] = {}
        self._labels: dict[Series, bytes] = {}
        self._templates = {family.name: _template(family) for family in FAMILIES if family.bounds}

    def around(self, series: Series) -> tuple[str, str]:
        """What stands before the name of the server, and what between it and the value."""
        found = self.known.get(series)
        if found is None:
            if len(self.known) >= MAX_REMEMBERED:
                self.known.clear()
            found = self.known[series] = f'{series.family}{{server="', f'"{_pairs(series)}}} '
        return found

    def histogram(self, server: bytes, series: Series, counts: Counts) -> bytes:
        """All lines of one histogram: buckets, +Inf, count, sum."""
        labels = self._labels.get(series)
        if labels is None:
            if len(self._labels) >= MAX_REMEMBERED:
                self._labels.clear()
            labels = self._labels[series] = encoded(_pairs(series)).replace(b"%", b"%%")
        template = self._templates[series.family].replace(_LABELS, b'server="%b"%b' % (server, labels))
        return template % (*counts.buckets, counts.count, counts.count, number(counts.sum).encode())


def with_exemplars(histogram: bytes, exemplars: Exemplars) -> bytes:
    """The lines of a histogram with the exemplar of each bucket, +Inf's last, behind its line. OpenMetrics only."""
    lines = histogram.split(b"\n")
    for index, exemplar in enumerate(exemplars):
        if exemplar is not None:
            seen = f' # {{trace_id="{exemplar.trace_id}"}} {number(exemplar.value)} {exemplar.at:.3f}'
            lines[index] += seen.encode()
    return b"\n".join(lines)


def _pairs(series: Series) -> str:
    """The labels behind ``server``, each with its comma."""
    names = _FAMILIES[series.family].labels
    return "".join(f',{name}="{escaped(value)}"' for name, value in zip(names, series.labels, strict=True))


def _template(family: Family) -> bytes:
    name, labels = family.name, _LABELS.decode()
    bounds = [*(number(bound) for bound in family.bounds), "+Inf"]
    buckets = "".join(f'{name}_bucket{{{labels},le="{bound}"}} %d\n' for bound in bounds)
    return f"{buckets}{name}_count{{{labels}}} %d\n{name}_sum{{{labels}}} %b\n".encode()
