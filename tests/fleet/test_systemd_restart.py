"""Restart via systemd against a real manager: ``systemd --user`` in a mount namespace of the test's own.

``systemctl`` speaks only where systemd looks like the system's own, so everything happens inside the namespace: this
file is started there once more as a program and prints what became of each restart.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from fleet.lifecycle import systemd
from fleet.lifecycle.methods import METHODS
from fleet.loading import load_fleet

PROJECT: Final = Path(__file__).resolve().parents[2]
WITHIN_SECONDS: Final = 90
INSIDE: Final = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
"$MANAGER" --user >"$FOLDER/manager.log" 2>&1 &
tries=0
until [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; do
  tries=$((tries + 1)); [ $tries -lt 200 ] || { echo "no manager: $(tail -c 300 "$FOLDER/manager.log")" >&2; exit 77; }
  sleep 0.05
done
"$PYTHON" -m tests.fleet.test_systemd_restart "$FOLDER"
systemctl --user exit || true
"""
SERVER: Final = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
UNIT: Final = """[Service]
ExecStart={python} {server} {port}
StartLimitBurst=3
StartLimitIntervalSec=600
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run inside the namespace printed."""
    manager = next((path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(path).exists()), None)
    if manager is None or shutil.which("systemctl") is None:
        pytest.skip("there is no systemd on this machine")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a mount namespace of the test's own needs root and unshare")
    folder = tmp_path_factory.mktemp("systemd")
    write_units(folder)
    environment = {
        **os.environ, "XDG_RUNTIME_DIR": "/run/user/0", "MANAGER": manager, "FOLDER": str(folder),
        "PYTHON": sys.executable, "SYSTEMD_UNIT_PATH": f"{folder}/units:",
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", INSIDE],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=WITHIN_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "Operation not permitted" in done.stderr:
        pytest.skip(f"systemd --user does not run here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_units(folder: Path) -> None:
    (folder / "units").mkdir()
    (folder / "server.py").write_text(SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    unit = UNIT.format(python=sys.executable, server=folder / "server.py", port=port)
    (folder / "units" / "medic.service").write_text(unit)
    (folder / "units" / "other.service").write_text(unit.replace("StartLimitBurst=3\n", ""))
    (folder / "units" / "broken.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/false\n")
    servers = [
        f"{{name: {unit}, transport: http, url: 'http://127.0.0.1:{port}/mcp', "
        f"restart: {{via: systemd, unit: {unit}, user: true}}}}"
        for unit in ("medic", "other", "broken", "nobody")
    ]
    (folder / "fleet.yml").write_text(f"servers: [{', '.join(servers)}]")


async def restarts(folder: Path) -> dict[str, Any]:
    """Inside the namespace: the restarts, each as outcome and detail, with the pid of the unit after it."""
    servers = {str(name): server for name, server in load_fleet(folder / "fleet.yml", {}).servers.items()}

    async def restart(name: str, act: str) -> dict[str, Any]:
        how = servers[name].restart
        assert how is not None
        done = await METHODS[how.via].restart(servers[name], folder / "control", act)
        shown = subprocess.run(  # noqa: ASYNC221 - a moment, and nothing else runs in this program
            ["systemctl", "--user", "show", "--property=MainPID", "--value", name], capture_output=True, check=True
        )
        return {"outcome": done.outcome, "detail": done.detail, "pid": int(shown.stdout)}

    other = servers["other"]
    orders = (systemd.start, systemd.start, systemd.stop, systemd.stop)
    ordered = [await order(other, folder / "control", "act-0") for order in orders]
    found: dict[str, Any] = {"ordered": [(each.outcome, each.detail) for each in ordered]}
    found |= {act: await restart("medic", act) for act in ("act-1", "act-2", "act-3")}
    found["again"] = await restart("medic", "act-3")
    found["again"]["verified"] = (await systemd.verify(servers["medic"], folder / "control", "act-3")).outcome
    found["too often"] = await restart("medic", "act-4")
    found["broken"] = await restart("broken", "act-1")
    found["nobody"] = await restart("nobody", "act-1")
    return found


def test_a_unit_is_restarted_and_answers(told: dict[str, Any]) -> None:
    first, second = told["act-1"], told["act-2"]
    assert first["outcome"] == second["outcome"] == "succeeded"
    assert first["detail"].startswith("systemd restarted medic; http://127.0.0.1:")
    assert first["detail"].endswith("answers server/discover")
    assert first["pid"] != second["pid"] > 0


def test_the_same_id_restarts_once_and_is_known(told: dict[str, Any]) -> None:
    assert told["again"].pop("verified") == "succeeded"
    assert told["again"] == told["act-3"]


def test_the_start_limit_is_respected_and_told(told: dict[str, Any]) -> None:
    assert told["too often"]["outcome"] == "failed"
    assert told["too often"]["detail"].startswith("systemd refuses to start medic again (start-limit-hit)")
    assert "systemctl reset-failed medic" in told["too often"]["detail"]


def test_a_unit_is_started_and_stopped_and_twice_is_as_once(told: dict[str, Any]) -> None:
    assert [outcome for outcome, _ in told["ordered"]] == ["succeeded"] * 4
    details = [detail.partition(";")[0] for _, detail in told["ordered"]]
    assert details == [
        "systemd started other",
        "systemd started other",
        "systemd stopped other",
        "systemd stopped other",
    ]


def test_a_unit_that_cannot_start_is_a_sentence(told: dict[str, Any]) -> None:
    assert told["broken"]["outcome"] == "failed"
    assert told["broken"]["detail"].startswith("systemctl ended with 1: Job for broken.service failed")


def test_an_unknown_unit_is_a_sentence(told: dict[str, Any]) -> None:
    assert told["nobody"]["outcome"] == "failed"
    assert told["nobody"]["detail"].startswith("systemd knows no unit nobody: ")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(restarts(Path(sys.argv[1])))) + "\n")
