"""``mcp-gateway``: which of its two programs is meant."""

from __future__ import annotations

import sys


def main() -> int:
    """The command. Exit 0 after a signal, 1 after a fault or for a wrong configuration, 2 for wrong use.

    ``stdio`` ends with its server's exit status.
    """
    # Imported only when it is known which: a stdio server is started before anything dear is imported.
    if sys.argv[1:2] == ["stdio"]:
        from gateway.stdio.program import main as stdio  # noqa: PLC0415

        return stdio(sys.argv[2:])
    from gateway.program import main as http  # noqa: PLC0415

    return http()


if __name__ == "__main__":
    sys.exit(main())
