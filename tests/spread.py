"""How the tests are spread over the workers of one run. Most of the suite waits, so there are more workers than cores.

The tests of one file stay in one worker, which sets up once what they share; files of long tests are dealt out test by
test. Whole loops run in LANES, one after the other in each: many at once would starve each other's scrapes.
"""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

LOOPS: Final = "tests/e2e/"
LANES: Final = ("tests/e2e/test_treatment.py", LOOPS)
"""Where whole loops are, as beginnings of their tests' ids; each test belongs to the first that fits."""

APART: Final = (
    "tests/grafana/test_panels_have_data.py",
    "tests/receiver/shell/test_process.py",
    "tests/gateway/stdio/test_stdio_restart.py",
    "tests/receiver/shell/test_by_hand.py",
    "tests/gateway/stdio/test_stdio_relay.py",
    "tests/rules/test_alerts_beside_the_table.py",
)
"""Files whose tests last long together and share nothing: each test goes to whoever is free."""

FIRST: Final = (
    *LANES,
    *APART,
    "tests/examples/test_server_and_client.py",
    "tests/rules/test_objectives.py",
    "tests/gateway/test_switched_on.py",
    "tests/gateway/test_switching.py",
)
"""What starts before all else, in this order: what begins late must not last long."""

_NICER: Final = 5


class Spread(LoadScopeScheduling):  # type: ignore[misc] # xdist brings no types
    """Deals out groups in the order of their first tests."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """What of a run stays together with this test, in one worker and in order."""
    file = nodeid.partition("::")[0]
    lane = next((lane for lane in LANES if nodeid.startswith(lane)), None)
    return lane or (nodeid if file in APART else file)


def place_of(nodeid: str) -> int:
    """How early this test starts; of two with the same place the one that was collected first."""
    return next((place for place, begins in enumerate(FIRST) if nodeid.startswith(begins)), len(FIRST))


class Yielding:
    """Lets whole loops have the cores first: a worker gives way from its first other test on."""

    def __init__(self) -> None:
        self._gives_way = False

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if not self._gives_way and not item.nodeid.startswith(LOOPS):
            self._gives_way = True
            os.nice(_NICER)
