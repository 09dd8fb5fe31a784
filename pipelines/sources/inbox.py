"""What deliveries said of themselves when they were last read, so that no night reads them again.

An inbox keeps years of deliveries. Whether one was read before depends on its content, and hashing
all of them every night would cost more than the night's work. A delivery is taken to be as it was
where the system says so of each of its files: name, size, times of change, inode. Whoever changes a
file in place moves its ctime, which no program can set back.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.base import sealed
from pipelines.base.errors import DripwatchError
from pipelines.base.files import make_private
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.rows.folders import DeliveryFolder

#: A file that changed less than this before it was hashed may have changed again since, within one
#: tick of its file system's clock (up to 2 s on FAT): it is not trusted.
RACY_SECONDS = 2.0

#: Raised when the file comes to mean something else.
FORMAT = 1

Stats = list[list[str | int]]


class InboxCache:
    """The facts of a site's deliveries by the state of their files; names stay in a 0600 file.

    A cache that cannot be read is as good as an empty one. What is not asked for is forgotten.

    Args:
        path: its file; a folder of its own, 0700.
        code: hash of the code that describes deliveries.
    """

    def __init__(self, path: Path, code: str) -> None:
        self._path = path
        self._head = {"format": FORMAT, "code": code}
        self._known = self._read()
        self._asked: dict[str, dict[str, Any]] = {}

    def facts(
        self, delivery: DeliveryFolder, how: Mapping[str, object], describe: Callable[[], Any]
    ) -> DeliveryFacts:
        """Return what a delivery says about itself, from its files only where they may be new.

        Args:
            delivery: its folder.
            how: everything besides its files that the facts depend on, JSON-ready.
            describe: reads the files; what it raises is passed on.
        """
        before, began_ns = _stats(delivery.path), time.time_ns()
        key = hashlib.sha256(json.dumps(dict(how), sort_keys=True).encode()).hexdigest()
        name = str(delivery.path)
        known = self._known.get(name)
        if known and before is not None and (known["how"], known["files"]) == (key, before):
            self._asked[name] = known
            return _restored(known["facts"], delivery.path)
        facts: DeliveryFacts = describe()
        if before is not None and _is_settled(before, began_ns) and _stats(delivery.path) == before:
            self._asked[name] = {"how": key, "files": before, "facts": _kept(facts)}
        return facts

    def save(self) -> None:
        """Write down what was asked for since it was read, if that has changed.

        Errors:
            OSError: the file cannot be written.
        """
        if self._asked == self._known:
            return
        make_private(self._path.parent)
        text = json.dumps({**self._head, "deliveries": self._asked})
        sealed.write_bytes(self._path, text.encode())
        self._known = dict(self._asked)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            told = json.loads(sealed.read_bytes(self._path))
            known: dict[str, dict[str, Any]] = told.pop("deliveries")
        except _UNREADABLE:
            return {}
        return known if told == self._head else {}


_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    sealed.SealedError,
    DripwatchError,  # of a file that is plain, or under another key
)


def _stats(folder: Path) -> Stats | None:
    """Return name, size, mtime, ctime (ns) and inode of each file; None where all is not files."""
    found: Stats = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                told = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(told.st_mode):
                    return None
                times = [told.st_mtime_ns, told.st_ctime_ns]
                found.append([entry.name, told.st_size, *times, told.st_ino])
    except OSError:
        return None
    return sorted(found)


def _is_settled(stats: Stats, now_ns: int) -> bool:
    latest = max((int(at) for one in stats for at in one[2:4]), default=0)
    return latest + round(RACY_SECONDS * 1e9) <= now_ns


def _kept(facts: DeliveryFacts) -> dict[str, Any]:
    told = asdict(facts)
    told["exported_at"] = facts.exported_at.isoformat()
    told["data_through"] = {name: at.isoformat() for name, at in facts.data_through.items()}
    told["files"] = [{**asdict(one), "path": one.path.name} for one in facts.files]
    return told


def _restored(told: Mapping[str, Any], folder: Path) -> DeliveryFacts:
    files = tuple(replace(DeliveredFile(**one), path=folder / one["path"]) for one in told["files"])
    through = {name: datetime.fromisoformat(at) for name, at in told["data_through"].items()}
    own = {
        **told,
        "exported_at": datetime.fromisoformat(told["exported_at"]),
        "data_through": through,
        "files": files,
        "namespaces": tuple(told["namespaces"]),
        "remarks": tuple(told["remarks"]),
    }
    return DeliveryFacts(**own)
