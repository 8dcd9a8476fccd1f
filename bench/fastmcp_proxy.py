"""The peer: FastMCP's proxy, all clients sharing one session with the server. Prints its port; run by an environment
of its own that holds FastMCP."""

from __future__ import annotations

import asyncio
import socket
import sys

from fastmcp import Client, FastMCP  # type: ignore[import-not-found,unused-ignore]


async def main(url: str) -> None:
    """Serve until killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    async with Client(url) as client:
        proxy = FastMCP.as_proxy(client)
        print(port, flush=True)
        await proxy.run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=port,
            log_level="critical",
            stateless_http=True,
            json_response=True,
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
