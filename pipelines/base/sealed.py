"""Files that are encrypted one by one, where a site says so: written, read, told from plain ones.

Where a site encrypts, a plain file is not read: whoever cannot seal one could have put it there.
The format is `pipelines.base.stream`'s.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, cast

from pipelines.base import vault
from pipelines.base.errors import ConfigError, DripwatchError, LogError
from pipelines.base.files import replace_durably, write_durably
from pipelines.base.generations import newest
from pipelines.base.stream import CHUNK, MAGIC, Opened, Sealer
from pipelines.base.stream import SealedError as SealedError  # part of what this module offers

#: Whether plain files are read where a site encrypts; see `believing_plain`.
_IS_BELIEVED: ContextVar[bool] = ContextVar("is_believed", default=False)


def sealed_with(path: Path) -> bytes | None:
    """Return which secret a file is sealed with, by its id; None for a plain file.

    Errors:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(len(MAGIC) + vault.KEY_ID_BYTES)
    return head[len(MAGIC) :] if head.startswith(MAGIC) else None


@contextmanager
def writing(stream: BinaryIO, path: Path, *, always: bool = False) -> Iterator[BinaryIO]:
    """Lend what a file's content is written to: sealed where the folder's site says so.

    Args:
        stream: takes the bytes of the file; it stays open.
        path: where the file will lie: its place is sealed with it.
        always: whatever the site says.

    Errors:
        KeyFileError: the site's key cannot be read.
    """
    if not always and not vault.encrypts(path):
        yield stream
        return
    sink = Sealer(stream, vault.masters(path)[0], path)
    yield cast("BinaryIO", sink)
    sink.finish()


@contextmanager
def believing_plain() -> Iterator[None]:
    """Read plain files, too, for as long as the block lasts: they are to be sealed."""
    token = _IS_BELIEVED.set(True)
    try:
        yield
    finally:
        _IS_BELIEVED.reset(token)


def is_begun(log: Path) -> bool:
    """Return whether any file of a generation of the log is sealed.

    Errors:
        OSError: one cannot be read.
    """
    files = (path for path in log.rglob("*") if path.suffix in {".json", ".avro"})
    return any(sealed_with(path) is not None for path in files if path.is_file())


@contextmanager
def reading(path: Path, *, always: bool = False) -> Iterator[tuple[BinaryIO, int]]:
    """Lend a file's content to read and seek in, and its length in bytes.

    Reading raises SealedError where a chunk is not what was written. Of a sealed file, the last
    chunk has been checked before anything is lent: one that was cut off is not begun.

    Args:
        path: the file, sealed or, where its site does not encrypt, plain.
        always: it is always sealed, whatever the site says: a plain one is damaged.

    Errors:
        OSError: it cannot be read.
        SealedError: it is damaged or cut off, or another file of the site in this one's place.
        KeyFileError: no secret of the site's key opens it.
        ConfigError: it is plain and its site encrypts, and nothing is sealed yet.
        LogError: it is plain among files that are sealed.
    """
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            if always:
                raise SealedError
            if vault.encrypts(path) and not _IS_BELIEVED.get():
                raise _plain(path)
            stream.seek(0)
            yield stream, os.fstat(stream.fileno()).st_size
            return
        opened = Opened(stream, path)
        yield cast("BinaryIO", opened), opened.n_bytes


def read_bytes(path: Path, *, always: bool = False) -> bytes:
    """Return a small file's content.

    Errors:
        OSError, SealedError, KeyFileError, ConfigError, LogError: as `reading`.
    """
    with reading(path, always=always) as (stream, _):
        return stream.read()


def _plain(path: Path) -> DripwatchError:
    """Return the error of a plain file where none is believed."""
    folder = vault.folder_of(path)
    if folder is not None and not is_begun(newest(folder)):
        return ConfigError(
            "site.toml asks for encryption, and the event log is not encrypted.",
            where=str(path),
            remedy="Run `dripwatch encrypt`. If it was encrypted before, somebody has exchanged "
            "it: restore the log from its backup instead.",
            next_run="stops here again; nothing was read or written",
        )
    return LogError(
        "A plain file lies among encrypted ones: it was not written by a run of this site.",
        where=str(path),
        remedy="Restore it from its backup. Where you know that it is right, have all of it "
        "written plain first: `encrypt = false` (and `idmap = false` for as long; the map stays "
        "sealed), `dripwatch encrypt`, then both as before, `dripwatch encrypt`.",
        next_run="stops here again; nothing is taken from a plain file",
    )


def write_bytes(path: Path, data: bytes, *, always: bool = False) -> None:
    """Swap in a small file (0600), sealed always or where the site says so; on disk on return.

    Errors:
        OSError: it cannot be written.
        KeyFileError: the site's key cannot be read.
    """
    whole = io.BytesIO()
    with writing(whole, path, always=always) as stream:
        stream.write(data)
    write_durably(path, whole.getvalue(), mode=0o600)


def seal(data: bytes, path: Path) -> bytes:
    """Return bytes as a sealed file at this path holds them: one entry of a file that grows.

    Errors:
        KeyFileError: the site's key cannot be read.
    """
    whole = io.BytesIO()
    with writing(whole, path, always=True) as stream:
        stream.write(data)
    return whole.getvalue()


def unseal(data: bytes, path: Path) -> bytes:
    """Return what `seal` was given.

    Errors:
        SealedError: it is damaged, or sealed for another file.
        KeyFileError: no secret of the site's key opens it.
    """
    if not data.startswith(MAGIC):
        raise SealedError
    return Opened(io.BytesIO(data), path).read()


def copy(source: Path, target: Path) -> None:
    """Copy a file, opened and sealed again under the newest secret, or plain, as the site says.

    Errors:
        OSError, SealedError, KeyFileError, ConfigError, LogError: as `reading`; the target is as
            it was then.
    """
    aside = target.with_name(f".{target.name}.tmp")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(handle, "wb") as out,
            reading(source) as (content, _),
            writing(out, target) as sink,
        ):
            while data := content.read(CHUNK):
                sink.write(data)
        replace_durably(aside, target)
    finally:
        aside.unlink(missing_ok=True)
