"""What Prometheus judges: recording rules, alerting rules, and the script that scales their durations.

Belongs here: code that turns ``fleet.signals`` and the threshold table into rule files, the committed rule files,
and pure reading of PromQL text. Never here: a signal's expression (``fleet.signals`` has it, because verdicts use
the same one), routing (``deploy/alertmanager.yml``), dashboards (``grafana``), anything that talks to a network.
"""
