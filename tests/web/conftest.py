"""The marker of what is looked at in a browser."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "web: draws in a headless Chromium; only where MCP_MEDIC_WEB=1")
