"""What every test stands on."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test asserts a time, hypothesis' deadline included: CI's two cores are shared.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")
