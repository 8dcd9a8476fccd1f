from __future__ import annotations

import asyncio
import gzip
import io
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from exporter.app import Running, running
from exporter.facts import PushResult
from exporter.settings import Settings
from exporter.state import StateNotWrittenError
from fleet.loading import load_fleet
from fleet.telemetry import MAX_TELEMETRY_BYTES, Cache, Sessions, encode
from tests.exporter.conftest import TOKEN
from tests.exporter.fleets import Scrape, body, make_fleet, operations, parsed, value, write_fleet

PUSH = "/telemetry/v1/servers/codex"
JSON = {"Content-Type": "application/json"}


async def scrape(client: ClientSession) -> Scrape:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        return parsed(await answer.text())


async def pushes(client: ClientSession, result: PushResult) -> float:
    return (await scrape(client))["mcp_exporter_telemetry_pushes_total", frozenset({("result", result.value)})]


async def ready(client: ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            async with client.get("/-/ready") as answer:
                if answer.status == 200:
                    return
                assert answer.status == 503
                assert (await answer.text()).startswith("not ready: some sources have not run yet: ")


async def test_health_readiness_and_index(client: ClientSession) -> None:
    async with client.get("/-/healthy") as answer:
        assert (answer.status, await answer.text()) == (200, "healthy\n")
    await ready(client)
    async with client.get("/") as answer:
        assert answer.content_type == "text/html"
        assert 'href="/metrics"' in await answer.text()


async def test_a_push_is_shown_by_the_next_scrape(client: ClientSession) -> None:
    pushed = body(operations=[operations(3), operations(1, error="-32000")], cache=Cache(requests=2, hits=1))
    async with client.post(PUSH, data=encode(pushed), headers=JSON) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    found = await scrape(client)
    errors = {"error_type": "-32000", "mcp_method_name": "tools/call"}
    assert value(found, "mcp_server_errors_total", errors) == 1
    assert value(found, "mcp_server_errors_total", errors, server="other") == 0
    assert value(found, "mcp_server_cache_requests_total") == 2
    assert found["mcp_exporter_config_last_reload_successful", frozenset()] == 1
    assert await pushes(client, PushResult.ACCEPTED) == 1


async def test_openmetrics_when_asked_for(client: ClientSession) -> None:
    async with client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}) as answer:
        assert answer.content_type == "application/openmetrics-text"
        assert (await answer.text()).endswith("# EOF\n")
    async with client.get("/metrics", headers={"Accept": "*/*"}) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("headers", "status", "result"),
    [
        ({"Origin": "http://evil.example"}, 403, PushResult.REFUSED),
        ({"Host": "evil.example"}, 421, PushResult.REFUSED),
        ({"Content-Type": "text/plain"}, 415, PushResult.REFUSED),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, PushResult.REFUSED),
    ],
)
async def test_doors(client: ClientSession, headers: dict[str, str], status: int, result: PushResult) -> None:
    async with client.post(PUSH, data=encode(body()), headers={**JSON, **headers}) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]
    assert await pushes(client, result) == 1
    assert await pushes(client, PushResult.ACCEPTED) == 0


async def test_own_origin_may_post(client: ClientSession) -> None:
    headers = {**JSON, "Origin": "http://localhost:3000"}
    async with client.post(PUSH, data=encode(body()), headers=headers) as answer:
        assert answer.status == 204


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer"])
async def test_a_token_is_asked_for(guarded: Running, given: str | None) -> None:
    headers = JSON if given is None else {**JSON, "Authorization": given}
    async with ClientSession(guarded.address.url) as client:
        async with client.post(PUSH, data=encode(body()), headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        async with client.post(
            PUSH, data=encode(body()), headers={**JSON, "Authorization": f"Bearer {TOKEN}"}
        ) as right:
            assert right.status == 204
        for free in ("/metrics", "/-/healthy"):
            async with client.get(free) as answer:
                assert answer.status == 200
                assert TOKEN not in await answer.text()


async def test_an_unknown_server_is_not_found_and_makes_no_series(client: ClientSession) -> None:
    async with client.post("/telemetry/v1/servers/nobody", data=encode(body()), headers=JSON) as answer:
        assert answer.status == 404
    assert await pushes(client, PushResult.UNKNOWN_SERVER) == 1
    assert not any(("server", "nobody") in labels for _, labels in await scrape(client))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b"\xff\xfe", b'{"schema": 2, "source": "a"}'])
