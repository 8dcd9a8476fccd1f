"""The same facts, rendered by the official client library: what a scrape has to say."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.utils import floatToGoString

from exporter import metrics
from exporter.exposition import version
from exporter.facts import ScrapeResult, StateFailure
from exporter.metrics import FAMILIES, Family, Kind
from exporter.quantities import Counts, Exemplars
from exporter.series.redis import of_redis
from exporter.snapshot import Facts
from exporter.vitals import vitals

Labels = tuple[str, ...]
Value = float | tuple[Counts, Exemplars]


def plain(families: Collector) -> bytes:
    """The client's text format."""
    return plain_text(families)


def openmetrics(families: Collector) -> bytes:
    """The client's OpenMetrics."""
    body: bytes = openmetrics_text(families)  # type: ignore[no-untyped-call]
    return body


class Families(Collector):
    """All families, built once: ``collect`` costs nothing, so that only the client's rendering is measured."""

    def __init__(self, facts: Facts) -> None:
        found = _values(facts)
        self._families = [_metric(family, found[family.name]) for family in FAMILIES if family.name in found]

    def collect(self) -> Iterable[Metric]:
        """The families in the order of the table."""
        return self._families


def _values(facts: Facts) -> Mapping[str, list[tuple[Labels, Value]]]:
    values: dict[str, list[tuple[Labels, Value]]] = {}
    for name, known in facts.servers.items():
        found = vitals(facts.inventory[name], known, facts.now)
        for series, value in found.samples.items():
            values.setdefault(series.family, []).append(((name, *series.labels), value))
        for series, counts in found.histograms.items():
            none = (None,) * (len(counts.buckets) + 1)
            shown = counts, found.exemplars.get(series, none)
            values.setdefault(series.family, []).append(((name, *series.labels), shown))
    for family, labels, value in _of_the_program(facts):
        values.setdefault(family.name, []).append((labels, value))
    return values


def _of_the_program(facts: Facts) -> Iterable[tuple[Family, Labels, float]]:
    yield from ((metrics.TELEMETRY_PUSHES, (result,), count) for result, count in facts.pushes.items())
    yield from ((metrics.SCRAPES, (result,), facts.scrapes.get(result, 0)) for result in ScrapeResult)
    yield metrics.STATE_SUCCESS, (), float(facts.state.success)
    yield from ((metrics.STATE_FAILURES, (r,), facts.state.failures.get(r, 0)) for r in StateFailure)
    yield from of_redis(facts.redis)
    yield metrics.RELOAD_SUCCESSFUL, (), 1.0
    yield metrics.BUILD_INFO, (version(), platform.python_version()), 1.0


def _metric(family: Family, series: list[tuple[Labels, Value]]) -> Metric:
    labels = ("server", *family.labels) if family.per_server else family.labels
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=labels)
        for values, shown in series:
            if isinstance(shown, tuple):
                histogram.add_metric(values, _buckets(family, *shown), shown[0].sum)
        return histogram
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=labels)
    for values, shown in series:
        if not isinstance(shown, tuple):
            metric.add_metric(values, shown)
    return metric


def _buckets(
    family: Family, counts: Counts, exemplars: Exemplars
) -> list[tuple[str, float] | tuple[str, float, ClientExemplar]]:
    buckets: list[tuple[str, float] | tuple[str, float, ClientExemplar]] = []
    figures = zip((*family.bounds, float("inf")), (*counts.buckets, counts.count), exemplars, strict=True)
    for bound, count, known in figures:
        bucket = floatToGoString(bound), float(count)  # type: ignore[no-untyped-call]
        seen = () if known is None else (ClientExemplar({"trace_id": known.trace_id}, known.value, known.at),)
        buckets.append((*bucket, *seen))
    return buckets
