"""Turning failures of DuckDB and of the disk into errors that name no value of a patient."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base.errors import DripwatchError, LockedError, LogError, StorageError
from pipelines.base.storage import database_error, errno_in, storage_error

#: How long a writer waits for readers; `explain` has the file open for a second or two.
READERS_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
#: A block's checksum (plain files) or tag (encrypted ones) is another one.
_BROKEN = ("computed checksum", "Computed AES tag differs")
_NEXT = "The next run continues from the last committed batch."


def one_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """Return the row of a statement that always has one (an aggregate, a changed-rows count)."""
    row = result.fetchone()
    if row is None:
        msg = "the statement returned no row"
        raise RuntimeError(msg)
    return tuple(row)


def is_damage(error: duckdb.Error) -> bool:
    """Tell a file that can't be understood from one that can't be reached just now."""
    text = str(error)
    is_passing = _is_held(text) or errno_in(text) is not None
    return not is_passing and not isinstance(error, duckdb.OutOfMemoryException)


def is_broken(error: BaseException | None) -> bool:
    """Tell whether what was read of a database is not what was written: by DuckDB's own words.

    A file can be opened and be like that further in; only who reads the place finds out.
    """
    while error is not None:
        if isinstance(error, duckdb.Error) and any(one in str(error) for one in _BROKEN):
            return True
        error = error.__cause__ or error.__context__
    return False


def broken(doing: str, where: str) -> StorageError:
    """Return the error of a database of which a part is not what was written."""
    return StorageError(
        f"A part of a database is not what was written ({doing}).",
        where=where,
        remedy="Run it again: a refresh makes the site store anew from the log, by itself. If "
        "it comes back, look at the disk (`dmesg`).",
        next_run="Makes the site store anew from the log.",
    )


def roll_back(con: duckdb.DuckDBPyConnection) -> None:
    """End a transaction that failed; what it failed with matters, not whether this can be done.

    After some failures of the disk a connection refuses everything. Its files are well: what was
    not committed is thrown away when they are opened next.
    """
    with suppress(duckdb.Error):
        con.execute("ROLLBACK")


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Do all of a block or nothing of it."""
    con.execute("BEGIN")
    try:
        yield
    except BaseException:
        roll_back(con)
        raise
    con.execute("COMMIT")


def patiently(
    attach: Callable[[], None], seconds: float, say: Callable[[str], None] | None = None
) -> None:
    """Open a database file, again and again for so many seconds while others have it open.

    Args:
        attach: opens the file.
        seconds: how long to go on.
        say: told once that somebody is waited for.

    Errors:
        duckdb.Error: what the last try ended with.
    """
    until, is_told = time.monotonic() + seconds, False
    while True:
        try:
            return attach()
        except duckdb.Error as error:
            if not _is_held(str(error)) or time.monotonic() >= until:
                raise
        if say is not None and not is_told:
            say(
                "The site store is open elsewhere (`explain`, `sql` or another program); waiting "
                f"up to {seconds:g} s for it."
            )
            is_told = True
        time.sleep(_PAUSE_SECONDS)


def _is_held(text: str) -> bool:
    return "Could not set lock" in text or "Conflicting lock" in text


@contextmanager
def guarded(doing: str, path: Path) -> Iterator[None]:
    """Run a step on a database file; library errors become ours, without their text.

    DuckDB quotes the offending value in many of its errors, and a value may be a patient's: only
    the class of the error is passed on.

    Errors:
        LockedError: another process holds the file.
        StorageError: the disk or memory does not suffice, or the file cannot be used.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise _ours(error, doing, path) from None


def _ours(error: duckdb.Error | OSError, doing: str, path: Path) -> DripwatchError:
    text = str(error)
    where = str(path)
    if _is_held(text):
        return LockedError(
            f"Another process holds the file ({doing}).",
            where=where,
            remedy="Close whatever has it open, or wait for the other run.",
            next_run=_NEXT,
        )
    if isinstance(error, OSError) and error.errno is not None:
        return storage_error(error.errno, doing, where, path)
    if isinstance(error, duckdb.Error):
        refused = database_error(error, doing, where, path)
        if refused is not None:
            return refused
    if is_broken(error):
        return broken(doing, where)
    if isinstance(error, duckdb.Error) and is_damage(error) and "not a valid DuckDB" in text:
        return StorageError(
            f"The file is damaged or no DuckDB file ({doing}).",
            where=where,
            remedy="Move it away and refresh: the site store and the warehouse are caches, made "
            "again from the log.",
            next_run=_NEXT,
        )
    if isinstance(error, OSError | duckdb.IOException):
        return StorageError(
            f"The file cannot be read or written: {type(error).__name__} ({doing}).",
            where=where,
            remedy="Check that the folder exists, its permissions, and that its disk is well.",
            next_run=_NEXT,
        )
    return StorageError(
        f"DuckDB refused a statement: {type(error).__name__} ({doing}).",
        where=where,
        remedy="Report it with this text. The site store and the warehouse are caches: deleted, "
        "they are made again from the log.",
        next_run="The next run tries the same again.",
    )


def lost_batches(log_root: Path, batch_ids: list[str]) -> LogError:
    """Return the error of batches that the store has applied and the log no longer has."""
    more = f" and {len(batch_ids) - 1} more" if len(batch_ids) > 1 else ""
    return LogError(
        "A committed batch is gone from the event log, and no later reading replaces it.",
        where=f"{log_root / 'committed' / batch_ids[0]}{more}",
        remedy="Restore its folder from the backup of the log; without it, its records would be "
        "lost from every result.",
        next_run="stops here again until the batch is back; the published warehouse is untouched",
    )
