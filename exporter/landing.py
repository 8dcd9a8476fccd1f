"""The page at ``/``: which servers are up, how old what is known of them is, what does not work. Pure.

One document without scripts and without anything from elsewhere; it reads itself again. Whatever comes from outside
(reasons, problems) is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from exporter import merging
from exporter.facts import ServerFacts
from exporter.readings import ProbeReading, SourceName
from exporter.snapshot import Facts
from fleet.inventory import Server, Transport

REFRESH_SECONDS: Final = 10

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: nothing is loaded, nothing runs."""

MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One server. ``age`` is that of its newest facts in seconds, None without any."""

    name: str
    transport: Transport
    up: bool
    reason: str
    age: float | None
    sources: Sequence[tuple[str, float | None, str]]

    @property
    def problems(self) -> int:
        """How many of its sources fail."""
        return sum(bool(problem) for _, _, problem in self.sources)


def rows(facts: Facts) -> list[Row]:
    """A row for each server: those that are down first, then those of which a source fails."""
    found = [_row(facts.inventory[name], known, facts.now) for name, known in facts.servers.items()]
    return sorted(found, key=lambda row: (row.up, not row.problems, row.name))


def _row(server: Server, known: ServerFacts, now: float) -> Row:
    probe = known.readings.get(SourceName.PROBE)
    pushed = min((gauges.up for gauges in merging.live(known.held, now)), default=1)
    probed, reason = (probe.up, probe.reason) if isinstance(probe, ProbeReading) else (1, "")
    sources = [(source.value, _age(known, source, now), state.problem) for source, state in known.states.items()]
    ages = [age for _, age, _ in sources if age is not None]
    if not pushed and not reason:
        reason = "its gateway says that it does not work"
    return Row(server.name, server.transport, bool(pushed and probed), reason, min(ages, default=None), sources)


def _age(known: ServerFacts, source: SourceName, now: float) -> float | None:
    reading = known.readings.get(source)
    return None if reading is None else max(0.0, now - reading.measured_at)


def page(servers: Sequence[Row], scraped_ago: float | None, version: str, notices: Iterable[str] = ()) -> str:
    """The document. ``scraped_ago`` is how long ago figures were last read, in seconds; None when they never were."""
    return "".join(_document(servers, scraped_ago, version, notices))


def _document(servers: Sequence[Row], scraped_ago: float | None, version: str, notices: Iterable[str]) -> Iterator[str]:
    yield f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mcp-exporter</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><style>{_STYLE}</style></head><body>
<header><h1>mcp-exporter</h1><p>Vitals of MCP servers for Prometheus. Version {escape(version)}</p></header>
<main>
"""
    for notice in notices:
        yield f'<p class="notice">{_text(notice)}</p>\n'
    yield _summary(servers, scraped_ago)
    if servers:
        yield "<table><thead><tr><th>server<th>state<th>newest facts<th>sources</tr></thead><tbody>\n"
        yield from map(_row_text, servers)
        yield "</tbody></table>\n"
    else:
        yield "<p>No server is configured: name one under <code>servers</code> in fleet.yml.</p>\n"
    yield _LINKS
    yield "</main></body></html>\n"


def _summary(servers: Sequence[Row], scraped_ago: float | None) -> str:
    down = sum(not row.up for row in servers)
    failing = sum(row.problems for row in servers)
    figures = (
        ("servers", str(len(servers)), ""),
        ("up", str(len(servers) - down), ""),
        ("down", str(down), "bad" if down else ""),
        ("sources with problems", str(failing), "warn" if failing else ""),
        ("last scrape", "never" if scraped_ago is None else f"{ago(scraped_ago)} ago", ""),
    )
    cells = "".join(f'<div class="{kind}"><dt>{name}</dt><dd>{text}</dd></div>' for name, text, kind in figures)
    return f"<dl>{cells}</dl>\n"


def _row_text(row: Row) -> str:
    name = escape(row.name)
    state = '<b class="good">up</b>' if row.up else '<b class="bad">down</b>'
    reason = f"<p>{_text(row.reason)}</p>" if row.reason else ""
    link = f'<br><a href="/probe?target={name}&amp;debug=true">probe now</a>' if row.transport is Transport.HTTP else ""
    age = "none yet" if row.age is None else f"{ago(row.age)} ago"
    return (
        f'<tr><td data-is="server"><strong>{name}</strong> <small>{row.transport}</small>{link}'
        f'<td data-is="state">{state}{reason}<td data-is="newest facts">{age}'
        f'<td data-is="sources">{_sources_text(row)}</tr>\n'
    )


def _sources_text(row: Row) -> str:
    if not row.sources:
        return "<small>nothing watches it: no gateway reports, and its entry names no process, log or probe</small>"
    return f"<ul>{''.join(_source_text(*source) for source in row.sources)}</ul>"


def _source_text(name: str, age: float | None, problem: str) -> str:
    facts = "nothing yet" if age is None else f"{ago(age)} ago"
    said = f'<p class="warn">{_text(problem)}</p>' if problem else ""
    return f"<li>{escape(name)} <small>{facts}</small>{said}"


def ago(seconds: float) -> str:
    """A time in the largest unit that it fills."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _text(text: str) -> str:
    return escape(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}...")


_LINKS: Final = """\
<nav><h2>Endpoints</h2><ul>
<li><a href="/metrics">/metrics</a> what Prometheus scrapes
<li><a href="/sd">/sd</a> the servers as targets of HTTP service discovery
<li><a href="/config">/config</a> the configuration that holds, secrets hidden
<li><a href="/-/healthy">/-/healthy</a> whether this program works
<li><a href="/-/ready">/-/ready</a> whether each source has run
</ul></nav>
"""

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--bad:#c0263a;--warn:#9a6200;--good:#15803d}
@media(prefers-color-scheme:dark){:root{--bad:#ff7b88;--warn:#f0b44c;--good:#5fd38d}}
*{box-sizing:border-box}body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}
h1{margin:0;font-size:1.5rem}h2{font-size:1.1rem}header p{margin:.2rem 0 1rem;opacity:.75}
dl{display:flex;flex-wrap:wrap;gap:.6rem;margin:0 0 1rem}dl div{border:1px solid var(--line);border-radius:.5rem;
padding:.5rem .8rem;flex:1 1 7rem}dt{font-size:.85rem;opacity:.75}dd{margin:0;font-size:1.35rem;font-weight:600}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.5rem .6rem;
border-bottom:1px solid var(--line)}th{font-size:.85rem;opacity:.75}small{opacity:.7}ul{margin:0;padding-left:1.1rem}
td p,li p{margin:.15rem 0;overflow-wrap:anywhere}.bad,.bad dd{color:var(--bad)}.warn,.warn dd{color:var(--warn)}
.good{color:var(--good)}
.notice{border-left:4px solid var(--warn);background:var(--soft);padding:.5rem .8rem;margin:0 0 1rem}
@media(max-width:40rem){thead{display:none}tr{display:block;border:1px solid var(--line);border-radius:.5rem;
margin-bottom:.8rem;padding:.3rem}td{display:block;border:0;padding:.25rem .4rem}
td:nth-child(n+3)::before{content:attr(data-is) ": ";font-size:.85rem;opacity:.75}}
"""
