"""Files of the log that are encrypted one by one, and cannot be changed, cut off or exchanged.

A sealed file is a header and chunks. The header says the format, which secret of the site's key it
was made with (an id that tells nothing about it), and a random salt; the file's own key follows
from both by HKDF. Each chunk is AES-256-GCM (NIST SP 800-38D) of 64 KiB, its nonce the number of
the chunk and whether it is the last: chunks cannot change places, and a file that was cut off
between two of them is noticed. What is authenticated with each chunk is the header and the file's
own name with its folder's: one file cannot stand in for another.

Source: V. T. Hoang, R. Reyhanitabar, P. Rogaway, D. Vizar, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance" (CRYPTO 2015), the construction STREAM.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipelines.base import vault
from pipelines.base.files import replace_durably, write_durably
from pipelines.base.generations import is_log

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MAGIC = b"dripwatch-sealed-1\n"
_SALT_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + vault.KEY_ID_BYTES + _SALT_BYTES
_CHUNK = 64 * 1024
_TAG = 16
_NUMBER_BYTES = 11


class SealedError(Exception):
    """A sealed file is not what was written; says nothing about its content."""


def sealed_with(path: Path) -> bytes | None:
    """Return which secret a file is sealed with, by its id; None for a plain file.

    Errors:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(len(_MAGIC) + vault.KEY_ID_BYTES)
    return head[len(_MAGIC) :] if head.startswith(_MAGIC) else None


@contextmanager
def writing(stream: BinaryIO, path: Path, *, always: bool = False) -> Iterator[BinaryIO]:
    """Lend what a file's content is written to: sealed where the folder's site says so.

    Args:
        stream: takes the bytes of the file; it stays open.
        path: where the file will lie: its own name and its folder's are sealed with it.
        always: whatever the site says.

    Errors:
        KeyFileError: the site's key cannot be read.
    """
    if not always and not vault.encrypts(path):
        yield stream
        return
    sink = _Sealer(stream, vault.masters(path)[0], path)
    yield cast("BinaryIO", sink)
    sink.finish()


@contextmanager
def reading(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Lend a file's content, sealed or not, to read and seek in, and its length in bytes.

    Reading raises SealedError where a chunk is not what was written. Of a sealed file, the last
    chunk has been checked before anything is lent: one that was cut off is not begun.

    Errors:
        OSError: it cannot be read.
        SealedError: it is damaged or cut off, or another file of the site in this one's place.
        KeyFileError: no secret of the site's key opens it.
    """
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            stream.seek(0)
            yield stream, os.fstat(stream.fileno()).st_size
            return
        opened = _Opened(stream, path)
        yield cast("BinaryIO", opened), opened.n_bytes


def read_bytes(path: Path) -> bytes:
    """Return a small file's content, sealed or not.

    Errors:
        OSError, SealedError, KeyFileError: as `reading`.
    """
    with reading(path) as (stream, _):
        return stream.read()


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


def copy(source: Path, target: Path) -> None:
    """Copy a file, opened and sealed again under the newest secret, or plain, as the site says.

    Errors:
        OSError, SealedError, KeyFileError: as `reading`; the target is not there then.
    """
    aside = target.with_name(f".{target.name}.tmp")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(handle, "wb") as out,
            reading(source) as (content, _),
            writing(out, target) as sink,
        ):
            while data := content.read(_CHUNK):
                sink.write(data)
        replace_durably(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _cipher(header: bytes, path: Path) -> tuple[AESGCM, bytes]:
    """Return a file's cipher, and what is authenticated with each of its chunks.

    Errors:
        KeyFileError: the header names no secret of the site's key.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    start = len(_MAGIC)
    named, salt = header[start : start + vault.KEY_ID_BYTES], header[start + vault.KEY_ID_BYTES :]
    master = next((one for one in vault.masters(path) if one.id == named), None)
    if master is None:
        raise vault.wrong_key(path)
    # Not the whole path: a batch moves from `tmp` to `committed`, and a log gets another folder.
    folder = "log" if is_log(path.parent.name) else path.parent.name
    place = f"{folder}/{path.name}"
    return AESGCM(master.derive("file", salt)), header + place.encode()


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])


class _Sealer(io.RawIOBase):
    """Passes on what is written to it as chunks; the last one at `finish`."""

    def __init__(self, stream: BinaryIO, master: vault.Master, path: Path) -> None:
        super().__init__()
        header = _MAGIC + master.id + secrets.token_bytes(_SALT_BYTES)
        self._cipher, self._told = _cipher(header, path)
        self._stream, self._held, self._number = stream, bytearray(), 0
        stream.write(header)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._held += data
        # The last full chunk is held back: only `finish` knows whether another one follows.
        while len(self._held) > _CHUNK:
            self._seal(bytes(self._held[:_CHUNK]), is_last=False)
            del self._held[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk, which may be empty."""
        self._seal(bytes(self._held), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._number, is_last=is_last)
        self._stream.write(self._cipher.encrypt(nonce, chunk, self._told))
        self._number += 1


class _Opened(io.RawIOBase):
    """The content of a sealed file, decrypted chunk by chunk."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__()
        self._stream, self._at = stream, 0
        size = stream.seek(0, os.SEEK_END)
        sealed = size - _HEADER_BYTES
        self._n_chunks = -(-sealed // (_CHUNK + _TAG))
        self.n_bytes = sealed - self._n_chunks * _TAG
        if sealed < _TAG or self.n_bytes < 0:
            raise SealedError
        stream.seek(0)
        self._cipher, self._told = _cipher(stream.read(_HEADER_BYTES), path)
        self._number, self._chunk = -1, b""
        self._load(self._n_chunks - 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.n_bytes}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self.n_bytes if size is None or size < 0 else min(self._at + size, self.n_bytes)
        parts = []
        while self._at < end:
            number, inside = divmod(self._at, _CHUNK)
            self._load(number)
            part = self._chunk[inside : inside + end - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _load(self, number: int) -> None:
        from cryptography.exceptions import InvalidTag

        if number == self._number:
            return
        self._stream.seek(_HEADER_BYTES + number * (_CHUNK + _TAG))
        data = self._stream.read(_CHUNK + _TAG)
        nonce = _nonce(number, is_last=number == self._n_chunks - 1)
        try:
            self._chunk = self._cipher.decrypt(nonce, data, self._told)
        except (InvalidTag, ValueError):
            raise SealedError from None
        self._number = number
