"""Whose key is whose: the one place, where a site asks for it, that leads from a key to a child.

What is kept is each identifier as the source writes it; keys follow from it by the site's key. So
nothing has to change when the key is renewed, and a reader needs the file and the key, both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import duckdb

from pipelines.base import sealed
from pipelines.base.duck import quote
from pipelines.base.errors import LogError
from pipelines.base.files import make_private
from pipelines.base.site import Site
from pipelines.base.sitekey import SiteKey
from pipelines.base.storage import storing
from pipelines.ingest.accounting import delivered_types
from pipelines.ingest.forgotten import Forgotten

#: Namespace and identifier.
Named = tuple[str, str]

_FORMAT = 1


class IdMap:
    """The identifiers of a site's patients, in a sealed file apart from the log.

    Args:
        site: whose; `[privacy] encrypt` is on where `idmap` is.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.path: Path = site.restricted / "idmap" / "patients.sealed"

    def named(self) -> set[Named]:
        """Return all of them; none where the file is not there.

        Errors:
            LogError: the file is damaged.
            KeyFileError: it is encrypted under another key.
        """
        if not self.path.exists():
            return set()
        try:
            told = json.loads(sealed.read_bytes(self.path, always=True))
            if told["format"] != _FORMAT:
                raise ValueError
            return {(str(namespace), str(id_)) for namespace, id_ in told["patients"]}
        except (ValueError, KeyError, TypeError, RecursionError, sealed.SealedError):
            raise LogError(
                "The map of patients' identifiers is damaged.",
                where=str(self.path),
                remedy="Restore it from its backup; without it, no key leads to a patient. Or move "
                "it away: patients of later deliveries are then written into a new one.",
                next_run="stops here again; nothing is committed",
            ) from None

    def add(self, patients: Iterable[Named]) -> None:
        """Keep these, too; on the disk on return.

        Errors:
            LogError, KeyFileError: as `named`.
            StorageError: the file cannot be written; nothing has changed.
        """
        known = self.named()
        if new := {*patients} - known:
            self._put(known | new)

    def drop_forgotten(self, key: SiteKey, forgotten: Forgotten) -> int:
        """Forget whomever the site forgot, by their marks; return how many identifiers there were.

        Args:
            key: the site's key, as the log was written under it.
            forgotten: the marks of the log that counts.
        """
        if not (marks := forgotten.marks()):
            return 0
        known, told, numbers = self.named(), {mark for mark, _ in marks}, {n for _, n in marks}

        def is_forgotten(one: Named) -> bool:
            return any(
                key.forgotten(self.key_of(key.before(number), one), number) in told
                for number in numbers
            )

        rest = {one for one in known if not is_forgotten(one)}
        if rest != known:
            self._put(rest)
        return len(known - rest)

    def seal_again(self) -> None:
        """Write the file anew under the newest secret, where it is there."""
        if known := self.named():
            self._put(known)

    def find(self, key: SiteKey, patient_key: str) -> list[Named]:
        """Return whose key it is: an identifier, or several that a source writes for one patient.

        Args:
            key: the site's key, as the log was written under it.
            patient_key: 64 hex digits.
        """
        return sorted(one for one in self.named() if self.key_of(key, one) == patient_key)

    def key_of(self, key: SiteKey, patient: Named) -> str:
        """Return a patient's key."""
        return str(key.patient(self._site.site.id, *patient))

    def _put(self, patients: set[Named]) -> None:
        text = json.dumps({"format": _FORMAT, "patients": sorted(patients)})
        with storing("writing the map of identifiers", self.path):
            make_private(self.path.parent)
            sealed.write_bytes(self.path, text.encode(), always=True)


def keep_named(con: duckdb.DuckDBPyConnection) -> None:
    """Leave in a settled delivery whom its events name: `fate.patient (namespace, id)`.

    Before its keys are renewed, and after those whom the site forgot were left out: of them there
    are no events.
    """
    types = delivered_types(con)
    told = " UNION ALL ".join(f"SELECT patient_key FROM event.{quote(name)}" for name in types)
    con.execute(
        "CREATE OR REPLACE TABLE fate.patient AS SELECT DISTINCT namespace, id FROM row_person "
        + (f"WHERE k IN ({told})" if types else "LIMIT 0")
    )


def delivered(con: duckdb.DuckDBPyConnection) -> list[Named]:
    """Return whom the events of a delivery name; after `keep_named`."""
    return con.execute("SELECT namespace, id FROM fate.patient ORDER BY ALL").fetchall()