async def test_a_bad_body_is_refused_with_a_reason_and_nothing_kept(client: ClientSession, content: bytes) -> None:
    before = {key for key in await scrape(client) if not key[0].startswith("mcp_exporter_source")}
    async with client.post(PUSH, data=content, headers=JSON) as answer:
        assert answer.status == 400
        reason = (await answer.json())["error"]
        assert reason
        assert "Traceback" not in reason
    assert await pushes(client, PushResult.INVALID) == 1
    assert {key for key in await scrape(client) if not key[0].startswith("mcp_exporter_source")} == before


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large(client: ClientSession, chunked: bool) -> None:
    async def chunks() -> object:
        for _ in range(MAX_TELEMETRY_BYTES // 65536 + 1):
            yield b" " * 65536

    data = chunks() if chunked else io.BytesIO(b" " * (MAX_TELEMETRY_BYTES + 1))
    async with client.post(PUSH, data=data, headers=JSON) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"] == "a telemetry body may have 4194304 bytes"
    assert await pushes(client, PushResult.TOO_LARGE) == 1


async def test_a_compressed_bomb_is_too_large(client: ClientSession) -> None:
    bomb = gzip.compress(b" " * (4 * MAX_TELEMETRY_BYTES))
    async with client.post(PUSH, data=bomb, headers={**JSON, "Content-Encoding": "gzip"}) as answer:
        assert answer.status == 413


async def test_a_body_that_is_not_what_its_encoding_says(client: ClientSession) -> None:
    async with client.post(PUSH, data=b"plain", headers={**JSON, "Content-Encoding": "gzip"}) as answer:
        assert answer.status == 400


async def test_a_large_good_body_is_taken(client: ClientSession) -> None:
    pushed = body(operations=[operations(1, tool=f"tool-{number}") for number in range(3000)])
    async with client.post(PUSH, data=encode(pushed), headers=JSON) as answer:
        assert answer.status == 204
    found = await scrape(client)
    tools = {dict(labels)["gen_ai_tool_name"] for name, labels in found if name.endswith("_duration_seconds_count")}
    assert len(tools) == 201
    other = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "other", "error_type": "", "network_transport": "tcp"}
    assert value(found, "mcp_server_operation_duration_seconds_count", other) == 2800
    assert value(found, "mcp_exporter_labels_folded_total", {"label": "gen_ai_tool_name"}) == 2800


async def test_a_sender_that_stalls_is_cut_off(tmp_path: Path, settings: Settings) -> None:
    async with running(make_fleet(tmp_path), replace(settings, receive_seconds=0.1)) as exporter:
        reader, writer = await asyncio.open_connection(exporter.address.host, exporter.address.port)
        writer.write(
            f"POST {PUSH} HTTP/1.1\r\nHost: {exporter.address}\r\nContent-Type: application/json\r\n"
            "Content-Length: 1000\r\n\r\n{".encode()
        )
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_scrapes_while_three_sources_push(client: ClientSession) -> None:
    rounds = 30

    async def push(source: str) -> None:
        for number in range(1, rounds + 1):
            pushed = body(
                source, operations=[operations(number)], sessions=Sessions(active=1), cache=Cache(requests=number)
            )
            async with client.post(PUSH, data=encode(pushed), headers=JSON) as answer:
                assert answer.status == 204

    async def watch() -> list[float]:
        seen: list[float] = []
        while not done.is_set():
            seen.append(value(await scrape(client), "mcp_server_cache_requests_total") or 0.0)
        return seen

    done = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        pushing = [group.create_task(push(source)) for source in ("a", "b", "c")]
        await asyncio.gather(*pushing)
        done.set()
    assert watching.result() == sorted(watching.result())
    found = await scrape(client)
    call = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "echo", "error_type": "", "network_transport": "tcp"}
    assert value(found, "mcp_server_operation_duration_seconds_count", call) == 3 * rounds
    assert value(found, "mcp_server_cache_requests_total") == 3 * rounds
    assert value(found, "mcp_server_sessions") == 3


