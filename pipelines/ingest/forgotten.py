"""Whom the site forgot: marks by which a later delivery of them is left out.

A mark is a keyed hash of the key that the patient had, under a purpose of its own: neither that key
nor the identifier can be told from it without the site's secret, and with the secret only by trying
identifiers. It is all that stays of a patient.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import duckdb

from pipelines.base import sealed
from pipelines.base.duck import literal, quote
from pipelines.base.errors import LogError
from pipelines.base.files import make_private
from pipelines.base.sitekey import SiteKey
from pipelines.base.storage import storing
from pipelines.ingest.accounting import delivered_types

#: Why a row is out of scope: in `fate.row`, not in what is told of codes.
REASON = "forgotten"

_FORMAT = 1


class Forgotten:
    """The marks of a generation of a site's log, in a private file inside its folder.

    Args:
        root: folder of the generation.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "forgotten.json"

    def marks(self) -> list[tuple[str, int]]:
        """Return each mark, and how often the key had been renewed when it was made; sorted.

        Errors:
            LogError: the file is damaged: a patient who was forgotten could come back.
        """
        if not self.path.exists():
            return []
        try:
            told = json.loads(sealed.read_bytes(self.path))
            if told["format"] != _FORMAT:
                raise ValueError
            return sorted((str(one["mark"]), int(one["n_renewals"])) for one in told["marks"])
        except (ValueError, KeyError, TypeError, RecursionError, sealed.SealedError):
            raise LogError(
                "The list of forgotten patients is damaged.",
                where=str(self.path),
                remedy="Restore it from backup; without it they would be read again.",
                next_run="stops here again; nothing is read",
            ) from None

    def put(self, marks: Iterable[tuple[str, int]]) -> None:
        """Keep these marks and no other; on the disk on return.

        Errors:
            StorageError: the file cannot be written; nothing has changed.
        """
        told = sorted(set(marks))
        rows = [{"mark": mark, "n_renewals": number} for mark, number in told]
        text = json.dumps({"format": _FORMAT, "marks": rows}, indent=1) + "\n"
        with storing("noting whom the site forgot", self.path):
            make_private(self.path.parent)
            sealed.write_bytes(self.path, text.encode())


def leave_out(con: duckdb.DuckDBPyConnection, key: SiteKey, forgotten: Forgotten) -> None:
    """Take forgotten patients out of a settled delivery, before its keys are renewed.

    Their rows are out of scope, without a code and without a key.
    """
    if not (marks := forgotten.marks()):
        return
    types = delivered_types(con)
    named = " UNION ".join(f"SELECT patient_key FROM event.{quote(name)}" for name in types)
    patients = [row[0] for row in con.execute(named).fetchall() if row[0]] if types else []
    known, numbers = {mark for mark, _ in marks}, {number for _, number in marks}
    out = [one for one in patients if known & {_mark(key, one, number) for number in numbers}]
    # A variable: lambdas take no subqueries.
    con.execute("SET VARIABLE forgotten = $1::VARCHAR[]", [out])
    for name in types:
        _leave_out_of(con, name)
    con.execute("RESET VARIABLE forgotten")


def is_marked(marks: Iterable[tuple[str, int]], key: SiteKey, first: str) -> bool:
    """Whether a patient was forgotten, under whatever key the site had then.

    Args:
        marks: of the site's log.
        key: the site's, as the log is written under it.
        first: the patient's key that the first secret gives.
    """
    return any(mark == _mark(key, first, number) for mark, number in marks)


def _mark(key: SiteKey, first: str, n_renewals: int) -> str:
    """Return the mark of a patient, by the key that the first secret gives, forgotten back then."""
    return key.forgotten(key.before(n_renewals).renew(first), n_renewals)


def _leave_out_of(con: duckdb.DuckDBPyConnection, event_type: str) -> None:
    table, mine = f"event.{quote(event_type)}", f"WHERE {_IS_IN.format(key='patient_key')}"
    con.execute(
        f"INSERT INTO fate.row SELECT source_file_sha, source_row, {literal(event_type)}, "
        f"'out_of_scope', {literal(REASON)}, NULL, NULL, NULL, source_part FROM {table} {mine}"
    )
    con.execute(
        "DELETE FROM fate.withdrawn WHERE resource_key IN "
        f"(SELECT resource_key FROM {table} {mine})"
    )
    con.execute(f"DELETE FROM {table} {mine}")
    if event_type == "PatientRegistered":
        con.execute(
            f"UPDATE {table} SET replaced_by_key = NULL "
            f"WHERE {_IS_IN.format(key='replaced_by_key')}"
        )
        con.execute(
            f"UPDATE {table} SET replaces_keys = nullif(list_filter(replaces_keys, "
            f"lambda k: NOT {_IS_IN.format(key='k')}), [])"
        )


_IS_IN = "coalesce(list_contains(getvariable('forgotten'), {key}), false)"
