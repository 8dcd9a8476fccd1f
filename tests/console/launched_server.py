"""The example server, started by a program that its own TOML can hurt.

[server]
starts_in_seconds = 3     the first answer comes so much later
needs_port = 3002         it ends where that port is taken
starts_after = "FILE"     it does not start before that file is there
"""

from __future__ import annotations

import os
import socket
import sys
import time
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "server.py"
POLL_SECONDS = 0.05


def main() -> None:
    """Become the example server."""
    wants = tomllib.loads(Path(os.environ["EXAMPLE_CONFIG_FILE"]).read_text(encoding="utf-8")).get("server", {})
    if "needs_port" in wants:
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", wants["needs_port"]))
    while "starts_after" in wants and not Path(wants["starts_after"]).exists():
        time.sleep(POLL_SECONDS)
    time.sleep(wants.get("starts_in_seconds", 0))
    os.execv(sys.executable, [sys.executable, str(EXAMPLE), *sys.argv[1:]])


if __name__ == "__main__":
    main()
