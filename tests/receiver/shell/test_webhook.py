"""The door and the inbox: what is taken in, what is refused, and that each is counted once."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator

import pytest

from receiver.answers import MAX_BODY_BYTES
from receiver.metrics import WebhookResult
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import TOKEN, Client, World, alert, until, webhook


async def counted(client: Client) -> dict[str, float]:
    """The results that are not 0."""
    values = {result: await client.metric(f'mcp_remediation_webhooks_total{{result="{result}"}}')
              for result in WebhookResult}  # fmt: skip
    return {str(result): value for result, value in values.items() if value}


async def test_every_result_is_there_at_0_from_the_start(start: Start) -> None:
    async with start() as client:
        assert await counted(client) == {}


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"])
async def test_a_wrong_token_is_401_and_kept_out_of_the_journal(start: Start, authorization: str) -> None:
    async with start() as client:
        status, body = await client.post(webhook(alert("alpha", "error_ratio")), Authorization=authorization)
        assert (status, body) == (401, {"error": "a valid bearer token is needed"})
        assert await counted(client) == {"unauthorized": 1}
        assert await client.incidents() == []


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"Origin": "https://evil.example"}, 403, "a foreign Origin may not post here"),
        ({"Origin": "null"}, 403, "a foreign Origin may not post here"),
        ({"Content_Type": "text/plain"}, 415, "send the body as Content-Type: application/json"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "send the body as Content-Type: application/json"),
        (
            {"Host": "rebound.example"},
            421,
            "this Host is not served here; use the listen address or the configured url",
        ),
    ],
)
async def test_what_a_web_page_could_send_is_refused(
    start: Start, headers: dict[str, str], status: int, error: str
) -> None:
    async with start() as client:
        assert await client.post(webhook(alert("alpha", "error_ratio")), **headers) == (status, {"error": error})
        assert await counted(client) == {"refused": 1}
        assert await client.incidents() == []


async def test_reading_incidents_needs_the_token_and_metrics_and_health_do_not(start: Start) -> None:
    async with start() as client:
        for path in ("/api/v1/incidents", "/api/v1/incidents/alpha-1"):
            assert await client.get(path, token=None) == (401, {"error": "a valid bearer token is needed"})
        for path in ("/metrics", "/-/healthy", "/-/ready"):
            assert (await client.get(path, token=None))[0] == 200
        missing = {"error": "no such incident; see /api/v1/incidents"}
        assert await client.get("/api/v1/incidents/alpha-1") == (404, missing)


async def test_without_tokens_a_loopback_receiver_asks_for_none(world: World, start: Start) -> None:
    world.tokens = False
    async with start() as client:
        assert await client.get("/api/v1/incidents", token=None) == (200, {"incidents": []})


async def test_an_alert_is_kept_before_the_answer_and_opens_an_incident(start: Start) -> None:
    async with start() as client:
        assert await client.post(webhook(alert("alpha", "error_ratio"))) == (200, {"result": "accepted"})
        (incident,) = await client.incidents()
        assert (incident["server"], incident["signals"]) == ("alpha", ["error_ratio"])
        (delivered, *_) = await client.events(incident["id"])
        assert (delivered["seq"], delivered["kind"], delivered["via"]) == (1, "delivered", "webhook")
        assert delivered["alerts"][0]["alertname"] == "Mcp_error_ratio"


async def test_the_same_body_again_changes_nothing(start: Start) -> None:
    async with start() as client:
        body = webhook(alert("alpha", "error_ratio", severity="warning"))
        assert await client.post(body) == (200, {"result": "accepted"})
        for _ in range(3):
            assert await client.post(body) == (200, {"result": "duplicate"})
        (incident,) = await client.incidents()
        # Alertmanager may be asked what a repetition means; what it says is no delivery of the webhook.
        events = await client.events(incident["id"])
        assert [event["via"] for event in events if event["kind"] == "delivered"].count("webhook") == 1
        assert await counted(client) == {"accepted": 1, "duplicate": 3}


async def test_an_unknown_server_is_recorded_and_nothing_is_done(world: World, start: Start) -> None:
    async with start() as client:
        assert await client.post(webhook(alert("../../etc", "down"))) == (200, {"result": "unknown_server"})
        assert await counted(client) == {"unknown_server": 1}
        assert await client.incidents() == []
        assert [peer.asked for peer in world.gateways.values()] == [[], []]


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"null", b'{"version":"3","alerts":[]}', b'{"version":"4"}', b"\xff\xfe", b"{" * 5000],
)
async def test_a_body_that_cannot_be_read_is_put_aside_with_2xx(start: Start, body: bytes) -> None:
    async with start() as client:
        assert await client.post(body) == (200, {"result": "quarantined"})
        assert await client.post(body) == (200, {"result": "duplicate"})
        assert await counted(client) == {"quarantined": 1, "duplicate": 1}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "nonsense"])
async def test_a_compressed_body_is_put_aside_and_never_unpacked(start: Start, encoding: str) -> None:
    async with start() as client:
        packed = gzip.compress(webhook(alert("alpha", "error_ratio")))
        assert await client.post(packed, Content_Encoding=encoding) == (200, {"result": "quarantined"})
        assert await client.incidents() == []


async def test_10_mb_are_put_aside_counted_and_reconciled_at_once(world: World, start: Start) -> None:
    world.alertmanager.activate("alpha", "McpErrorRatioHigh", "error_ratio", "warning")
    async with start() as client:
        opened = await until(client.incidents)
        assert opened[0]["server"] == "alpha"
        world.alertmanager.activate("beta", "McpErrorRatioHigh", "error_ratio", "warning")
        status, body = await client.post(io.BytesIO(webhook(alert("alpha", "down")) + b" " * 10_000_000))
        assert (status, body) == (200, {"result": "too_large"})
        assert await counted(client) == {"too_large": 1}

        async def both() -> bool:
            return len(await client.incidents()) == 2

        await until(both)


async def test_a_body_without_a_length_is_bounded_too(start: Start) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 65536

    async with start() as client:
        assert await client.post(endless()) == (200, {"result": "too_large"})
        assert await counted(client) == {"too_large": 1}


async def test_a_body_of_the_allowed_size_is_read(start: Start) -> None:
    body = webhook(alert("alpha", "error_ratio", severity="warning"))
    async with start() as client:
        assert (await client.post(body + b" " * (MAX_BODY_BYTES - len(body))))[0] == 200


async def test_a_truncated_group_asks_alertmanager_at_once(world: World, start: Start) -> None:
    async with start() as client:

        async def asked() -> bool:
            return world.alertmanager.asked >= 1

        await until(asked)
        world.alertmanager.activate("beta", "McpErrorRatioHigh", "error_ratio", "warning")
        world.alertmanager.activate("alpha", "Mcp_error_ratio", "error_ratio", "warning")
        await client.post(webhook(alert("alpha", "error_ratio", severity="warning"), truncated=3))

        async def both() -> bool:
            return {one["server"] for one in await client.incidents()} == {"alpha", "beta"}

        await until(both)


async def test_a_sender_that_leaves_in_the_middle_is_survived(start: Start) -> None:
    async with start() as client:
        _, writer = await asyncio.open_connection(client.address.host, client.address.port)
        writer.write(
            f"POST /api/v1/alerts HTTP/1.1\r\nHost: {client.address}\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await client.post(webhook(alert("alpha", "error_ratio"))) == (200, {"result": "accepted"})


async def test_other_methods_and_paths_do_not_redirect(start: Start) -> None:
    async with start() as client:
        for path in ("/api/v1/alerts/", "/api/v1/alert", "//api/v1/alerts", "/"):
            async with client.session.post(f"{client.address.url}{path}", data=b"{}", allow_redirects=False) as answer:
                assert answer.status in {404, 405}, path
        async with client.session.get(f"{client.address.url}/api/v1/alerts", allow_redirects=False) as answer:
            assert answer.status == 405


async def test_hostile_labels_only_ever_come_back_as_json(world: World, start: Start) -> None:
    hostile = '$(reboot)"} or vector(1) # {{ .X }} <script> \x1b[2J ' + "A" * 5000
    one = alert("alpha", "error_ratio", severity="warning", name=hostile)
    one["labels"][hostile] = hostile
    async with start() as client:
        assert (await client.post(webhook(one)))[0] == 200

        async def evidence() -> bool:
            found = await client.incidents()
            return bool(found and found[0]["acts"] and found[0]["acts"][0]["ended_at"])

        await until(evidence)
        (incident,) = await client.incidents()
        assert len(incident["firing"][0]["alerts"][0]) == 200
        assert not any("reboot" in query for query in world.prometheus.queries)
        _, text = await client.get("/metrics", token=None)
        assert "reboot" not in text
