"""Bodies of a real Alertmanager, mutated, against the real receiver: no 5xx, no crash, and a fold that holds.

    python -m bench.fuzz [--bodies 100000] [--seed 1]

The bodies are recorded from two Alertmanagers at the start. Each is changed by up to four mutations: of bytes, of JSON
tokens, of the structure. All go through HTTP into the SQLite journal while the treatment runs. At the end the journal
is folded anew and must come to the same incidents, and no step of a treatment may have failed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import copy
import itertools
import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.results import keep
from receiver import views
from receiver.app import running
from receiver.book import Book
from receiver.journal.sqlite import SqliteJournal
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer
from tests.receiver.shell.recorded import record
from tests.receiver.shell.world import Client, World, client_of, new_world, start_peers

IN_FLIGHT: Final = 16

_TOKENS: Final = (
    b"null", b"true", b"-1", b"0", b"1e999", b"-0.0", b"NaN", b"9" * 400, b'""', b'"\\u0000"', b'"\\ud800"', b"[]",
    b"{}", b"[[[[[[[[]]]]]]]]",
    b'"firing"', b'"resolved"', b'"alpha"', b'"beta"', b'"critical"', b'"none"', b'"4"', b'"\xff"',
    b'"' + b"A" * 5000 + b'"', b"[" * 3000, b'{"a":' * 500, b"\xef\xbb\xbf", b"\x00", b"//", b"'", b",", b":", b"\\",
)  # fmt: skip
_TEXTS: Final = (
    "", "alpha", "beta", "nobody", "critical", "warning", "info", "firing", "resolved", "down", "memory", "queue",
    "error_ratio", "\x00", "\u202e", "é" * 300, "A" * 100_000, "$(id)", "../..", "{{ . }}", '"} or vector(1) #',
    "\x1b[2J", "0001-01-01T00:00:00Z", "9999-99-99", "NaN",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (None, True, -1, 0, 2**63, 1e300, [], {}, [[]], {"a": {"b": []}}, *_TEXTS)

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _flip(dice: random.Random, body: bytes, _others: Sequence[bytes]) -> bytes:
    found = bytearray(body)
    for _ in range(dice.randint(1, 8)):
        if found:
            found[dice.randrange(len(found))] = dice.randrange(256)
    return bytes(found)


def _cut(dice: random.Random, body: bytes, _others: Sequence[bytes]) -> bytes:
    first, last = sorted(dice.randint(0, len(body)) for _ in range(2))
    return dice.choice((body[:first], body[first:], body[:first] + body[last:], body[:last] + body[first:]))


def _insert(dice: random.Random, body: bytes, _others: Sequence[bytes]) -> bytes:
    at = dice.randint(0, len(body))
    return body[:at] + dice.choice(_TOKENS) + body[at + dice.randint(0, 12) :]


def _splice(dice: random.Random, body: bytes, others: Sequence[bytes]) -> bytes:
    other = dice.choice(others)
    return body[: dice.randint(0, len(body))] + other[dice.randint(0, len(other)) :]


def _restructure(dice: random.Random, body: bytes, others: Sequence[bytes]) -> bytes:
    """Another value, one less, or one more, at a random place of the document; what is no JSON is cut."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _cut(dice, body, others)
    places = [*_places(document)]
    if not places:
        return body
    holder, key = dice.choice(places)
    match dice.randrange(4):
        case 0:
            holder[key] = dice.choice(_VALUES)
        case 1:
            del holder[key]
        case 2 if isinstance(holder, dict):
            holder[dice.choice(_TEXTS)] = holder[key]
        case _:
            other, place = dice.choice(places)
            with contextlib.suppress(LookupError, TypeError):
                holder[key] = copy.deepcopy(other[place])
    with contextlib.suppress(ValueError, RecursionError):
        return json.dumps(document).encode()
    return body


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _places(value)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield document, index
            yield from _places(value)


MUTATIONS: Final[tuple[Mutation, ...]] = (_flip, _cut, _insert, _splice, _restructure, _restructure, _restructure)


def mutated(dice: random.Random, bodies: Sequence[bytes]) -> Iterator[bytes]:
    """Bodies without end; sometimes one is left as it is, or becomes what others are mutated from."""
    pool = list(bodies)
    while True:
        body = dice.choice(pool)
        for _ in range(dice.randint(0, 4)):
            body = dice.choice(MUTATIONS)(dice, body, pool)[:200_000]
        if dice.random() < 0.01:
            pool[dice.randrange(len(pool))] = dice.choice((body, dice.choice(bodies)))
        yield body


@dataclass(frozen=True)
class Found:
    """How often each status was answered, what became of the bodies, and whether the fold held."""

    statuses: dict[int, int]
    results: dict[str, int]
    entries: int
    failed_steps: float
    same_fold: bool

    @property
    def good(self) -> bool:
        """No 5xx, no failed step, the same incidents from the journal alone."""
        return self.same_fold and not self.failed_steps and set(self.statuses) <= {200, 413}


async def played(bodies: Sequence[bytes], count: int, seed: int, world: World) -> Found:
    """Post ``count`` mutations of ``bodies`` to a receiver of ``world``."""
    statuses, results = collections.Counter[int](), collections.Counter[str]()
    stream = itertools.islice(mutated(random.Random(seed), bodies), count)
    async with aiohttp.ClientSession() as session:
        async with running(world.settings()) as receiver:
            client = client_of(session, receiver)

            async def post() -> None:
                for body in stream:
                    status, told = await client.post(body)
                    statuses[status] += 1
                    results[told.get("result", told.get("error", ""))] += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, count)):
                    group.create_task(post())
            failed = await client.metric("mcp_remediation_worker_errors_total")
            assert await _is_well(client)
            book = receiver.chronicle.book
        shown = [views.incident(one) for one in book.incidents()]
    entries, again = await asyncio.to_thread(_folded, world)
    return Found(dict(statuses), dict(results), entries, failed, again == shown)


async def _is_well(client: Client) -> bool:
    status, _ = await client.get("/-/ready", token=None)
    return bool(status == 200)


def _folded(world: World) -> tuple[int, list[dict[str, Any]]]:
    book, entries = Book(world.gateways), 0
    journal = SqliteJournal(world.folder / "journal.db")
    with contextlib.closing(journal):
        for entry in journal.read():
            book.apply(entry)
            entries += 1
    return entries, [views.incident(one) for one in book.incidents()]


@contextlib.asynccontextmanager
async def small_world(folder: Path) -> Any:
    """Two servers whose treatments end quickly."""
    async with contextlib.AsyncExitStack() as stack:
        world = new_world(folder, PrometheusPeer(), AlertmanagerPeer())
        await start_peers(world, stack)
        yield world


async def _recorded_and_played(count: int, seed: int) -> Found:
    with tempfile.TemporaryDirectory(prefix="mcp-") as first, tempfile.TemporaryDirectory(prefix="mcp-") as second:
        recorded = await record(Path(first))
        async with small_world(Path(second)) as world:
            return await played(recorded.every, count, seed, world)


def main() -> int:
    """Run, print, keep; 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()  # a line for each body
    found = asyncio.run(_recorded_and_played(options.bodies, options.seed))
    print(f"{sum(found.statuses.values())} bodies; answered {found.statuses}; they were {found.results}")
    print(
        f"{found.entries} entries in the journal, folded anew to {'the same' if found.same_fold else 'OTHER'} incidents"
    )
    print(f"{found.failed_steps:g} failed steps of a treatment; {'good' if found.good else 'BROKEN'}")
    print(f"kept in {keep('fuzz', {**vars(found), 'seed': options.seed})}")
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
