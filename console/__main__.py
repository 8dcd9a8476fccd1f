"""``mcp-medic``: flags in, exit code out; the environment is read in ``frame`` and ``check_config`` only.

Importing a module of ``commands`` is what makes its commands.
"""

from __future__ import annotations

from console.commands import (  # noqa: F401 - they join the group when imported
    acting,
    advice,
    automation,
    checking,
    diagnosing,
    incidents,
    keeping,
    reading,
)
from console.root import main

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="mcp-medic")
