"""Who a pack is from: Ed25519 signatures, by a key that never leaves the site.

Source: RFC 8032 (EdDSA), by the `cryptography` library.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipelines.base.errors import KeyFileError, PackError
from pipelines.base.private import read_private
from pipelines.base.storage import storing

_DIGITS = re.compile(r"[0-9A-Fa-f]{64}")
SIGNATURE_BYTES = 64


def make_key(path: Path) -> None:
    """Write a new private key as hex digits, readable by its owner alone (0600).

    Errors:
        FileExistsError: there is one; it is never replaced.
        StorageError: it cannot be written.
    """
    text = Ed25519PrivateKey.generate().private_bytes_raw().hex()
    with storing("writing the key that signs packs", path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(handle)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key of a file, under the same rules as the site's own key.

    Errors:
        KeyFileError: there is none, it is no file of this account's alone, or not 64 hex digits.
    """
    absent = _no_key(path, "There is no key that signs packs.", "run")
    text = read_private(path, "The key that signs packs", absent).strip()
    if not _DIGITS.fullmatch(text):
        raise _no_key(
            path, "The key that signs packs is not 64 hex digits.", "remove the file and run"
        )
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def _no_key(path: Path, what: str, otherwise: str) -> KeyFileError:
    return KeyFileError(
        what,
        where=str(path),
        remedy=f"Restore it from its backup, or {otherwise} `dripwatch export-key`; the "
        "coordinator then needs the new public key.",
    )


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key as 64 hex digits."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def load_public(path: Path) -> Ed25519PublicKey:
    """Return the public key of a file.

    Errors:
        PackError: it is not 64 hex digits.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(
            bytes.fromhex(path.read_text(encoding="ascii").strip())
        )
    except (OSError, ValueError):
        raise PackError(
            "A site's public key cannot be read.",
            where=str(path),
            remedy="Ask the site for the file that `dripwatch export-key` writes.",
        ) from None


def is_signed(data: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether the holder of a key's private half has signed these bytes."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True
