"""nginx as the peer, and wrk as the load that costs the client nothing; both from Debian's packages, unpacked."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.load import Asking
from stack.tools import peer

_CONFIGURATION = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 100000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream server {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_set_header Host $host; }}
  }}
}}
"""
_RATE = re.compile(r"Requests/sec: *([\d.]+)")
_WRONG = re.compile(r"(Non-2xx or 3xx responses|Socket errors): *(.*)")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens there.

    Raises:
        RuntimeError: the process ended, or took too long.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")


@contextlib.contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A reverse proxy that keeps its connections; its port and its process.

    Raises:
        stack.tools.ToolMissingError: it cannot be had here.
    """
    program, port = peer("nginx", "nginx"), free_port()
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, upstream=upstream, port=port))
    argv = [str(program), "-p", str(folder), "-c", str(file), "-e", "stderr"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def wrk(port: int, path: str, ask: Asking, folder: Path, seconds: float, in_flight: int) -> float:
    """Requests per second by wrk, all of them the same call.

    Raises:
        RuntimeError: some were not answered, or not with 2xx.
        stack.tools.ToolMissingError: wrk cannot be had here.
    """
    program = peer("wrk", "wrk", ["libluajit-5.1-2"])
    script = folder / "call.lua"
    head, _, body = ask(1).partition(b"\r\n\r\n")
    fields = [line.decode().partition(": ") for line in head.split(b"\r\n")[1:]]
    lines = ['wrk.method = "POST"', f"wrk.body = [[{body.decode()}]]"]
    lines += [
        f'wrk.headers["{name}"] = "{value}"' for name, _, value in fields if name not in {"Host", "Content-Length"}
    ]
    script.write_text("\n".join(lines) + "\n")
    argv = [
        str(program), "-t", "1", "-c", str(in_flight), "-d", f"{max(1, round(seconds))}s",
        "-s", str(script), f"http://127.0.0.1:{port}{path}",
    ]  # fmt: skip
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    wrong = _WRONG.search(told)
    if wrong:
        raise RuntimeError(f"wrk: {wrong.group()}")
    found = _RATE.search(told)
    if found is None:
        raise RuntimeError(f"wrk said nothing: {told}")
    return float(found.group(1))
