"""What people see: dashboards as code, the JSON that Grafana loads, and its provisioning.

Belongs here: code that turns ``fleet.signals`` into dashboards, the committed JSON, provisioning files. Never here:
an expression that alerts or verdicts use (``fleet.signals`` has it, ``rules`` records it), alerting by Grafana
(Prometheus and Alertmanager are the judges), anything that talks to a network.
"""
