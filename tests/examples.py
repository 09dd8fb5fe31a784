"""How many examples a property is shown: few in `make test`, many in `make test-slow`."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("DRIPWATCH_EXAMPLES", "1"))


def examples(number: int) -> int:
    """Return the number of examples, times what the environment asks for."""
    return number * TIMES
