"""Which patients a night touches, so that only they are linked again.

A patient is touched where any event that linkage reads differs from what was last linked (told by a
fingerprint of all of them), or where a feed has moved so far that a window of the patient may have
closed or opened. Both look at what stands now and at what was linked last, whatever happened in
between: no batch needs to say what it changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

import schemas
from pipelines.base.duck import literal, parquet, parquet_options, quote
from pipelines.linkage.kernel import KEPT, RAW_TABLES
from warehouse import results
from warehouse.guard import guarded, one_row
from warehouse.models import model
from warehouse.results import LoadedTable

#: Patients who have an infusion, with their events as last linked; how far each feed may move
#: before a window of theirs closes or opens; and their part in the sums of attrition.
TABLES = """
CREATE TABLE ledger.linked_patient (patient_key VARCHAR, n_events BIGINT, fingerprint VARCHAR);
CREATE TABLE ledger.linked_feed (
    study_id VARCHAR, patient_key VARCHAR, event_type VARCHAR,
    holds_from TIMESTAMP, holds_until TIMESTAMP);
CREATE TABLE ledger.patient_attrition (
    study_id VARCHAR, site_id VARCHAR, patient_key VARCHAR, step_number BIGINT, step VARCHAR,
    n BIGINT);
"""

#: Where so many of the treated are touched, linking everybody costs no more.
EVERYBODY_FROM = 0.5

#: The batch that a row came with says nothing of it: the earliest of equal tellings stands.
_UNREAD = frozenset({"batch_id"})


@dataclass(frozen=True)
class Touched:
    """The patients to link again.

    Attributes:
        file: Parquet of patient_key, n_events, fingerprint (both null where the patient has no
            infusion any more); patient level.
        is_everybody: whether all patients are linked, and nothing of before is kept.
        n_patients: patients in the file.
        n_treated: patients with an infusion, touched or not.
        n_events: events of the touched.
    """

    file: Path
    is_everybody: bool
    n_patients: int
    n_treated: int
    n_events: int

    @property
    def is_nobody(self) -> bool:
        """Whether no patient has to be linked again."""
        return not (self.is_everybody or self.n_patients)


def find_touched(
    con: duckdb.DuckDBPyConnection,
    through: Mapping[str, datetime],
    file: Path,
    *,
    everybody: bool,
    everybody_from: float = EVERYBODY_FROM,
) -> Touched:
    """Find the patients whose linkage may come out differently than it last did.

    Args:
        con: the store in use.
        through: per event type, the naive UTC instant up to which windows take it as complete;
            the same types as when the store was last linked, else everybody is touched.
        file: Parquet file to write; its folder is there and private.
        everybody: link everybody, whatever differs.
        everybody_from: share of the treated from which on everybody is linked.

    Errors:
        StorageError: the file cannot be written.
    """
    with guarded("finding whom the night touches", file):
        return _find(con, through, file, everybody=everybody, everybody_from=everybody_from)


def _find(
    con: duckdb.DuckDBPyConnection,
    through: Mapping[str, datetime],
    file: Path,
    *,
    everybody: bool,
    everybody_from: float,
) -> Touched:
    con.execute(f"CREATE OR REPLACE TEMP TABLE treated_now AS {_fingerprint_sql()}")
    con.execute(
        "CREATE OR REPLACE TEMP TABLE through (event_type VARCHAR, complete_until TIMESTAMP)"
    )
    for event_type, instant in through.items():
        con.execute("INSERT INTO temp.through VALUES (?, ?)", [event_type, instant])
    con.execute(_TOUCHED)
    n_treated, n_touched = one_row(
        con.execute(
            "SELECT (SELECT count(*) FROM temp.treated_now), (SELECT count(*) FROM temp.touched)"
        )
    )
    everybody = everybody or n_touched > everybody_from * n_treated
    wanted = "temp.treated_now" if everybody else "temp.touched"
    con.execute(f"COPY (FROM {wanted}) TO {literal(str(file))} ({parquet_options(file)})")
    n_patients, n_events = one_row(
        con.execute(f"SELECT count(*), coalesce(sum(n_events), 0)::BIGINT FROM {wanted}")
    )
    for table in ("treated_now", "through", "touched"):
        con.execute(f"DROP TABLE temp.{table}")
    return Touched(file, everybody, n_patients, n_treated, n_events)


def _fingerprint_sql() -> str:
    """Return SQL for patient_key, number and fingerprint of the events of the treated.

    Sums of hashes do not care for the order of rows, and see one that is there twice. As text:
    Parquet would round them.
    """
    told = "\nUNION ALL\n".join(
        f"""SELECT patient_key, hash({literal(name)}, {_read_columns(name)}) AS told
        FROM current.{quote(name)} SEMI JOIN treated USING (patient_key)"""
        for name in RAW_TABLES.values()
    )
    return f"""WITH treated AS MATERIALIZED (
        SELECT DISTINCT patient_key FROM current."InfusionRecorded" WHERE patient_key IS NOT NULL
    )
    SELECT patient_key, count(*) AS n_events, sum(told)::VARCHAR AS fingerprint
    FROM ({told}) GROUP BY patient_key"""


def _read_columns(event_type: str) -> str:
    names = (field.name for field in schemas.fields(event_type))
    return ", ".join(quote(name) for name in names if name not in _UNREAD)


_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT coalesce(n.patient_key, o.patient_key) AS patient_key, n.n_events, n.fingerprint
FROM temp.treated_now AS n
FULL JOIN ledger.linked_patient AS o USING (patient_key)
WHERE (n.n_events, n.fingerprint) IS DISTINCT FROM (o.n_events, o.fingerprint)
   OR n.patient_key IN (
        SELECT f.patient_key FROM ledger.linked_feed AS f
        JOIN temp.through AS t USING (event_type)
        WHERE t.complete_until < f.holds_from OR t.complete_until >= f.holds_until)
"""


