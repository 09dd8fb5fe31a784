"""The keyed hashes that stand for identifiers, and the chain of secrets that makes them.

Every hash is HMAC-SHA256 (RFC 2104) over a message that names its parts with their lengths, so
that two lists of parts can never make one message. SQL and Python compute the same hashes; SQL is
for columns, Python is the reference.

A site that renewed its key has a chain of secrets: the first makes a key of the identifier, each
later one makes a new key of the key before. So what lies in the log can be renewed without the
identifiers, which the log does not hold, and what comes later ends under the same keys.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace

import duckdb

_BLOCK_BYTES = 64  # of SHA-256

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

_RENEWED = """
CREATE OR REPLACE TEMP MACRO renewed_{number}(k) AS
    sha256(getvariable('dripwatch_outer_{number}')
        || unhex(sha256(getvariable('dripwatch_inner_{number}')
            || encode('7:renewed,' || strlen(k) || ':' || k || ','))));
"""

_SHUFFLED = """
CREATE OR REPLACE TEMP MACRO shuffled(text) AS
    sha256(getvariable('dripwatch_outer_shuffle')
        || unhex(sha256(getvariable('dripwatch_inner_shuffle') || encode(text))));
"""


@dataclass(frozen=True)
class SiteKey:
    """A site's secrets; its methods give 64 hex digits, or None where a part is None.

    Most sites have one secret; `_later` are those that it was renewed with, oldest first.
    """

    _secret: bytes = field(repr=False)
    _later: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def n_renewals(self) -> int:
        """How often the key has been renewed."""
        return len(self._later)

    def before(self, n_renewals: int) -> SiteKey:
        """Return the key as it was after that many renewals."""
        return replace(self, _later=self._later[:n_renewals])

    def renewed_with(self, secret: bytes) -> SiteKey:
        """Return the key with one more secret at the end of its chain."""
        return replace(self, _later=(*self._later, secret))

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

    def forgotten(self, patient_key: str, since: int) -> str:
        """Return the mark by which a patient whom the site forgot is known again.

        Args:
            patient_key: the key that the patient had when it was forgotten.
            since: how often the site's key had been renewed by then.
        """
        secret = (self._secret, *self._later)[since]
        return self.renew(str(_hmac(secret, ("forgotten", patient_key))), since)

    def renew(self, key: str, since: int = 0) -> str:
        """Return what later secrets make of a key that was made after `since` renewals."""
        for secret in self._later[since:]:
            key = _hmac(secret, ("renewed", key)) or ""
        return key

    def derive(self, purpose: str, n_bytes: int = 32) -> bytes:
        """Return bytes for another use of the newest secret, which tell nothing about it.

        Source: RFC 5869 (HKDF), with SHA-256 and the purpose as its info.
        """
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        secret = (self._secret, *self._later)[-1]
        info = b"dripwatch " + purpose.encode()
        return HKDF(SHA256(), n_bytes, salt=None, info=info).derive(secret)

    def install(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the same hashes as columnar macros, until it is closed.

        `record_key(site, source, event_type, id)`, `patient_key(site, namespace, id)`,
        `other_key(site, source, kind, id)`, and `record_key_of_parts(site, source, event_type,
        ids)` for an id of several parts (VARCHAR[]). A null part gives a null key. Whoever holds
        the connection can read the key out of its session variables; cursors made from it have
        neither the variables nor the macros. These keys are those of the first secret: `renewed`
        makes the site's of them, once a delivery has been settled.
        """
        # As parameters, so that no statement text (logs, profiles, errors) holds the key.
        _set_pads(con, "", self._secret)
        con.execute(_MACROS)
        self.install_renewal(con)

    def install_renewal(self, con: duckdb.DuckDBPyConnection, since: int = 0) -> None:
        """Give a connection the macro `renewed(key)`, the same as `renew`, until it is closed."""
        told = "k"
        for number, secret in enumerate(self._later[since:], start=1):
            _set_pads(con, f"_{number}", secret)
            con.execute(_RENEWED.format(number=number))
            told = f"renewed_{number}({told})"
        con.execute(f"CREATE OR REPLACE TEMP MACRO renewed(k) AS {told}")

    def install_shuffle(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the macro `shuffled(text)`: an order that only the key can repeat."""
        _set_pads(con, "_shuffle", self.derive("order of published rows"))
        con.execute(_SHUFFLED)

    def _keyed(self, *parts: str | None) -> str | None:
        key = _hmac(self._secret, parts)
        return None if key is None else self.renew(key)


def _hmac(secret: bytes, parts: tuple[str | None, ...]) -> str | None:
    message = encode_parts(parts)
    return None if message is None else hmac.new(secret, message, hashlib.sha256).hexdigest()


def _set_pads(con: duckdb.DuckDBPyConnection, suffix: str, secret: bytes) -> None:
    """Set the two padded keys that HMAC is made of as variables of the session."""
    if len(secret) > _BLOCK_BYTES:
        secret = hashlib.sha256(secret).digest()
    block = secret.ljust(_BLOCK_BYTES, b"\0")
    for name, pad in (("inner", 0x36), ("outer", 0x5C)):
        pads = bytes(byte ^ pad for byte in block)
        con.execute(f"SET VARIABLE dripwatch_{name}{suffix} = $1::BLOB", [pads])


def encode_parts(parts: tuple[str | None, ...]) -> bytes | None:
    """Return the parts as netstrings (`3:abc,`), which no other list of parts gives.

    None where a part is None. Source: D. J. Bernstein, "Netstrings" (1997).
    """
    encoded = [None if part is None else part.encode() for part in parts]
    if any(part is None for part in encoded):
        return None
    return b"".join(b"%d:%b," % (len(part), part) for part in encoded if part is not None)
