"""The gateway: stands in the traffic of MCP servers and changes nothing that the operator did not switch on.

Here belong the relay of bytes, the reading of their copies, the figures that follow, the child process that a
server may be, and the control socket. What decides is pure (``jsonrpc``, ``sse``, ``copies``, ``labels``,
``exchange``, ``sessions``, ``ledger``, ``vitals``, ``observation``; ``breaker``, ``caching``, ``admission`` and
``steering``, which asks them: no asyncio); ``http`` reads and writes bytes, a ``passage`` carries one request there
and back, and the ``relay`` holds the listeners. Never here: judging (Prometheus does), treating (the receiver does),
series and labels of an exposition (the exporter's), and anything that would make traffic wait for its own monitoring.
"""
