"""Finding and fetching Prometheus, Alertmanager and Redis."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stack import tools
from stack.tools import KNOWN, ToolMissingError, ensure, find, present


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with one empty folder, and a `.tools` that holds nothing."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(tools, "TOOLS", tmp_path / ".tools")
    return folder


def test_path_comes_before_what_was_fetched(empty_path: Path, tmp_path: Path) -> None:
    fetched = executable(tmp_path / ".tools" / "bin" / "promtool")
    assert present("promtool") == fetched
    on_path = executable(empty_path / "promtool")
    assert present("promtool") == on_path


def test_alertmanager_may_have_debians_name(empty_path: Path, tmp_path: Path) -> None:
    debians = executable(empty_path / "prometheus-alertmanager")
    assert present("alertmanager") == debians


def test_a_file_that_cannot_run_is_not_a_tool(empty_path: Path, tmp_path: Path) -> None:
    executable(tmp_path / ".tools" / "bin" / "amtool").chmod(0o644)
    assert present("amtool") is None


def test_without_apt_the_message_says_what_to_do(empty_path: Path) -> None:
    with pytest.raises(ToolMissingError) as raised:
        find("prometheus")
    message = str(raised.value)
    assert "prometheus not found on PATH" in message
    assert "no apt-get and no dpkg-deb" in message
    assert "apt install prometheus prometheus-alertmanager redis-server" in message
    assert "docker compose up" in message


def test_a_failing_download_shows_its_last_line(empty_path: Path) -> None:
    for program in ("apt-get", "dpkg-deb"):
        executable(empty_path / program, "#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    with pytest.raises(ToolMissingError, match="E: no network"):
        find("amtool")


def test_everything_is_fetched_in_one_go(empty_path: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    os_path = "/usr/bin:/bin"
    executable(
        empty_path / "apt-get",
        f'#!/bin/sh\nPATH={os_path}\necho "$@" >> {calls}\n'
        'for last in "$@"; do :; done\n[ "$last" = update ] || touch a.deb\n',
    )
    executable(
        empty_path / "dpkg-deb",
        f'#!/bin/sh\nPATH={os_path}\nmkdir -p "$3/usr/bin"\n'
        "for name in prometheus promtool prometheus-alertmanager amtool redis-check-rdb; do\n"
        '  printf "#!/bin/sh\\necho $name\\n" > "$3/usr/bin/$name"; chmod +x "$3/usr/bin/$name"\ndone\n'
        'mkdir -p "$3/usr/lib/any-arch"; echo one > "$3/usr/lib/any-arch/liblzf.so.1"\n',
    )
    found = ensure(KNOWN)
    assert set(found) == set(KNOWN)
    assert all(os.access(path, os.X_OK) for path in found.values())
    lines = calls.read_text(encoding="utf-8").splitlines()
    packages = ["libatomic1", "libjemalloc2", "liblzf1", "prometheus", "prometheus-alertmanager", "redis-tools"]
    assert lines[0].split()[-1] == "update"
    assert lines[1].split()[-len(packages) - 1 :] == ["download", *packages]
    assert len(lines) == 2
    assert not (tools.TOOLS / "staging").exists()
    # Redis is called by the name that makes it a server, and finds its libraries beside it.
    assert (tools.TOOLS / "lib" / "redis" / "liblzf.so.1").read_text() == "one\n"
    assert (tools.TOOLS / "lib" / "redis" / "redis-server").read_text().endswith("echo redis-check-rdb\n")


def test_a_peer_of_the_benches_is_kept_apart(empty_path: Path, tmp_path: Path) -> None:
    executable(empty_path / "apt-get", '#!/bin/sh\nPATH=/bin\nfor last in "$@"; do :; done\ntouch a.deb\n')
    executable(
        empty_path / "dpkg-deb",
        '#!/bin/sh\nPATH=/bin\nmkdir -p "$3/usr/bin"\n'
        'printf "#!/bin/sh\\n" > "$3/usr/bin/mtail"; chmod +x "$3/usr/bin/mtail"\n',
    )
    assert tools.peer("mtail", "mtail") == tmp_path / ".tools" / "bench" / "mtail"
    (empty_path / "apt-get").unlink()
    assert os.access(tools.peer("mtail", "mtail"), os.X_OK)  # the second time nothing is fetched
    with pytest.raises(ToolMissingError, match="no apt-get"):
        tools.peer("mtail", "another")


def test_the_relocated_path_is_as_long_as_debians() -> None:
    assert len(tools._OUR_SHARE) == len(tools._DEBIANS_SHARE)
    assert os.path.normpath(tools._OUR_SHARE) == b"share/alertmanager"


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_is_found_runs(name: str) -> None:
    done = subprocess.run([find(name), "--version"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert " version " in done.stdout + done.stderr or " v=" in done.stdout
