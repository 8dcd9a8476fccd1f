"""Made-up series of a server's life, and promtool as the judge of what the shipped rules say about them."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fleet.signals import BY_ALERT
from fleet.telemetry import BOUNDS
from rules.alerts import RUNBOOKS
from rules.generate import RULES_FILE
from stack.tools import find

Series = dict[str, str]
"""A series to its samples, 15 s apart, in promtool's notation."""

STEP = "15s"
PER_MINUTE = 4
FIRING = 'count by (alertname, server, signal, severity) (ALERTS{alertstate="firing",signal!=""})'


@dataclass(frozen=True)
class Phase:
    """A stretch of steady traffic; numbers are per scrape of 15 s.

    ``took`` maps an upper bound of the latency buckets (or infinity) to the calls that ended well within it;
    ``failed`` an error type to the calls that ended so. ``restarted`` sets every counter to 0 before it.
    ``scraped`` False leaves a gap.
    """

    minutes: float
    took: Mapping[float, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    restarted: bool = False
    scraped: bool = True

    @property
    def steps(self) -> int:
        return round(self.minutes * PER_MINUTE)


def traffic(*phases: Phase, server: str = "a", errors_total: bool = True, more: str = "") -> Series:
    """The histogram and error counter of a server that lives through ``phases``.

    ``errors_total`` False is a server that reports by OpenTelemetry's names alone; ``more`` are further labels.
    """
    labels = f'server="{server}",mcp_method_name="tools/call"{more}'
    types = sorted({kind for phase in phases for kind in phase.failed})
    histogram = "mcp_server_operation_duration_seconds"
    series: Series = {}
    for kind in ["", *types]:
        per_step = [_within(phase, kind) for phase in phases]
        # OpenTelemetry's SDK leaves the label away where nothing failed; ours writes it empty.
        error = f',error_type="{kind}"' if kind or errors_total else ""
        for place, bound in enumerate([*BOUNDS, float("inf")]):
            le = "+Inf" if bound == float("inf") else str(bound)
            series[f'{histogram}_bucket{{{labels}{error},le="{le}"}}'] = _counter(phases, [p[place] for p in per_step])
        series[f"{histogram}_count{{{labels}{error}}}"] = _counter(phases, [p[-1] for p in per_step])
        if kind and errors_total:
            name = f"mcp_server_errors_total{{{labels}{error}}}"
            series[name] = _counter(phases, [phase.failed.get(kind, 0) for phase in phases])
    return series


def lookups(*phases: tuple[float, int, int], server: str = "a") -> Series:
    """The cache counters over phases of (minutes, lookups per scrape, hits per scrape)."""
    lives = [Phase(minutes) for minutes, _, _ in phases]
    return {
        f'mcp_server_cache_requests_total{{server="{server}"}}': _counter(lives, [asked for _, asked, _ in phases]),
        f'mcp_server_cache_hits_total{{server="{server}"}}': _counter(lives, [hit for _, _, hit in phases]),
    }


def gauge(name: str, *phases: tuple[float, float | None], labels: str = 'server="a"') -> Series:
    """A gauge over phases of (minutes, value); None is a gap."""
    shown = [("stale" if value is None else f"{value:.12g}", round(minutes * PER_MINUTE)) for minutes, value in phases]
    return {f"{name}{{{labels}}}": " ".join(text for text, steps in shown for _ in range(steps))}


def counter(name: str, *phases: tuple[float, int], labels: str) -> Series:
    """A counter over phases of (minutes, increase per scrape)."""
    return {f"{name}{{{labels}}}": _counter([Phase(minutes) for minutes, _ in phases], [step for _, step in phases])}


def thresholds(key: str, warning: float, critical: float, *, minutes: float = 60, labels: str = 'server="a"') -> Series:
    """Threshold series as the exporter publishes them."""
    return {
        **gauge(f"mcp_threshold_{key}", (minutes, warning), labels=f'{labels},severity="warning"'),
        **gauge(f"mcp_threshold_{key}", (minutes, critical), labels=f'{labels},severity="critical"'),
    }


def _within(phase: Phase, kind: str) -> list[int]:
    """Calls per scrape that ended as ``kind``, cumulative over the bounds and infinity."""
    if kind == "":
        return [sum(n for bound, n in phase.took.items() if bound <= limit) for limit in [*BOUNDS, float("inf")]]
    failed = phase.failed.get(kind, 0)
    # A timeout lasted longer than any bucket, other failures are fast: the way in which failures look like health.
    return [0 if kind == "timeout" else failed] * len(BOUNDS) + [failed]


def _counter(phases: Sequence[Phase], per_step: Sequence[int]) -> str:
    total = 0
    samples: list[str] = []
    for phase, increase in zip(phases, per_step, strict=True):
        total = 0 if phase.restarted else total
        for _ in range(phase.steps):
            total += increase
            samples.append(str(total) if phase.scraped else "stale")
    return " ".join(samples)


@dataclass(frozen=True)
class Case:
    """One life of a server: at each time (``10m``), at which severities the alert fires; no other signal may fire.

    ``step`` is the distance of the series' samples, ``evaluation`` that of the rules' evaluations; of the shipped file
    ``groups`` are evaluated.
    """

    name: str
    alert: str
    series: Series
    firing: Mapping[str, tuple[str, ...]]
    signal: str = ""
    step: str = STEP
    evaluation: str = STEP
    groups: tuple[str, ...] = ("mcp-signals", "mcp-response-time")

    def hold(self, folder: Path) -> None:
        """Let promtool judge it."""
        signal = self.signal or BY_ALERT[self.alert].name
        expected = [
            samples(
                FIRING,
                at,
                {
                    f'{{alertname="{self.alert}", server="a", severity="{severity}", signal="{signal}"}}': 1
                    for severity in severities
                },
            )
            for at, severities in self.firing.items()
        ]
        judge(
            folder, self.series, {"promql_expr_test": expected}, self.groups, step=self.step, evaluation=self.evaluation
        )


def judge(
    folder: Path,
    series: Series,
    tests: Mapping[str, object],
    groups: tuple[str, ...] = (),
    *,
    step: str = STEP,
    evaluation: str = STEP,
) -> None:
    """Let promtool run the shipped rules over ``series`` and hold what they say against ``tests``.

    ``groups`` are those that are evaluated, all of them when none is named: each takes its time.
    """
    document = {
        "rule_files": [str(_only(groups, folder) if groups else RULES_FILE)],
        "evaluation_interval": evaluation,
        # Otherwise promtool takes the groups of one moment in an order that differs from run to run.
        "group_eval_order": list(groups or _shipped()),
        "tests": [
            {
                "interval": step,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                **tests,
            }
        ],
    }
    file = folder / "rules.test.yml"
    # JSON is YAML, and much sooner written.
    file.write_text(json.dumps(document), encoding="utf-8")
    result = subprocess.run(
        [find("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _only(groups: tuple[str, ...], folder: Path) -> Path:
    file = folder / "some.rules.yml"
    file.write_text(json.dumps({"groups": [_shipped()[name] for name in groups]}), encoding="utf-8")
    return file


@functools.cache
def _shipped() -> dict[str, object]:
    """The groups of the shipped file by name."""
    return {group["name"]: group for group in yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]}


def samples(expression: str, at: str, expected: Mapping[str, float]) -> dict[str, object]:
    """One expression test: ``expected`` maps a series without a name, ``{server="a"}``, to its value."""
    found = [{"labels": labels, "value": value} for labels, value in expected.items()]
    return {"expr": expression, "eval_time": at, "exp_samples": found}


def told(alert: str, at: str, labels: Mapping[str, str], summary: str, description: str) -> dict[str, object]:
    """One alert test: ``alert`` fires once, with exactly these labels and texts."""
    annotations = {"summary": summary, "description": description, "runbook_url": f"{RUNBOOKS}/{alert}.md"}
    return {
        "alertname": alert,
        "eval_time": at,
        "exp_alerts": [{"exp_labels": dict(labels), "exp_annotations": annotations}],
    }
