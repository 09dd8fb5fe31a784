"""What the operating system refuses, in words of this project: full, read-only, another's, gone.

Names of files are told only where they are ours: a delivered file may be named after a patient.
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pipelines.base.errors import PassingStorageError, StorageError

#: Faults that pass by themselves: a busy file, a network file system that blinks.
PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNRESET,
    }
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
_MANY = frozenset({errno.EMFILE, errno.ENFILE})

_NEXT = "The next run continues from the last committed batch."


def errno_in(text: str) -> int | None:
    """Return the number of the system's error that a library's message quotes, None without one."""
    if "fsync failed" in text:  # DuckDB's only words for EIO there
        return errno.EIO
    known = sorted({*PASSING, *_FULL, *_REFUSED, *_MANY, errno.EROFS, errno.ENOENT, errno.EFBIG})
    return next((number for number in known if os.strerror(number) in text), None)


def refused_by_system(error: BaseException) -> int | None:
    """Return the number of the system's error that an exception is, or quotes; None without one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return errno_in(str(error))


def storage_error(number: int, doing: str, where: str, path: Path | None = None) -> StorageError:
    """Return the error for users of what the operating system refused.

    Args:
        number: errno.
        doing: what was being done, as in "applying a batch".
        where: the place, as it may be shown.
        path: the file or folder, to find out whose it is; it is not shown.
    """
    if number in _FULL:
        what = f"The disk is full ({doing})."
        remedy = "Free disk space (`dripwatch doctor` says how much is needed) and run again."
    elif number == errno.EROFS:
        what = f"The disk is read-only ({doing})."
        remedy = "Mount it for writing, or name another folder in `[paths]` of site.toml."
    elif number in _REFUSED:
        what = f"The system refused access: {os.strerror(number)} ({doing})."
        remedy = _whose(path) or "Mend the permissions of the file and of its folder."
    elif number in _MANY:
        what = f"Too many files are open ({doing})."
        remedy = "Raise the limit of open files (`ulimit -n`) of the account of the refresh."
    else:
        what = f"The file cannot be read or written: {os.strerror(number)} ({doing})."
        remedy = "Check that the folder exists and that its disk is well (`dmesg`)."
    kind = PassingStorageError if number in PASSING else StorageError
    return kind(what, where=where, remedy=remedy, next_run=_NEXT)


def database_error(
    error: duckdb.Error, doing: str, where: str, path: Path | None = None
) -> StorageError | None:
    """Return the error for users where a disk or memory that is full made DuckDB fail, else None.

    Args:
        error: its text may quote a patient's value and is not passed on.
        doing: what was being done, as in "applying a batch".
        where: the place, as it may be shown.
        path: the file or folder, to find out whose it is; it is not shown.
    """
    number = errno_in(str(error))
    if number is not None:
        return storage_error(number, doing, where, path)
    if isinstance(error, duckdb.OutOfMemoryException):
        return StorageError(
            f"The memory limit or the room for spill files does not suffice ({doing}).",
            where=where,
            remedy="Raise `[resources] memory_limit` in site.toml or free disk space.",
            next_run=_NEXT,
        )
    return None


@contextmanager
def storing(doing: str, path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into an error for users.

    Args:
        doing: what is being done, as in "writing the event log".
        path: a file or folder of ours; it is shown.

    Errors:
        StorageError: something cannot be written, read or replaced; `PassingStorageError` where
            trying again can help.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error.errno or errno.EIO, doing, str(path), path) from None


def refuse_foreign(path: Path) -> None:
    """Refuse what belongs to another account than the one that runs this.

    The system would not refuse root, who would leave files behind that the nightly account can't
    open the next night.

    Errors:
        StorageError: the file or folder is another account's.
    """
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise StorageError(
            f"The restricted folder is of account {_account(owner)}, and this is "
            f"{_account(os.geteuid())}.",
            where=str(path),
            remedy=_remedy(owner),
            next_run="Stops here again; nothing was read or written.",
        )


def _whose(path: Path | None) -> str:
    """Return what to do where a path, or the first folder above it, is another account's."""
    for one in (path, *path.parents) if path else ():
        try:
            owner = one.stat().st_uid
        except OSError:
            continue
        return "" if owner == os.geteuid() else _remedy(owner)
    return ""


def _remedy(owner: int) -> str:
    ours, theirs = _account(os.geteuid()), _account(owner)
    return f"Run it as {theirs} (`sudo -u {theirs}`), or give the folder to {ours} (`chown -R`)."


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
