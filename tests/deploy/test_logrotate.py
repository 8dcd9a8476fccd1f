"""deploy/logrotate/mcp-medic under a real logrotate: audit logs are rotated under a gateway that writes them."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from fleet.errors import MedicError
from gateway.audit_log import AuditLog
from stack.tools import PROJECT, peer

SHIPPED = (PROJECT / "deploy" / "logrotate" / "mcp-medic").read_text(encoding="utf-8")
UNIT = (PROJECT / "deploy" / "systemd" / "mcp-gateway.service").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def logrotate() -> Path:
    installed = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if installed is not None:
        return Path(installed)
    try:
        return peer("logrotate", "logrotate", ["libpopt0"])
    except MedicError as error:
        pytest.skip(f"no logrotate: {error}")


def here(text: str, folder: Path) -> str:
    """The configuration for logs in ``folder``, of the user who runs the test."""
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    return re.sub(
        r"su \S+ \S+", f"su {user} {group}", re.sub(r"^/\S+(?=/\*\.log)", str(folder), text, flags=re.MULTILINE)
    )


def rotate(program: Path, folder: Path, text: str) -> str:
    file = folder / "logrotate.conf"
    file.write_text(here(text, folder))
    file.chmod(0o644)
    said = subprocess.run(
        [program, "--verbose", "--force", "--state", folder / "state", file], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "error:" not in said.stderr
    return said.stderr


def test_an_audit_log_is_rotated_without_a_line_lost(logrotate: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    log = AuditLog(tmp_path / "codex.log")
    log.take(b"1\n")
    log.flush()
    rotate(logrotate, tmp_path, SHIPPED)
    log.take(b"2\n")
    log.flush()
    log.close()
    (rotated,) = tmp_path.glob("codex.log-*")
    assert (rotated.read_bytes(), (tmp_path / "codex.log").read_bytes()) == (b"1\n", b"2\n")
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("codex.log*")} == {0o600}


def test_a_servers_own_log_is_cut_where_the_example_is_taken(logrotate: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    _, _, example = SHIPPED.partition("#/home/")
    uncommented = re.sub(r"^#", "", f"#/home/{example}", flags=re.MULTILINE)
    log = tmp_path / "codex-mcp.log"
    with log.open("a") as server:
        server.write("1\n")
        server.flush()
        rotate(logrotate, tmp_path, uncommented)
        server.write("2\n")
        server.flush()
    assert (log.read_text(), (tmp_path / "codex-mcp.log.1").read_text()) == ("2\n", "1\n")


def test_it_speaks_of_the_folder_and_the_user_of_the_gateways_unit() -> None:
    folder = re.search(r"^LogsDirectory=(\S+)", UNIT, re.MULTILINE)
    assert folder is not None
    assert f"/var/log/{folder[1]}/*.log {{" in SHIPPED
    user, group = (re.search(rf"^{key}=(\S+)", UNIT, re.MULTILINE) for key in ("User", "Group"))
    assert user is not None
    assert group is not None
    assert f"su {user[1]} {group[1]}" in SHIPPED
