"""Files that survive a crash: hash, write aside, fsync, replace."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def sha256_hex(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the concatenated chunks as 64 hex digits."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file or folder to disk, so that a later rename cannot outlive its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_durably(source: Path, target: Path) -> None:
    """Rename `source` over `target`; after a power cut one of the two whole files is there."""
    fsync_path(source)
    source.replace(target)
    fsync_path(target.parent)


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole file beside `path` and swap it in; readers never see half of it."""
    # One name for all writers: what a killed one left is written over by the next.
    aside = path.with_name(f".{path.name}.tmp")
    aside.unlink(missing_ok=True)
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        replace_durably(aside, path)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def append_line(path: Path, line: str) -> None:
    """Add a line to a file that only its owner may read (0600); it is on the disk on return.

    Whoever reads must leave out a line that makes no sense: a crash may have cut it off.

    Errors:
        OSError: it cannot be written; at most a part of the line is there.
    """
    # A run that is refused because another one is at work writes its log of runs beside it.
    with alone_with(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        is_cut_off = size > 0 and os.pread(stream.fileno(), 1, size - 1) != b"\n"
        stream.write(b"\n" * is_cut_off + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if not size:
        fsync_path(path.parent)


@contextmanager
def alone_with(path: Path) -> Iterator[BinaryIO]:
    """Lend a file (0600, made where it is not there) to one at a time; what is written is added.

    Whoever waited while another swapped in a new file gets the new one.

    Errors:
        OSError: it cannot be opened.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                yield stream
                return


def make_private(folder: Path) -> Path:
    """Create a folder that only its owner can enter (0700) and return it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder
