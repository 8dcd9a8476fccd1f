"""Vitals of an MCP server that stands behind no gateway, pushed to the exporter. No dependencies; docs/telemetry.md."""

import bisect
import json
import os
import socket
import time
import urllib.request
from typing import Any

BOUNDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300]
STARTED_AT = time.time()
calls: dict[tuple[str, str], dict[str, Any]] = {}  # all of it since STARTED_AT, so that a lost push costs nothing


def called(tool: str, seconds: float, error: str = "") -> None:
    """Count one call; ``error`` is '', 'tool_error', 'timeout' or a JSON-RPC code."""
    new = {
        "method": "tools/call",
        "tool": tool,
        "error_type": error,
        "count": 0,
        "sum": 0.0,
        "buckets": [0] * len(BOUNDS),
    }
    entry = calls.setdefault((tool, error), new)
    entry["count"] += 1
    entry["sum"] += seconds
    for bound in range(bisect.bisect_left(BOUNDS, seconds), len(BOUNDS)):
        entry["buckets"][bound] += 1


def push(url: str, server: str, sessions: int = 0, final: bool = False, token: str = "") -> None:
    """Tell the exporter at ``url``; call it each few seconds, and once with ``final`` at the end."""
    body = {
        "schema": 1, "source": f"{socket.gethostname()}-{os.getpid()}-{STARTED_AT}", "started_at": STARTED_AT,
        "final": final, "bounds": BOUNDS, "operations": list(calls.values()),
        "sessions": {"active": sessions},
    }  # fmt: skip
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{url}/telemetry/v1/servers/{server}", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=5).close()
