"""The example fleet is valid as it stands, and says what the code says."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import yaml

from fleet.inventory import Mode, Restart, RestartVia
from fleet.loading import load_fleet
from fleet.signals import Severity
from stack.loop import PROJECT, SERVER
from stack.up import example_addresses

EXAMPLES = PROJECT / "examples"


def test_check_config_accepts_it() -> None:
    command = [sys.executable, "-m", "console", "check-config", "--config", "examples/fleet.yml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_is_restarted_through_the_gateway_and_judged_by_its_own_file() -> None:
    fleet = load_fleet(EXAMPLES / "fleet.yml", {"PYTHON": "/usr/bin/python3"})
    (server,) = fleet.servers.values()
    assert server.name == SERVER
    assert server.mode is Mode.AUTOMATIC
    assert server.restart == Restart(RestartVia.GATEWAY)
    assert server.command[0] == "/usr/bin/python3"
    assert server.working_directory == EXAMPLES
    assert server.thresholds["response_time_seconds"] == {Severity.WARNING: 3.0, Severity.CRITICAL: 5.0}
    assert server.thresholds["resident_memory_bytes"][Severity.CRITICAL] == 200e6


def test_the_example_serves_on_the_port_that_its_url_names() -> None:
    addresses = example_addresses()
    assert len({address.port for address in addresses.values()}) == len(addresses) == 6
    document = yaml.safe_load((EXAMPLES / "fleet.yml").read_text(encoding="utf-8"))
    assert document["servers"][0]["command"][-1] == str(addresses["server"].port)


def test_the_servers_own_file_is_toml() -> None:
    assert "performance" in tomllib.loads((EXAMPLES / "server.toml").read_text(encoding="utf-8"))
