"""``mcp-gateway stdio``: one client's gateway to one stdio server, its child.

Here belong the relay of lines between the two, the child's life (start, end, restart in place with the handshake
replayed), and the side thread that reports and takes orders. ``lines``, ``conversation`` and ``handshake`` decide and
are pure; ``spawn`` knows only the operating system, because it runs before anything dear is imported. Never here:
aiohttp, psutil, prometheus_client, or anything that makes a client wait for its own monitoring.
"""
