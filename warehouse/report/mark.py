"""Which state of a warehouse a page tells of: read from its head, without making anything."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import metadata, resources
from pathlib import Path

_MARK = re.compile(r'<meta name="dripwatch-report" content="([^"]*)">')
_HEAD_BYTES = 4096


@cache
def _own_hash() -> str:
    """Return a hash of what makes the page: it is made again where that has changed."""
    own = resources.files(__package__)
    texts = {one.name: one for one in own.iterdir() if one.name.endswith((".py", ".html", ".css"))}
    told = b"\0".join(name.encode() + texts[name].read_bytes() for name in sorted(texts))
    return hashlib.sha256(told).hexdigest()[:16]


def mark(state: str, min_cell: int) -> str:
    """Return what a page says of itself: state of the warehouse, smallest count, software."""
    return f"{state} {min_cell} {metadata.version('dripwatch')} {_own_hash()}"


def is_current(path: Path, state: str | None, min_cell: int) -> bool:
    """Whether a page tells of this state of the warehouse, made by this software."""
    if not path.is_file():
        return state is None
    with path.open(encoding="utf-8", errors="replace") as file:
        found = _MARK.search(file.read(_HEAD_BYTES))
    return found is not None and state is not None and found[1] == mark(state, min_cell)
