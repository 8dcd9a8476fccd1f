"""Each command with each needed service away: exit code 3, the address named, and what can still be said is said."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stack.ports import free_ports
from tests.console.acting_world import Clinic, clinic
from tests.console.conftest import Remembered
from tests.console.examples import commands, example_of
from tests.console.spoken import spoken
from tests.console.typed import Typed
from tests.redis_servers import RedisServer

pytestmark = [pytest.mark.prometheus, pytest.mark.redis, pytest.mark.timeout(600)]

SERVER = "alpha"
ACTS = {
    "start", "stop", "restart", "reset-cache", "emergency", "recover", "high-load", "low-load", "debug-mode", "restore",
    "approve",
}  # fmt: skip
"""What is only asked for here: its end is the receiver's matter."""
READS = {"performance", "metrics", "alerts", "review", "report", "security", "baseline", "recommendations", "optimize"}
MORE = {
    "optimize": ["optimize", SERVER],
    "alerts now": ["alerts"],
    "restore": ["restore", SERVER, "--yes"],
}
"""What is asked for beside the examples of the commands' help, or instead: no benchmark."""

NEEDS = {
    "prometheus": READS | {"alerts now", "deploy", "health-check"},
    "alertmanager": {"alerts now", "health-check"},
    "receiver": ACTS | {"alerts", "deny", "health-check", "incidents", "pause", "resume", "review"},
    "redis": {"security", "health-check"},
}
"""What cannot be said or done in full without which service."""


@dataclass
class Surroundings:
    """All services, and the fleet file that leads to them."""

    clinic: Clinic
    urls: dict[str, str]

    def without(self, service: str) -> tuple[Path, str]:
        """A fleet file in which nobody listens where ``service`` should be, and that place."""
        place, nobody = (f"127.0.0.1:{port}" for port in free_ports(2))
        urls = self.urls | {service: f"{'redis' if service == 'redis' else 'http'}://{place}"}
        document = json.loads(self.clinic.config.read_text())
        for name in ("prometheus", "alertmanager", "receiver", "redis"):
            document.setdefault(name, {})["url"] = urls[name]
        # Nor do an exporter, a gateway and the servers themselves listen.
        document |= {"exporter": {"url": f"http://{nobody}"}}
        document["gateway"]["listen"] = nobody
        for each in document["servers"]:
            each |= {"url": f"http://{nobody}/mcp", "sessions": {"redis_pattern": "mcp:session:*"}}
        file = self.clinic.world.folder / f"without-{service}.yml"
        file.write_text(json.dumps(document))
        return file, place


async def quiet(request: web.Request) -> web.Response:
    """An Alertmanager without alerts."""
    return web.json_response([] if request.path.endswith("alerts") else {"config": {"original": "route: {}"}})


@pytest.fixture
async def surroundings(redis_server: RedisServer, remembering: Remembered) -> AsyncIterator[Surroundings]:
    """Prometheus, the receiver and Redis are real."""
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", quiet)
    async with TestServer(application, host="127.0.0.1") as alertmanager, clinic() as world:
        urls = {"prometheus": remembering.url, "alertmanager": f"http://127.0.0.1:{alertmanager.port}"}
        yield Surroundings(world, urls | {"receiver": world.url, "redis": redis_server.url})


async def said(config: Path, name: str) -> Typed:
    arguments = MORE.get(name) or example_of(name, SERVER)
    return await spoken(*arguments, *(["--no-wait"] if name in ACTS else []), "--config", config)


@pytest.mark.parametrize("service", NEEDS)
async def test_who_needs_a_service_that_is_away_names_it(surroundings: Surroundings, service: str) -> None:
    config, place = surroundings.without(service)
    ends = {name: await said(config, name) for name in {*commands(), *MORE}}
    assert {name for name, told in ends.items() if told.code == 3} == NEEDS[service]
    for name, told in ends.items():
        text = told.out + told.err
        assert "Traceback" not in text, name
        assert told.code in {0, 1, 3}, (name, text)
        if told.code == 3:
            assert place in re.sub(r"\s", "", text), (name, text)
            others = [url for other, url in surroundings.urls.items() if other != service]
            unreachable = re.findall(r"at (\S+) cannot be reached", " ".join(text.split()))
            assert not set(unreachable) & set(others), (name, text)


async def test_a_check_of_a_service_that_is_away_fails_and_names_it(surroundings: Surroundings) -> None:
    config, place = surroundings.without("redis")
    told = await said(config, "test")
    assert told.code == 1
    assert place in re.sub(r"\s", "", told.out)


async def test_who_fails_in_part_still_says_the_rest(surroundings: Surroundings) -> None:
    config, place = surroundings.without("prometheus")
    told = await spoken("security", SERVER, "--config", config)
    assert told.code == 3
    assert "audit_logging" in told.out
    assert f"http://{place}" in re.sub(r"\s", "", told.out)
    told = await spoken("security", SERVER, "--json", "--config", config)
    assert [gap["address"] for gap in told.json["unreachable"]] == [f"http://{place}"] * len(told.json["unreachable"])
    assert told.json["servers"]
