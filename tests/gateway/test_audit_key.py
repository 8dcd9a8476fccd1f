"""The key of the audit log's digests: made once, kept, for the user's eyes only; and what it is good for."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ConfigError
from fleet.inventory import AuditLog as AuditSettings
from gateway.audit import DIGEST_BYTES, Audit
from gateway.audit_key import FILE, KEY_BYTES, key_in
from tests.gateway.peers import Exporter, fleet, listening, running, server


def audit(key: bytes) -> Audit:
    return Audit("demo", lambda _: None, lambda: 0.0, key=key)


@given(st.text(min_size=1), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_a_digest_is_the_keys_and_the_secrets_only(secret: str, key: bytes) -> None:
    named = audit(key).digest(secret)
    assert len(named) == 2 * DIGEST_BYTES
    assert named == audit(key).digest(secret)
    other = bytes([key[0] ^ 1]) + key[1:]
    assert named != audit(other).digest(secret)
    assert audit(key).digest("") == ""


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = key_in(tmp_path)
    assert len(key) == KEY_BYTES
    assert key_in(tmp_path) == key
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()] == [(FILE, 0o600)]


def test_gateways_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    barrier, keys = threading.Barrier(8), []

    def make() -> None:
        barrier.wait(10)
        keys.append(key_in(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def _short(path: Path) -> None:
    path.write_bytes(b"short")
    path.chmod(0o600)


def _open(path: Path) -> None:
    path.write_bytes(b"k" * KEY_BYTES)
    path.chmod(0o640)


def _linked(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"k" * KEY_BYTES)
    path.with_name("elsewhere").chmod(0o600)
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("spoil", [_short, _open, _linked, Path.mkdir])
def test_what_is_no_key_is_refused_with_what_to_do(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / FILE)
    with pytest.raises(ConfigError, match=r"audit\.key: gateway\.control_dir: .*Remove it"):
        key_in(tmp_path)


def test_a_folder_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made or read: No such file"):
        key_in(tmp_path / "none")


async def test_a_caller_keeps_its_name_over_a_restart_of_the_gateway(folder: Path, exporter: Exporter) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await request.content.read()
        return web.Response(body=b'{"jsonrpc":"2.0","id":1,"result":{}}', content_type="application/json")

    log = folder / "audit.log"
    async with listening(answer) as url:
        given_fleet = fleet(folder, exporter.url, server(f"{url}/mcp", audit_log=AuditSettings(log, arguments=False)))
        for _ in range(2):
            async with (
                running(given_fleet) as gateway,
                aiohttp.ClientSession(gateway.addresses["demo"].url) as client,
                client.post(
                    "/mcp",
                    json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
                    headers={"Authorization": "Bearer secret"},
                ) as answered,
            ):
                assert answered.status == 200
                await answered.read()
    first, second = (line for line in log.read_text().splitlines() if '"authorization"' in line)
    name = first.split('"authorization":"')[1].split('"')[0]
    assert name in second
    assert name == audit((folder / "control" / FILE).read_bytes()).digest("Bearer secret")
