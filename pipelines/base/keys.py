"""The site's secret key, and the keyed hashes that stand for identifiers.

Every hash is HMAC-SHA256 (RFC 2104) over a message that names its parts with their lengths, so
that two lists of parts can never make one message. SQL and Python compute the same hashes; SQL is
for columns, Python is the reference.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from pipelines.base.errors import KeyFileError
from pipelines.base.site import Site

MIN_KEY_BYTES = 32
_MIN_DISTINCT_BYTES = 8
_BLOCK_BYTES = 64  # of SHA-256
_KEEP = "Never make a new key for a site that has a log: all its keys would change."

# TEMP: a macro in a database file would outlive the session that has the key.
_MACROS = """
CREATE OR REPLACE TEMP MACRO hmac_key(msg) AS
    sha256(getvariable('dripwatch_outer')
        || unhex(sha256(getvariable('dripwatch_inner') || encode(msg))));
CREATE OR REPLACE TEMP MACRO key_part(part) AS strlen(part) || ':' || part || ',';
CREATE OR REPLACE TEMP MACRO record_key(site, source, event_type, id) AS
    hmac_key('6:record,' || key_part(site) || key_part(source) || key_part(event_type)
        || key_part(id));
CREATE OR REPLACE TEMP MACRO record_key_of_parts(site, source, event_type, ids) AS
    hmac_key('6:record,' || key_part(site) || key_part(source) || key_part(event_type)
        || CASE WHEN len(ids) = len(list_filter(ids, lambda id: id IS NOT NULL))
           THEN list_aggregate(list_transform(ids, lambda id: key_part(id)), 'string_agg', '') END);
CREATE OR REPLACE TEMP MACRO patient_key(site, namespace, id) AS
    hmac_key('7:patient,' || key_part(site) || key_part(namespace) || key_part(id));
CREATE OR REPLACE TEMP MACRO other_key(site, source, kind, id) AS
    hmac_key('5:other,' || key_part(site) || key_part(source) || key_part(kind) || key_part(id));
"""


@dataclass(frozen=True)
class SiteKey:
    """A site's secret; its methods give 64 hex digits, or None where a part is None."""

    _secret: bytes = field(repr=False)

    def record(self, site: str, source: str, event_type: str, *parts: str | None) -> str | None:
        """Return the key of a record: which source record an event speaks of; None for no part."""
        return self._keyed("record", site, source, event_type, *(parts or (None,)))

    def patient(self, site: str, namespace: str, id_: str | None) -> str | None:
        """Return the key of a patient; sources that share a namespace share their patients."""
        return self._keyed("patient", site, namespace, id_)

    def other(self, site: str, source: str, kind: str, id_: str | None) -> str | None:
        """Return the key of something that records refer to, such as an order or an encounter."""
        return self._keyed("other", site, source, kind, id_)

    def check_value(self, site: str) -> str:
        """Return 16 hex digits that tell whether a log was written under this key."""
        return str(self._keyed("check", site))[:16]

    def install(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the same hashes as columnar macros, until it is closed.

        `record_key(site, source, event_type, id)`, `patient_key(site, namespace, id)`,
        `other_key(site, source, kind, id)`, and `record_key_of_parts(site, source, event_type,
        ids)` for an id of several parts (VARCHAR[]). A null part gives a null key. Whoever holds
        the connection can read the key out of its session variables; cursors made from it have
        neither the variables nor the macros.
        """
        inner, outer = self._pads()
        # As parameters, so that no statement text (logs, profiles, errors) holds the key.
        con.execute("SET VARIABLE dripwatch_inner = $1::BLOB", [inner])
        con.execute("SET VARIABLE dripwatch_outer = $1::BLOB", [outer])
        con.execute(_MACROS)

    def _pads(self) -> tuple[bytes, bytes]:
        secret = self._secret
        if len(secret) > _BLOCK_BYTES:
            secret = hashlib.sha256(secret).digest()
        block = secret.ljust(_BLOCK_BYTES, b"\0")
        return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)

    def _keyed(self, *parts: str | None) -> str | None:
        message = encode_parts(parts)
        if message is None:
            return None
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def encode_parts(parts: tuple[str | None, ...]) -> bytes | None:
    """Return the parts as netstrings (`3:abc,`), which no other list of parts gives.

    None where a part is None. Source: D. J. Bernstein, "Netstrings" (1997).
    """
    encoded = [None if part is None else part.encode() for part in parts]
    if any(part is None for part in encoded):
        return None
    return b"".join(b"%d:%b," % (len(part), part) for part in encoded if part is not None)


def new_key() -> str:
    """Return a fresh key of 32 random bytes as hex digits."""
    return secrets.token_hex(MIN_KEY_BYTES)


def load_key(site: Site) -> SiteKey:
    """Read the site's key: from the environment variable if it is set, else from the file.

    Errors:
        KeyFileError: absent, malformed, weak, or a file that others can read or that isn't ours.
    """
    name = site.key.env
    if (text := os.environ.get(name)) is not None:
        return _parse(text, f"environment variable {name}")
    path = site.at(site.key.file)
    return _parse(_read_private(path, name), str(path))


def _read_private(path: Path, variable: str) -> str:
    """Return the text of a key file; judged after opening, so it cannot be swapped between."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyFileError(
            "The site has no key.",
            where=str(path),
            remedy=f"Set {variable}, or restore the key file from its backup. {_KEEP}",
        ) from None
    except OSError as error:
        raise KeyFileError(
            f"The key file cannot be opened: {error.strerror}.",
            where=str(path),
            remedy="Name the file itself, no link to it, owned by the account of the refresh.",
        ) from None
    try:
        _check_private(os.fstat(handle), path)
        return os.read(handle, 4096).decode("ascii")
    except UnicodeDecodeError:
        raise _malformed(str(path)) from None
    finally:
        os.close(handle)


def _check_private(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(
            "The key file is not a regular file.",
            where=str(path),
            remedy="Name a file with hex digits in it.",
        )
    if found.st_mode & 0o7177:
        raise KeyFileError(
            f"The key file has mode {stat.S_IMODE(found.st_mode):04o}; others may read it.",
            where=str(path),
            remedy=f"chmod 600 {path}",
        )
    if found.st_uid != os.geteuid():
        raise KeyFileError(
            "The key file belongs to another account.",
            where=str(path),
            remedy="chown it to the account that runs the refresh.",
        )


def _parse(text: str, where: str) -> SiteKey:
    """Return the key that hex digits spell; no error shows any of them."""
    digits = text.strip()
    if not digits:
        raise KeyFileError(
            "The key is empty.",
            where=where,
            remedy=f"Give it the site's key, or unset the variable to use the file. {_KEEP}",
        )
    if not digits.isascii() or not digits.isalnum():  # fromhex would skip spaces inside
        raise _malformed(where)
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        raise _malformed(where) from None
    if len(secret) < MIN_KEY_BYTES:
        raise KeyFileError(
            f"The key has {len(secret)} bytes; it needs {MIN_KEY_BYTES} or more.",
            where=where,
            remedy=f"Check that it was copied whole (64 or more hex digits). {_KEEP}",
        )
    if len(set(secret)) < _MIN_DISTINCT_BYTES:
        raise KeyFileError(
            "The key is no random number: it repeats few bytes.",
            where=where,
            remedy=f"Use the key that was made for this site. {_KEEP}",
        )
    return SiteKey(secret)


def _malformed(where: str) -> KeyFileError:
    return KeyFileError(
        "The key is not written in hex digits.",
        where=where,
        remedy=f"It must be 64 or more of 0-9 and a-f on one line. {_KEEP}",
    )
