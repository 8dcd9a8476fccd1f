"""Traffic for the example server: repeated and fresh calls at a bounded rate, until stopped or counted out.

    python examples/client.py http://127.0.0.1:9846/servers/example/mcp --rate 20
    python examples/client.py --clients 3 --stdio mcp-gateway stdio example

It speaks one protocol era or both, connects again when its session or the server is lost, and prints one line of
counts for each client when it ends (SIGINT, SIGTERM, ``--calls`` or ``--seconds``). With ``--stdio`` each client
starts the command that follows as its own server, and takes an error for an answer: it connects again only when its
end of the pipe is closed.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
from dataclasses import asdict, dataclass, field

import anyio
from anyio import CancelScope
from anyio.abc import TaskStatus
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CONNECTION_CLOSED, Implementation

ERAS = {"modern": "auto", "legacy": "legacy"}
FAVOURITES = ("The Left Hand of Darkness", "Solaris", "Roadside Picnic", "Kindred")
RECONNECT_SECONDS = 0.3
SAID_AT_MOST = 50


@dataclass
class Counts:
    """What happened to the calls. ``lost`` calls got no answer; ``errors`` got a JSON-RPC error."""

    calls: int = 0
    succeeded: int = 0
    tool_errors: int = 0
    errors: int = 0
    lost: int = 0
    reconnects: int = 0

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())


@dataclass
class Traffic:
    """One client's calls: ``rate`` a second, at most ``concurrency`` in flight, ``calls`` in all (0: no end)."""

    server: str | StdioServerParameters
    era: str
    rate: float
    concurrency: int
    calls: int
    timeout: float
    counts: Counts = field(default_factory=Counts)
    _turn: int = 0
    _said: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Connect, call, and connect again, until all calls were made."""
        while not self._made_all():
            try:
                await self._one_connection()
            # The isolation boundary of one connection: the SDK raises what its HTTP library and its streams raise,
            # in groups, and traffic must outlive every restart of the server.
            except* Exception as errors:  # noqa: BLE001
                self._say_once(f"connecting again after {_innermost(errors)}")
                self.counts.reconnects += 1
            if not self._made_all():
                await anyio.sleep(RECONNECT_SECONDS)

    async def _one_connection(self) -> None:
        info = Implementation(name=f"example-client-{self.era}", version="1.0.0")
        # Without a cache of its own, or it would measure that one.
        async with Client(
            self.server, mode=ERAS[self.era], client_info=info, cache=None, read_timeout_seconds=self.timeout
        ) as client:
            await client.list_tools()
            self._say_once("connected")
            slots = anyio.Semaphore(self.concurrency)
            async with anyio.create_task_group() as calls:
                due = anyio.current_time()
                while not self._made_all():
                    due = max(due + 1 / self.rate, anyio.current_time() - 1)
                    await anyio.sleep(max(0.0, due - anyio.current_time()))
                    await slots.acquire()
                    self.counts.calls += 1
                    calls.start_soon(self._call, client, slots)

    async def _call(self, client: Client, slots: anyio.Semaphore) -> None:
        name, arguments = self._next()
        answered = False
        try:
            result = await client.call_tool(name, arguments, progress_callback=_ignore_progress)
            answered = True
            if result.is_error:
                self.counts.tool_errors += 1
            else:
                self.counts.succeeded += 1
        except MCPError as error:
            answered = True
            self.counts.errors += 1
            # Over HTTP a lost session, a lost server or a timeout: raising ends this connection and makes a new one.
            if isinstance(self.server, str) or error.code == CONNECTION_CLOSED:
                raise
        finally:
            if not answered:
                self.counts.lost += 1
            slots.release()

    def _next(self) -> tuple[str, dict[str, str | int]]:
        self._turn += 1
        if self._turn % 10 == 0:
            return "report", {"sections": 3}
        if self._turn % 3 == 0:
            tool = "suggest" if self._turn % 2 == 0 else "lookup"
            return tool, {"title": f"book {random.randrange(10**9)}"}
        return "lookup", {"title": FAVOURITES[self._turn % len(FAVOURITES)]}

    def _say_once(self, text: str) -> None:
        if text not in self._said and len(self._said) < SAID_AT_MOST:
            self._said.add(text)
            print(f"era={self.era} {text}", file=sys.stderr, flush=True)

    def _made_all(self) -> bool:
        return bool(self.calls) and self.counts.calls >= self.calls


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _ignore_progress(progress: float, total: float | None, message: str | None) -> None:
    """Asking for progress makes the server send it; what it says is not needed here."""


async def _cancel_on_signal(scope: CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def drive(traffics: list[Traffic], seconds: float) -> None:
    """Run all traffic until it is made, ``seconds`` have passed, or a signal comes."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as watch:
            await watch.start(_cancel_on_signal, watch.cancel_scope)
            async with anyio.create_task_group() as group:
                for traffic in traffics:
                    group.start_soon(traffic.run)
            watch.cancel_scope.cancel()


def shares(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` that differ by one at most."""
    return [total // parts + (number < total % parts) for number in range(parts)]


def traffics_of(options: argparse.Namespace) -> list[Traffic]:
    """One traffic for each client: of each era in turn."""
    server: str | StdioServerParameters = options.url
    if options.stdio:
        command, *arguments = options.stdio
        server = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    eras = list(ERAS) if options.mode == "both" else [options.mode]
    clients = options.clients or len(eras)
    concurrency = max(1, options.concurrency // clients)
    return [
        Traffic(server, eras[number % len(eras)], options.rate / clients, concurrency, calls, options.timeout)
        for number, calls in enumerate(shares(options.calls, clients))
        if calls or not options.calls
    ]


def main() -> None:
    """Read the command line, make the traffic, print the counts."""
    parser = argparse.ArgumentParser(description="Traffic for the example MCP server.")
    parser.add_argument("url", nargs="?", help="address of the server's MCP endpoint, or of the gateway before it")
    parser.add_argument("--mode", choices=[*ERAS, "both"], default="both", help="protocol era (default %(default)s)")
    parser.add_argument("--clients", type=int, default=0, help="how many connections (default: one for each era)")
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second over all (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, help="calls in flight at most (default %(default)s)")
    parser.add_argument("--calls", type=int, default=0, help="stop after so many calls (default: no end)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long (default: no end)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for one answer (default 60)")
    parser.add_argument("--stdio", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of a url; comes last")
    options = parser.parse_args()
    if options.rate <= 0 or options.concurrency < 1 or options.calls < 0 or options.clients < 0:
        parser.error("--rate must be above 0, --concurrency at least 1, --calls and --clients at least 0")
    if bool(options.url) == bool(options.stdio):
        parser.error("either a url or --stdio COMMAND is needed")
    logging.basicConfig(level=logging.CRITICAL)
    traffics = traffics_of(options)
    anyio.run(drive, traffics, options.seconds)
    for traffic in traffics:
        print(f"era={traffic.era} {traffic.counts}", flush=True)


if __name__ == "__main__":
    main()
