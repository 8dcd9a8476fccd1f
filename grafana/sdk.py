"""Grafana's own types and builders (``grafana-foundation-sdk``), imported in one place.

The types of classic dashboards warn on import that newer ones exist. Those load in Grafana 12 and later only; classic
ones load in all that are in use, so the warning is silenced here and nowhere else.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import common as build_common
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models import common, dashboard
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

__all__ = [
    "JSONEncoder", "PromQueryFormat", "QueryEditorMode", "build", "build_common", "common", "dashboard", "prometheus",
    "register_default_plugins", "stat", "statetimeline", "table", "timeseries",
]  # fmt: skip
