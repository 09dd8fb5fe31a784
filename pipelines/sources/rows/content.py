"""The bytes of a delivered file: decompressed by content, turned into UTF-8, hashed."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from pipelines.base.errors import DeliveryError

_CHUNK = 1 << 20
_BROKEN = "dripwatch-broken-bytes"
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html")
_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\xfd7zXZ\x00": "something packed by xz",
    b"\x28\xb5\x2f\xfd": "something packed by zstd",
    b"\x1f\x8b": "something packed by gzip twice",
    b"BZh": "something packed by bzip2",
}
#: What compressed or damaged files raise; their texts can quote content, so none is passed on.
_DAMAGE = (OSError, EOFError, zlib.error, UnicodeError)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Stand an unpaired surrogate in for bytes that the encoding does not know."""
    end = error.end if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else 0
    return "\udcff", end


codecs.register_error(_BROKEN, _mark)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn whatever a damaged file raises into one error that quotes nothing of it."""
    try:
        yield
    except _DAMAGE as error:
        raise fault(error, where) from None


def fault(error: Exception, where: str) -> DeliveryError:
    """Return the error that tells why a file could not be read, without its name or content."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        return DeliveryError(
            "A delivered file may not be read by this account.",
            where=where,
            remedy="Let the account that runs Dripwatch read it; the file itself may be whole.",
            next_run="Stops here again until it may be read; nothing of it was applied.",
        )
    if number == errno.ELOOP:
        return no_plain_file(where)
    return damaged(where)


def no_plain_file(where: str) -> DeliveryError:
    """Return the error for what lies in a delivery and is no file of its own."""
    return DeliveryError(
        "A delivery holds something that is no plain file: a folder, a link or a device.",
        where=where,
        remedy="Deliver the files themselves, side by side in one folder.",
        next_run="Stops here again until it is replaced or taken out; nothing was applied.",
    )


def damaged(where: str, what: str = "A delivered file is damaged or cut off.") -> DeliveryError:
    """Return the error for a file that cannot be read to its end."""
    return DeliveryError(
        what,
        where=where,
        remedy="Ask the sender for the file again, whole.",
        next_run="Stops here again until the file is replaced; nothing of it was applied.",
    )


def foreign(where: str, what: str, remedy: str) -> DeliveryError:
    """Return the error for a file that holds something else than data."""
    return DeliveryError(
        f"A delivered file holds no data but {what}.",
        where=where,
        remedy=remedy,
        next_run="Stops here again until the file is replaced; nothing of it was applied.",
    )


def check_head(head: bytes, where: str) -> None:
    """Look at the first bytes of a file's content, decompressed where that was gzip.

    An archive is never unpacked: its names could lead out of the folder.

    Errors:
        DeliveryError: it is a Git LFS pointer, an archive, otherwise compressed, or a web page.
    """
    if head.startswith(_LFS):
        remedy = "Have the sender run `git lfs pull` and deliver the files themselves."
        raise foreign(where, "a Git LFS pointer, which only names them", remedy)
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            raise foreign(where, kind, "Unpack it: deliver the files themselves, plain or gzip.")
    if head[257:262] == b"ustar":
        remedy = "Unpack it: deliver the files themselves, plain or gzip."
        raise foreign(where, "a tar archive", remedy)
    if head[:512].removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_PAGES):
        remedy = "Look at it in a browser: the download failed. Then ask for the file again."
        raise foreign(where, "a web page", remedy)


def open_plain(path: Path) -> BinaryIO:
    """Open a delivered file's bytes; a link is never followed: it could lead to the site's key.

    Errors:
        OSError: it is no plain file, or cannot be opened.
    """
    # without O_NONBLOCK a pipe would wait for its writer for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "no plain file")
    return os.fdopen(descriptor, "rb")


def open_content(path: Path) -> IO[bytes]:
    """Open a file's content, decompressed where it starts as gzip does."""
    stream = open_plain(path)
    magic = stream.read(2)
    stream.seek(0)
    if magic != b"\x1f\x8b":
        return stream
    unpacked = gzip.GzipFile(fileobj=stream, mode="rb")
    unpacked.myfileobj = cast("io.FileIO", stream)  # so that it closes the file too
    return cast("IO[bytes]", unpacked)


def content_hash(path: Path, where: str) -> str:
    """Return the SHA-256 of a file's decompressed content, 64 hex digits.

    Errors:
        DeliveryError: the file is damaged or unreadable.
    """
    digest = hashlib.sha256()
    with reading(where), open_content(path) as stream:
        chunk = stream.read(_CHUNK)
        check_head(chunk, where)
        while chunk:
            digest.update(chunk)
            chunk = stream.read(_CHUNK)
    return digest.hexdigest()


class Utf8Content(io.RawIOBase):
    """A file's content as UTF-8 bytes, hashed as it was before.

    Bytes that the declared encoding does not know become bytes that UTF-8 does not know, so that
    the record they stand in is found unreadable, and no other.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        super().__init__()
        self._stream = open_content(path)
        self._digest = hashlib.sha256()
        name = codecs.lookup(encoding).name
        self._decoder = (
            None if name in ("utf-8", "ascii") else codecs.getincrementaldecoder(name)(_BROKEN)
        )
        self._ready = b""
        self._ended = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the content read so far, before it was turned into UTF-8."""
        return self._digest.hexdigest()

    def readable(self) -> bool:
        """Return True: pyarrow asks."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # any buffer
        """Fill a buffer with the next bytes; 0 at the end."""
        while not self._ready and not self._ended:
            self._fetch(max(len(buffer), _CHUNK))
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def _fetch(self, size: int) -> None:
        chunk = self._stream.read(size)
        self._ended = not chunk
        self._digest.update(chunk)
        if self._decoder is None:
            self._ready = chunk
        else:
            text = self._decoder.decode(chunk, final=self._ended)
            self._ready = text.encode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()
