"""Memory of the three programs under steady traffic, on the whole closed loop.

    python -m bench.footprint [--seconds 60] [--rate 50]

Prints resident memory in MB of gateway, exporter and receiver every ten seconds, and CPU seconds at the end.
"""

from __future__ import annotations

import argparse
import asyncio

import psutil

from stack.loop import Loop, LoopOptions

PROGRAMS = ("gateway", "exporter", "receiver")
EVERY_SECONDS = 10


async def main(seconds: int, rate: float) -> None:
    """Run the loop with traffic and print one line every ten seconds."""
    async with Loop(LoopOptions(label="footprint")) as loop:
        await loop.start_traffic(rate=rate)
        watched = {name: psutil.Process(loop.program(name).pid) for name in PROGRAMS}
        print("second  " + "".join(f"{name:>10}" for name in PROGRAMS) + "   MB resident")
        for second in range(0, seconds + 1, EVERY_SECONDS):
            figures = [watched[name].memory_info().rss / 1e6 for name in PROGRAMS]
            print(f"{second:6}  " + "".join(f"{figure:10.1f}" for figure in figures), flush=True)
            if second < seconds:
                await asyncio.sleep(EVERY_SECONDS)
        times = [watched[name].cpu_times() for name in PROGRAMS]
        print("CPU s   " + "".join(f"{time.user + time.system:10.1f}" for time in times))
        print("traffic " + await loop.stop_traffic())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=float, default=50.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.seconds, arguments.rate))
