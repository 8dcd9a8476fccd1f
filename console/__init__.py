"""The operator's commands.

Here belongs what a person types: it reads the fleet file, and later Prometheus and the receiver over HTTP, and
says what is so. It never imports another program: they meet in HTTP.
"""