@dataclass(frozen=True)
class Relinked:
    """What was linked again, and what to keep of it.

    Attributes:
        touched: who.
        kept: Parquet files by the name of a table of the store (`kernel.KEPT`).
    """

    touched: Touched
    kept: Mapping[str, Sequence[Path]]


def begin(con: duckdb.DuckDBPyConnection, relinked: Relinked | None) -> str | None:
    """Make temp tables of the touched and of the units that they have; the caller ends with `load`.

    Returns:
        Name of the table of the touched; None where everybody is linked.
    """
    if relinked is None or relinked.touched.is_everybody:
        return None
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched AS
        FROM {parquet(relinked.touched.file)};
        CREATE OR REPLACE TEMP TABLE touched_unit AS
        SELECT DISTINCT study_id, unit_id FROM linkage.course
        SEMI JOIN temp.touched USING (patient_key)"""
    )
    return "temp.touched"


_OF_PATIENT = "patient_key IN (SELECT patient_key FROM temp.touched)"

#: Which rows of a table are the touched patients'; of the other tables all rows are sums.
_PARTS = {
    "linkage.infusion": _OF_PATIENT,
    "linkage.course": _OF_PATIENT,
    "linkage.unit_outcome": _OF_PATIENT,
    "linkage.evidence": "(study_id, unit_id) IN (SELECT study_id, unit_id FROM temp.touched_unit)",
}

#: Of tables that counts make in part: which rows are made from those of patients, by `row_signals`.
MADE_FROM_ROWS = {"signals.self_controlled": "method = 'sccs'"}

#: Tables whose keys every other one's are made of; cheap enough to be held against the untouched.
_KEYED = ("linkage.course", "linkage.infusion")


def load(
    con: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Sequence[Path]],
    run_id: str,
    relinked: Relinked | None,
) -> list[LoadedTable]:
    """Replace the rows of those who were linked again, and all sums; after `begin`.

    Args:
        con: the store in use, in a transaction of the caller.
        tables: `schema.table` to Parquet files; a table that is not named stays as it is.
        run_id: written on rows that are new or changed; others keep theirs.
        relinked: who was linked; None for everybody, of whom nothing is kept.

    Errors:
        ValueError: columns or keys are not those of the table's model.
    """
    if relinked is not None:
        _keep(con, relinked)
    is_part = relinked is not None and not relinked.touched.is_everybody
    loaded = []
    for name, paths in sorted(tables.items()):
        found = model(name)
        if relinked is not None and name == "linkage.attrition":
            results.stage_query(con, found, _ATTRITION)
        else:
            results.stage_parquet(con, found, paths)
        if is_part and name in _PARTS:
            loaded.append(results.replace_part(con, found, run_id, _PARTS[name]))
        elif name in MADE_FROM_ROWS:
            rest = f"NOT ({MADE_FROM_ROWS[name]})"
            loaded.append(results.replace_part(con, found, run_id, rest))
        else:
            loaded.append(results.replace_content(con, found, run_id))
    if is_part:
        for name in _KEYED:
            results.check_grain(con, model(name), model(name).target("store"))
        con.execute("DROP TABLE temp.touched; DROP TABLE temp.touched_unit")
    return loaded


def _keep(con: duckdb.DuckDBPyConnection, relinked: Relinked) -> None:
    """Note what was linked of the touched."""
    touched = relinked.touched
    for table in ("ledger.linked_patient", *KEPT):
        gone = "" if touched.is_everybody else f" WHERE {_OF_PATIENT}"
        con.execute(f"DELETE FROM {table}{gone}")
    con.execute(
        f"""INSERT INTO ledger.linked_patient BY NAME
        FROM {parquet(touched.file)}
        WHERE fingerprint IS NOT NULL"""
    )
    for table in KEPT:
        if paths := relinked.kept.get(table, ()):
            con.execute(f"INSERT INTO {table} BY NAME FROM {parquet(*paths)}")


#: Attrition of everybody, from what is kept of each patient.
_ATTRITION = """
SELECT study_id, site_id, step_number, step, sum(n)::BIGINT AS n
FROM ledger.patient_attrition GROUP BY ALL
"""
