"""The format of a sealed file: encrypted, and not to be changed, cut off or exchanged.

A sealed file is a header and chunks. The header says the format, which secret of the site's key it
was made with (an id that tells nothing about it), and a random salt; the file's own key follows
from both by HKDF. Each chunk is AES-256-GCM (NIST SP 800-38D) of 64 KiB, its nonce the number of
the chunk and whether it is the last: chunks cannot change places, and a file that was cut off
between two of them is noticed. What is authenticated with each chunk is the header and the file's
place below the restricted folder: one file cannot stand in for another, nor one of an earlier
generation of the log for one of this.

Source: V. T. Hoang, R. Reyhanitabar, P. Rogaway, D. Vizar, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance" (CRYPTO 2015), the construction STREAM.
"""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipelines.base import vault
from pipelines.base.generations import built_as, is_log

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"dripwatch-sealed-1\n"
_SALT_BYTES = 16
_HEADER_BYTES = len(MAGIC) + vault.KEY_ID_BYTES + _SALT_BYTES
CHUNK = 64 * 1024
_TAG = 16
_NUMBER_BYTES = 11
#: Folders of the log between which a batch moves.
_STATES = ("tmp", "held", "committed")


class SealedError(Exception):
    """A sealed file is not what was written; says nothing about its content."""


def _cipher(header: bytes, path: Path) -> tuple[AESGCM, bytes]:
    """Return a file's cipher, and what is authenticated with each of its chunks.

    Errors:
        KeyFileError: the header names no secret of the site's key.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    start = len(MAGIC)
    named, salt = header[start : start + vault.KEY_ID_BYTES], header[start + vault.KEY_ID_BYTES :]
    master = next((one for one in vault.masters(path) if one.id == named), None)
    if master is None:
        raise vault.wrong_key(path)
    return AESGCM(master.derive("file", salt)), header + _place(path).encode()


def _place(path: Path) -> str:
    """Return what a file is called below the restricted folder, for as long as it lives.

    A batch moves from `tmp` to `held` or `committed`, and a log that is built gets its name last.
    """
    parts = vault.below(path)
    if is_log(parts[0]):
        rest = parts[2:] if parts[1] in _STATES else parts[1:]
        parts = (built_as(parts[0]), *rest)
    return "/".join(parts)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])


class Sealer(io.RawIOBase):
    """Passes on what is written to it as chunks; the last one at `finish`."""

    def __init__(self, stream: BinaryIO, master: vault.Master, path: Path) -> None:
        super().__init__()
        header = MAGIC + master.id + secrets.token_bytes(_SALT_BYTES)
        self._cipher, self._told = _cipher(header, path)
        self._stream, self._held, self._number = stream, bytearray(), 0
        stream.write(header)

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Take bytes of the content; whole chunks are passed on."""
        self._held += data
        # The last full chunk is held back: only `finish` knows whether another one follows.
        while len(self._held) > CHUNK:
            self._seal(bytes(self._held[:CHUNK]), is_last=False)
            del self._held[:CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk, which may be empty."""
        self._seal(bytes(self._held), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._number, is_last=is_last)
        self._stream.write(self._cipher.encrypt(nonce, chunk, self._told))
        self._number += 1


class Opened(io.RawIOBase):
    """The content of a sealed file, decrypted chunk by chunk."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__()
        self._stream, self._at = stream, 0
        size = stream.seek(0, os.SEEK_END)
        sealed = size - _HEADER_BYTES
        self._n_chunks = -(-sealed // (CHUNK + _TAG))
        self.n_bytes = sealed - self._n_chunks * _TAG
        if sealed < _TAG or self.n_bytes < 0:
            raise SealedError
        stream.seek(0)
        self._cipher, self._told = _cipher(stream.read(_HEADER_BYTES), path)
        self._number, self._chunk = -1, b""
        self._load(self._n_chunks - 1)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return where in the content the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the content."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.n_bytes}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes of the content, all of the rest by default."""
        end = self.n_bytes if size is None or size < 0 else min(self._at + size, self.n_bytes)
        parts = []
        while self._at < end:
            number, inside = divmod(self._at, CHUNK)
            self._load(number)
            part = self._chunk[inside : inside + end - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _load(self, number: int) -> None:
        from cryptography.exceptions import InvalidTag

        if number == self._number:
            return
        self._stream.seek(_HEADER_BYTES + number * (CHUNK + _TAG))
        data = self._stream.read(CHUNK + _TAG)
        nonce = _nonce(number, is_last=number == self._n_chunks - 1)
        try:
            self._chunk = self._cipher.decrypt(nonce, data, self._told)
        except (InvalidTag, ValueError):
            raise SealedError from None
        self._number = number
