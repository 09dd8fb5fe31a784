"""One run at a time on a site: a kernel lock that a crash gives back by itself."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.base.errors import LockedError
from pipelines.base.files import make_private
from pipelines.base.site import Site

_LOOKS_SECONDS = 2.0


def lock_path(site: Site) -> Path:
    """Return the path of the site's lock file."""
    return site.restricted / "refresh.lock"


def holder(path: Path) -> int | None:
    """Return the process id that holds the lock, None if nobody does.

    The file stays behind after a run; only the kernel's lock on it counts.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = path.read_text(encoding="ascii", errors="replace").strip()
        return int(text) if text.isdigit() else -1
    finally:
        os.close(handle)
    return None


@contextmanager
def site_lock(site: Site) -> Iterator[None]:
    """Hold the site's lock while the `with` block lasts.

    Errors:
        LockedError: another process holds it; the message names the process.
    """
    make_private(site.restricted)
    path = lock_path(site)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(handle, path)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    """Take the lock; whoever only looks who has it (`holder`) has it for an instant, too."""
    until = time.monotonic() + _LOOKS_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if holder(path) is not None or time.monotonic() >= until:
                raise _locked(path) from None
        time.sleep(0.005)


def _locked(path: Path) -> LockedError:
    pid = holder(path)
    who = f"process {pid}" if pid and pid > 0 else "another process"
    return LockedError(
        f"{who[0].upper()}{who[1:]} is at work on this site.",
        where=str(path),
        remedy="Wait until it ends. The lock goes with its process; never delete the file.",
        next_run="Starts as soon as the lock is free, and loses nothing.",
    )
