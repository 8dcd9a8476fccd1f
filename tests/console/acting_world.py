"""A real receiver with its peers, and the console's fleet file that leads to it."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from receiver.app import running
from tests.console.spoken import spoken
from tests.console.typed import Typed
from tests.receiver.shell.peers import AlertmanagerPeer, GatewayPeer, PrometheusPeer
from tests.receiver.shell.world import World, new_world, start_peers

PRODUCTION = (Path(__file__).parent / "data" / "production.toml").read_text()


@dataclass
class Clinic:
    """The servers alpha and beta; alpha has the production file."""

    world: World
    url: str

    @property
    def config(self) -> Path:
        """The console's fleet file: what the receiver reads, with the address that it has."""
        document = json.loads(self.world.fleet_file.read_text())
        document["receiver"]["url"] = self.url
        file = self.world.folder / "console.yml"
        file.write_text(json.dumps(document))
        return file

    @property
    def alpha(self) -> GatewayPeer:
        return self.world.gateways["alpha"]

    @property
    def toml(self) -> Path:
        return self.world.config_file("alpha")

    async def types(
        self, *arguments: str, columns: int = 80, config: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Typed:
        return await spoken(*arguments, "--config", config or self.config, columns=columns, environ=environ)


@contextlib.asynccontextmanager
async def clinic(
    *, running_receiver: bool = True, prepared: Callable[[World], object] = lambda _: None
) -> AsyncIterator[Clinic]:
    """Peers, files and, where wanted, a receiver in this process; ``prepared`` sets the world up before it starts."""
    # Not tmp_path: a unix socket's address must stay short.
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            world = new_world(Path(folder), PrometheusPeer(), AlertmanagerPeer())
            await start_peers(world, stack)
            world.give_config("alpha", PRODUCTION)
            prepared(world)
            url = "http://127.0.0.1:9"  # discard: nobody listens there
            if running_receiver:
                url = (await stack.enter_async_context(running(world.settings()))).address.url
            yield Clinic(world, url)
