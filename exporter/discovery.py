"""The servers as Prometheus' HTTP service discovery wants them: a target group each, to be probed through us. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict
from urllib.parse import urlsplit

from fleet.inventory import Server, Transport


class Group(TypedDict):
    """One target group. ``targets`` is this exporter: the labels say what it is to probe."""

    targets: list[str]
    labels: dict[str, str]


def groups(servers: Iterable[Server], own_url: str) -> list[Group]:
    """A group for each server that can be asked by URL; ``own_url`` is how Prometheus reaches this exporter.

    A stdio server is in none: it is probed in the background where ``probe.spawn`` allows it, never by request.
    """
    own = urlsplit(own_url)
    return [
        {"targets": [own.netloc], "labels": _labels(server, own.scheme)}
        for server in servers
        if server.transport is Transport.HTTP
    ]


def _labels(server: Server, scheme: str) -> dict[str, str]:
    return {
        "__scheme__": scheme,
        "__metrics_path__": "/probe",
        "__param_target": server.name,
        "server": server.name,
        "__meta_mcp_medic_url": server.url,
        "__meta_mcp_medic_transport": server.transport.value,
        "__meta_mcp_medic_probe": "true" if server.probe is not None else "false",
    }
