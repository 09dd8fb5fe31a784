"""What the store remembers of the published file, so that a change can be explained.

Two memories: how units were counted before they were linked again, and, by hashes, the records that
the published file was made from. Both are kept until the next publication, however many runs that
takes.
"""

from __future__ import annotations

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from warehouse.guard import one_row, transaction

#: The patients in `kept_patient` have been linked since the publication; a null
#: there stands for all of them.
TABLES = """
CREATE TABLE ledger.kept_patient (patient_key VARCHAR);
CREATE TABLE ledger.old_unit (
    study_id VARCHAR, unit_id VARCHAR, outcome VARCHAR, window_name VARCHAR, patient_key VARCHAR,
    status VARCHAR, counted VARCHAR, records UBIGINT[]);
CREATE TABLE ledger.told_record (
    patient_key VARCHAR, event_type VARCHAR, record UBIGINT, content UBIGINT);
CREATE TABLE ledger.told_through (event_type VARCHAR, through_at TIMESTAMP);
"""

#: As what a unit is counted; null where it is in no risk (pipelines/linkage/sql/13_counts.sql).
COUNTED = """CASE WHEN status IN
    ('event', 'no_event', 'censored', 'untested', 'unobserved', 'undetermined')
    THEN concat_ws(' ', status, is_tested, is_observed, is_determined, has_baseline) END"""


def hashed(column: str) -> str:
    """Return SQL for 8 bytes that stand for a key: its own first ones where it is written in hex.

    Keys are hashes themselves, and those of the database are not the same in all its versions.
    """
    return f"coalesce(TRY_CAST('0x' || left({column}, 16) AS UBIGINT), md5_number_lower({column}))"


def keep_before(con: duckdb.DuckDBPyConnection, patients: str | None = None) -> None:
    """Keep how units are counted before they are linked again; what was kept first stays.

    Args:
        con: the store in use, in the transaction that is about to replace rows.
        patients: name of a table with the column `patient_key`; None for every patient.
    """
    if _is_everyone(con):
        return
    wanted = "" if patients is None else f"SEMI JOIN {patients} USING (patient_key)"
    con.execute(
        f"""INSERT INTO ledger.old_unit
        WITH wanted AS (
            SELECT study_id, unit_id, outcome, window_name, patient_key, status,
                {COUNTED} AS counted
            FROM linkage.unit_outcome {wanted} ANTI JOIN ledger.kept_patient USING (patient_key)
        ), behind AS (
            SELECT study_id, unit_id, outcome, window_name,
                list({hashed("record_key")}) AS records
            FROM linkage.evidence SEMI JOIN wanted USING (study_id, unit_id) GROUP BY ALL
        )
        SELECT wanted.*, behind.records
        FROM wanted LEFT JOIN behind USING (study_id, unit_id, outcome, window_name)"""
    )
    kept = "(SELECT NULL)" if patients is None else f"(SELECT DISTINCT patient_key FROM {patients})"
    con.execute(
        f"INSERT INTO ledger.kept_patient FROM {kept} AS t (patient_key) "
        "ANTI JOIN ledger.kept_patient AS k ON k.patient_key IS NOT DISTINCT FROM t.patient_key"
    )


def is_empty(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the store was made after the published file, so that it remembers nothing of it."""
    return con.execute("SELECT 1 FROM ledger.told_through LIMIT 1").fetchone() is None


def _is_everyone(con: duckdb.DuckDBPyConnection) -> bool:
    row = con.execute("SELECT 1 FROM ledger.kept_patient WHERE patient_key IS NULL").fetchone()
    return row is not None


def kept_patients(con: duckdb.DuckDBPyConnection) -> str:
    """Return SQL that leaves the patients who were linked since the publication."""
    return "" if _is_everyone(con) else "SEMI JOIN ledger.kept_patient USING (patient_key)"


def settle(con: duckdb.DuckDBPyConnection) -> bool:
    """Begin anew: the published file shows the store, and the next one is held against that.

    Returns:
        Whether there was anything to forget.
    """
    if not one_row(con.execute("SELECT count(*) FROM ledger.kept_patient"))[0]:
        return False
    with transaction(con):
        read_records(con)
        if _is_everyone(con):
            con.execute("TRUNCATE ledger.told_record")
        con.execute(
            f"""DELETE FROM ledger.told_record WHERE patient_key IN
            (SELECT patient_key FROM ledger.kept_patient);
            INSERT INTO ledger.told_record
                SELECT patient_key, event_type, record, content FROM temp.current_record
                ORDER BY patient_key;  -- takes a third of the room
            DROP TABLE temp.current_record;
            TRUNCATE ledger.told_through;
            INSERT INTO ledger.told_through {_THROUGH};
            TRUNCATE ledger.old_unit;
            TRUNCATE ledger.kept_patient"""
        )
    return True


_THROUGH = "SELECT event_type, min(data_through_at) FROM ledger.data_through GROUP BY ALL"


def read_records(con: duckdb.DuckDBPyConnection) -> None:
    """Make temp table `current_record` of the patients who were linked since the publication.

    Columns patient_key, event_type, occurred_at; record and content as hashes.
    """
    told = "\nUNION ALL\n".join(
        f"""SELECT patient_key, {literal(name)} AS event_type, occurred_at,
            {hashed("record_key")} AS record,
            {hashed("coalesce(content_hash, '')")} AS content
        FROM current.{quote(name)} {kept_patients(con)}"""
        for name in schemas.CLINICAL_TYPES
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE current_record AS {told}")
