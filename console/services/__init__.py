"""Clients of what the console asks: one file a service.

Each failure is an ``UnreachableError`` that names service and address, or a ``PermanentError`` with what the service
said. Nothing here knows what an answer is good for.
"""
