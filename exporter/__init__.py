"""Publishes the vitals of every configured server for Prometheus.

Here belong the sources that learn facts, the one store that keeps the last known ones, the pure merging of
several witnesses of one server, and the door through which gateways push. Never here: judging (that is
Prometheus' work, by the shipped rules), treating, or anything that makes a scrape wait for a source.
"""
