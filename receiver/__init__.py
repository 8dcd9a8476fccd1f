"""The first responder: takes alerts in, treats servers, proves by measurement that it helped.

Here belong the webhook, the journal, incidents, ladders, guards, verdicts and actions. What is ill is decided by
Prometheus and Alertmanager, never here; how a server is restarted is ``fleet.lifecycle``'s.
"""
