"""Files that hold a secret: read only where nobody else can have read or changed them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipelines.base.errors import KeyFileError

_MOST_BYTES = 65536


def read_private(path: Path, name: str, absent: KeyFileError) -> str:
    """Return the text of a key's file; judged after opening, so it cannot be swapped between.

    Args:
        path: the file.
        name: what it is, as a sentence begins: `The key file`.
        absent: raised where there is none.

    Returns:
        What is in it; a byte that is not ASCII is a replacement character, and so no hex digit.

    Errors:
        KeyFileError: it is absent, a link, no file, another account's, or others may touch it.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise absent from None
    except OSError as error:
        raise KeyFileError(
            f"{name} cannot be opened: {error.strerror}.",
            where=str(path),
            remedy="Name the file itself, no link to it, owned by the account of the refresh.",
        ) from None
    try:
        _check(os.fstat(handle), path, name)
        return os.read(handle, _MOST_BYTES).decode("ascii", "replace")
    finally:
        os.close(handle)


def _check(found: os.stat_result, path: Path, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(
            f"{name} is not a regular file.",
            where=str(path),
            remedy="It must be a file with hex digits in it.",
        )
    if found.st_mode & 0o7177:
        raise KeyFileError(
            f"{name} has mode {stat.S_IMODE(found.st_mode):04o}; others may read it.",
            where=str(path),
            remedy=f"chmod 600 {path}",
        )
    if found.st_uid != os.geteuid():
        raise KeyFileError(
            f"{name} belongs to another account.",
            where=str(path),
            remedy="chown it to the account that runs the refresh.",
        )
