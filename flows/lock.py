"""One run at a time on a site: a kernel lock that a crash gives back, and a note that outlives it.

The lock is the kernel's, on a file; it goes with its process, however that ends. The file's text
says who holds it. A run that ends empties it; so a text in a file that nobody holds is of a run
that was cut short.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pipelines.base.errors import LockedError
from pipelines.base.files import make_private
from pipelines.base.storage import refuse_foreign, storing

_LOOKS_SECONDS = 2.0


@dataclass(frozen=True)
class Holder:
    """Who has, or had, a site's lock.

    Attributes:
        pid: process id; 0 where the file does not tell.
        run_id: the run; empty for work that is none, such as the release of a batch.
        host: name of the machine, which matters where its disk is a network's.
        since: by the clock of that machine, UTC; empty where the file does not tell.
    """

    pid: int = 0
    run_id: str = ""
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}" if self.pid else "another process"
        what = f" (run {self.run_id})" if self.run_id else ""
        return f"{who}{what}" + (f", since {self.since} UTC" if self.since else "")


class Lockable(Protocol):
    """What is worked on by one at a time: a site, or a coordinator."""

    @property
    def restricted(self) -> Path:
        """Folder that the lock lies in."""


def lock_path(site: Lockable) -> Path:
    """Return the path of the lock file."""
    return site.restricted / "refresh.lock"


def holder(path: Path) -> Holder | None:
    """Return who holds the lock, None if nobody does.

    The file stays behind after a run; only the kernel's lock on it counts.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _noted(handle) or Holder()
    finally:
        os.close(handle)
    return None


@contextmanager
def site_lock(site: Lockable, run_id: str = "") -> Iterator[Holder | None]:
    """Hold the site's lock while the `with` block lasts.

    Args:
        site: what is worked on.
        run_id: the run that does it, for people who find it locked.

    Yields:
        who had it before and was cut short; None where whoever had it came to an end.

    Errors:
        LockedError: another process holds it; the message names it.
        StorageError: the restricted folder is another account's.
    """
    path = lock_path(site)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    told = Holder(os.getpid(), run_id, socket.gethostname(), now)
    with storing("taking the lock", path):
        if site.restricted.exists():
            refuse_foreign(site.restricted)
        make_private(site.restricted)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with storing("taking the lock", path):
            _take(handle, path)
            before = _noted(handle)
            _note(handle, json.dumps(asdict(told)))
        try:
            yield before
        except Exception:
            _forget(handle)  # an error is an end; ctrl-C and SIGTERM cut short
            raise
        _forget(handle)
    finally:
        os.close(handle)


def _noted(handle: int) -> Holder | None:
    text = os.pread(handle, 4096, 0)
    if not text.strip():
        return None
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return Holder()  # cut off, or of another version


def _note(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)
    os.fsync(handle)


def _forget(handle: int) -> None:
    with suppress(OSError):  # at worst the next run takes this one for cut short
        _note(handle, "")


def _take(handle: int, path: Path) -> None:
    """Take the lock; whoever only looks who has it (`holder`) has it for an instant, too."""
    until = time.monotonic() + _LOOKS_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = holder(path)
            if who is not None or time.monotonic() >= until:
                raise _locked(path, who or Holder()) from None
        time.sleep(0.005)


def _locked(path: Path, who: Holder) -> LockedError:
    return LockedError(
        f"Another run is at work on this site: {who}.",
        where=str(path),
        remedy="Wait until it ends. The lock goes with its process; never delete the file.",
        next_run="Starts as soon as the lock is free, and loses nothing.",
    )
