"""The operator's commands.

Here belongs what a person types: it reads the fleet file, asks Prometheus, Alertmanager and the receiver over HTTP, and
says what is so; what it does to a server goes through the receiver. It never imports another program, and it keeps no
figures of its own: each command answers from what was measured.
"""
