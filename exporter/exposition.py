"""The facts as text: Prometheus' format, or OpenMetrics when asked for.

Families are built fresh for each scrape from an immutable copy; there is no registry and no ``_created``. Runs in
a thread, because it takes as long as there are series.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter import metrics
from exporter.facts import StateFailure
from exporter.metrics import FAMILIES, Family, Kind
from exporter.quantities import Counts
from exporter.snapshot import Facts
from exporter.vitals import vitals

Values = dict[str, list[tuple[tuple[str, ...], float | Counts]]]
"""Family name to its series: label values (``server`` first where there is one) and value."""

_LE: Final[dict[float, str]] = {
    bound: floatToGoString(bound)  # type: ignore[no-untyped-call]
    for family in FAMILIES
    for bound in family.bounds
}


def render(facts: Facts, openmetrics: bool) -> tuple[bytes, str]:
    """The body and its Content-Type."""
    families = _Families(_values(facts))
    if openmetrics:
        body: bytes = openmetrics_text(families)  # type: ignore[no-untyped-call]
        return body, CONTENT_TYPE_OPENMETRICS
    return plain_text(families), CONTENT_TYPE_PLAIN_0_0_4


class _Families(Collector):
    """What the client library renders instead of a registry."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterable[Metric]:
        for family in FAMILIES:
            series = self._values.get(family.name)
            if series:
                yield _metric(family, series)


def _values(facts: Facts) -> Values:
    values: Values = {}
    for name, known in facts.servers.items():
        found = vitals(facts.inventory[name], known, facts.now)
        for series, value in found.samples.items():
            values.setdefault(series.family, []).append(((name, *series.labels), value))
        for series, counts in found.histograms.items():
            values.setdefault(series.family, []).append(((name, *series.labels), counts))
    for family, labels, value in _of_the_program(facts):
        values.setdefault(family.name, []).append((labels, value))
    return values


def _of_the_program(facts: Facts) -> Iterator[tuple[Family, tuple[str, ...], float]]:
    for result, count in facts.pushes.items():
        yield metrics.TELEMETRY_PUSHES, (result,), count
    yield metrics.STATE_SUCCESS, (), float(facts.state.success)
    for reason in StateFailure:
        yield metrics.STATE_FAILURES, (reason,), facts.state.failures.get(reason, 0)
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


def _metric(family: Family, series: list[tuple[tuple[str, ...], float | Counts]]) -> Metric:
    labels = ("server", *family.labels) if family.per_server else family.labels
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=labels)
        for values, counts in series:
            if isinstance(counts, Counts):
                histogram.add_metric(values, _buckets(family, counts), counts.sum)
        return histogram
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=labels)
    for values, value in series:
        if not isinstance(value, Counts):
            metric.add_metric(values, value)
    return metric


def _buckets(family: Family, counts: Counts) -> list[tuple[str, float]]:
    finite = [(_LE[bound], float(count)) for bound, count in zip(family.bounds, counts.buckets, strict=True)]
    return [*finite, ("+Inf", float(counts.count))]
