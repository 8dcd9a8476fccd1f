"""What we know of the servers and how to reach them: the lowest layer.

Here belong the inventory, the threshold table, the signals, the telemetry body, the ways to start and stop a
server, and the few things every program needs (errors, tasks, doors, logs). Nothing here knows that a
gateway, an exporter or a receiver exists, and nothing here imports aiohttp, psutil or prometheus_client: the
stdio wrapper imports fleet and must stay light.
"""