async def test_too_many_sources_at_once_are_turned_away(client: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.merging.MAX_SOURCES", 2)
    answers = []
    for source in ("a", "b", "c"):
        async with client.post(PUSH, data=encode(body(source)), headers=JSON) as answer:
            answers.append(answer.status)
    assert answers == [204, 204, 429]


async def test_other_methods_and_paths(client: ClientSession) -> None:
    for path, status in (("/telemetry/v1/servers/codex", 405), ("/nothing", 404), ("/telemetry/v1/servers/", 404)):
        async with client.get(path) as answer:
            assert answer.status == status


STATE = ("mcp_exporter_state_success", frozenset[tuple[str, str]]())


async def test_a_goodbye_is_acknowledged_only_when_it_is_durable(client: ClientSession, exporter: Running) -> None:
    assert (await scrape(client))[STATE] == 1
    still, goodbye = (encode(body(final=final, cache=Cache(requests=2, hits=2))) for final in (False, True))

    def full(*_: object) -> None:
        raise StateNotWrittenError("the disk is full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("exporter.state.StateFile.save", full)
        for pushed, status in ((still, 204), (goodbye, 503), (goodbye, 503)):
            async with client.post(PUSH, data=pushed, headers=JSON) as answer:
                assert answer.status == status
        found = await scrape(client)
        assert value(found, "mcp_server_cache_hits_total") == 2, "shown all the same, and once"
        assert found[STATE] == 0
    async with client.post(PUSH, data=goodbye, headers=JSON) as answer:
        assert answer.status == 204, "the sender tried again"
    assert (await scrape(client))[STATE] == 1
    assert exporter.snapshot.ready


async def test_a_stop_keeps_what_nobody_scraped(tmp_path: Path, settings: Settings) -> None:
    fleet = make_fleet(tmp_path)
    pushed = encode(body(cache=Cache(requests=2, hits=2)))
    async with (
        running(fleet, settings) as first,
        ClientSession(first.address.url) as client,
        client.post(PUSH, data=pushed, headers=JSON) as answer,
    ):
        assert answer.status == 204
    async with running(fleet, settings) as second, ClientSession(second.address.url) as client:
        assert value(await scrape(client), "mcp_server_cache_hits_total") == 2


async def test_probe_and_log_of_a_running_exporter(tmp_path: Path, settings: Settings) -> None:
    async def answered(request: web.Request) -> web.Response:
        message = await request.json()
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": []}})

    app = web.Application()
    app.add_routes([web.post("/mcp", answered)])
    log = tmp_path / "calls.log"
    log.touch()
    async with TestServer(app) as server:
        entry = ", probe: {interval_seconds: 0.1}, logs: [{path: calls.log}]"
        file = write_fleet(tmp_path, entry)
        file.write_text(file.read_text().replace("http://127.0.0.1:3001/mcp", str(server.make_url("/mcp"))))
        async with running(load_fleet(file, {}), settings) as exporter, ClientSession(exporter.address.url) as client:
            await ready(client)
            with log.open("a") as opened:
                opened.write('{"duration_ms": 5, "tool": "echo"}\n')
            await shows(client, "mcp_probe_success", {"phase": "tools_list"}, 1)
            await shows(client, "mcp_exporter_log_lines_total", {"result": "matched"}, 1)
            found = await scrape(client)
            assert value(found, "mcp_server_up") == 1
            for source in ("probe", "log"):
                assert value(found, "mcp_exporter_source_success", {"source": source}) == 1
            await server.close()
            await shows(client, "mcp_server_up", {}, 0)
            assert value(await scrape(client), "mcp_probe_success", {"phase": "discover"}) == 0


async def shows(client: ClientSession, name: str, labels: dict[str, str], wanted: float) -> None:
    async with asyncio.timeout(20):
        while value(await scrape(client), name, labels) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
