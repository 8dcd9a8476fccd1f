"""Lines of a log into metrics, beside Debian's mtail on the same file.

    python -m bench.logs [--lines 500000] [--rounds 5] [--formats json text]

Ours runs as the exporter does it: the log source reads the whole file in blocks and counts calls by tool and kind of
error into the buckets of the histogram. mtail runs once over the file (``--one_shot``) with a program that does the
same. Both are processes of their own whose CPU time (user and system) is taken when they end; what each costs with an
empty file is taken off, so that starting is not compared. Rounds are paired; every round checks that both counted the
same calls.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import results
from stack.tools import PROJECT, peer

GOAL: Final = 0.2
TOOLS: Final = ("echo", "codex", "codex-reply", "search_files", "read_file", "list")
MILLISECONDS: Final = "10, 20, 50, 100, 200, 500, 1000, 2000, 3000, 5000, 10000, 30000, 60000, 120000, 300000"

PATTERN: Final = r"(?P<tool>\S+) took (?P<duration_ms>\d+) ms( failed: (?P<error>.+))?"
PROGRAMS: Final[Mapping[str, str]] = {
    "json": r'"tool":"(?P<tool>[^"]*)","duration":(?P<duration_ms>[0-9.]+),"error":(?P<error>null|".*")',
    "text": PATTERN,
}
NO_ERROR: Final[Mapping[str, str]] = {"json": "null", "text": ""}

OURS: Final = """
import resource, sys
from pathlib import Path
from exporter import metrics
from exporter.facts import ServerFacts
from exporter.readings import SourceName
from exporter.sources import log
from fleet.inventory import ServerName
from fleet.loading import load_fleet

server = load_fleet(Path(sys.argv[1]), {}).servers[ServerName("bench")]
path = server.logs[0].path
# A file that comes to exist is read from its start.
kept = path.rename(path.with_suffix(".kept"))
reading = log.read(server, ServerFacts(), 0.0)
kept.rename(path)
while True:
    before = reading.totals.counters
    reading = log.read(server, ServerFacts(readings={SourceName.LOG: reading}), 0.0)
    if reading.totals.counters == before:
        break
print(sum(counts.count for counts in reading.totals.histograms.values()))
"""


@dataclass
class Reader:
    """Who reads: CPU seconds per million lines, one figure a round."""

    name: str
    seconds: list[float] = field(default_factory=list)


def write_log(file: Path, kind: str, lines: int) -> int:
    """A log of calls; each fourth line is none. The number of calls."""
    random.seed(5)
    calls = 0
    with file.open("w", encoding="utf-8") as opened:
        for number in range(lines):
            at = f"2026-11-22T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z"
            called = number % 4 != 3
            calls += called
            opened.write((_json if kind == "json" else _text)(at, called=called) + "\n")
    return calls


def _json(at: str, *, called: bool) -> str:
    if not called:
        said = {"message": "session refreshed", "service": "codex-mcp", "timestamp": at, "session": f"{_session()}"}
        return json.dumps({"level": "info", **said}, separators=(",", ":"))
    call = {"tool": random.choice(TOOLS), "duration": _milliseconds(), "error": _error()}
    said = {"level": "info", "message": "tool call", "service": "codex-mcp", "timestamp": at}
    return json.dumps({**said, **call}, separators=(",", ":"))


def _text(at: str, *, called: bool) -> str:
    if not called:
        return f"{at} [info] session {_session()} refreshed"
    error = _error()
    return f"{at} [info] {random.choice(TOOLS)} took {_milliseconds():.0f} ms" + (f" failed: {error}" if error else "")


def _session() -> str:
    return f"{random.getrandbits(128):032x}"


def _milliseconds() -> float:
    return round(random.lognormvariate(5, 1.2), 1)


def _error() -> str | None:
    return "upstream said no" if random.random() < 0.02 else None


def cpu_of(argv: list[str]) -> tuple[float, str]:
    """The CPU seconds that a program takes until it ends, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ours(folder: Path, kind: str) -> tuple[float, int]:
    """CPU seconds and calls of our log source."""
    mapping = "fields: {duration_ms: duration}" if kind == "json" else f"patterns: {{call: '{PATTERN}'}}"
    fleet = folder / "fleet.yml"
    fleet.write_text(
        "servers: [{name: bench, transport: stdio, command: [x], "
        f"logs: [{{path: {folder}/calls.log, format: {kind}, {mapping}}}]}}]\n"
    )
    seconds, said = cpu_of([sys.executable, "-c", OURS, str(fleet)])
    return seconds, int(said)


def mtails(folder: Path, kind: str) -> tuple[float, int]:
    """CPU seconds and calls of mtail."""
    program = folder / "calls.mtail"
    program.write_text(
        f"histogram seconds by tool, error_type buckets {MILLISECONDS}\n"
        f"/{PROGRAMS[kind]}/ {{\n"
        f'  $error != "{NO_ERROR[kind]}" {{\n    seconds[$tool]["tool_error"] = $duration_ms\n'
        '  } else {\n    seconds[$tool][""] = $duration_ms\n  }\n}\n'
    )
    argv = [str(peer("mtail", "mtail")), "--one_shot", "--one_shot_format=prometheus", f"--progs={program}"]
    seconds, said = cpu_of(
        [*argv, f"--logs={folder}/calls.log", "--address=127.0.0.1", "--port=0", f"--log_dir={folder}"]
    )
    return seconds, sum(int(count) for count in re.findall(r"^seconds_count\{.*\} (\d+)$", said, re.MULTILINE))


def compare(kind: str, lines: int, rounds: int) -> Mapping[str, object]:
    """Rounds in turn over one file, and the ratio of ours to mtail's."""
    first, second = Reader("exporter"), Reader("mtail")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "calls.log"
        log.touch()
        idle = {reader.name: read(folder, kind)[0] for reader, read in ((first, ours), (second, mtails))}
        calls = write_log(log, kind, lines)
        for _ in range(rounds):
            for reader, read in ((first, ours), (second, mtails)):
                seconds, counted = read(folder, kind)
                if counted != calls:
                    raise RuntimeError(f"{reader.name} counted {counted} of {calls} calls")
                reader.seconds.append((seconds - idle[reader.name]) / lines * 1e6)
    ratio = statistics.median(a / b for a, b in zip(first.seconds, second.seconds, strict=True))
    figures = ", ".join(f"{each.name} {statistics.median(each.seconds):.2f} s" for each in (first, second))
    print(f"{kind}: CPU for a million lines: {figures}; ours is {ratio:.3f} of mtail's,", end=" ")
    print(f"goal {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'}")
    return {"ratio": ratio, "goal": GOAL, "met": ratio <= GOAL, first.name: first.seconds, second.name: second.seconds}


def main() -> None:
    """Compare each format and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=["json", "text"], default=["json", "text"])
    parser.add_argument("--lines", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = {kind: compare(kind, options.lines, options.rounds) for kind in options.formats}
    print(f"kept in {results.keep('logs', {'lines': options.lines, 'logs': found})}")


if __name__ == "__main__":
    main()
