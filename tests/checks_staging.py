"""Staged batches for tests of the checks: a good row per event type, and changes to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import duckdb

from expectations import judged, sqlpass, suites
from expectations.judged import Judged
from expectations.table import checks_of
from pipelines.base.duck import connect, quote
from schemas import CLINICAL_TYPES, create_table_sql, fields

THROUGH = datetime(2024, 3, 1, tzinfo=UTC)
AT = datetime(2024, 2, 1, 12)  # noqa: DTZ001 - staging holds naive UTC
DATA_THROUGH = dict.fromkeys(CLINICAL_TYPES, THROUGH)


class Concept(NamedTuple):
    event_type: str
    code_system: str
    code: str
    match: str
    concept: str


CONCEPTS = (
    Concept("LabResulted", "loinc", "17861-6", "exact", "calcium_total"),
    Concept("LabResulted", "loinc", "2823-3", "exact", "potassium"),
    Concept("LabResulted", "loinc", "1988-5", "exact", "not_in_the_vocabulary"),
    Concept("VitalSignMeasured", "loinc", "8310-5", "exact", "body_temperature"),
    Concept("InfusionRecorded", "rxnorm", "77655", "exact", "zoledronic_acid"),
    Concept("InfusionRecorded", "local", "ZOL", "prefix", "zoledronic_acid"),
)

ENVELOPE: Mapping[str, Any] = {
    "site_id": "here",
    "source": "ehr",
    "record_key": "k",
    "version": 1,
    "operation": "upsert",
    "patient_key": "p",
    "occurred_at": AT,
    "time_precision": "instant",
    "zone": "America/St_Johns",
    "batch_id": "b" * 64,
    "source_file_sha": "f" * 64,
}
CLINICAL: Mapping[str, Mapping[str, Any]] = {
    "PatientRegistered": {
        "occurred_at": None,
        "birth_date": date(2012, 5, 6),
        "sex": "female",
        "died_at": AT,
    },
    "InfusionRecorded": {
        "evidence": "administered",
        "status": "completed",
        "code": "77655",
        "code_system": "rxnorm",
        "ended_at": AT + timedelta(minutes=30),
        "end_precision": "instant",
        "route": "intravenous",
        "dose_value": 2.0,
        "dose_unit": "mg",
    },
    "MedicationGiven": {
        "status": "completed",
        "code": "161",
        "code_system": "rxnorm",
        "route": "oral",
        "dose_value": 500.0,
        "dose_unit": "mg",
    },
    "AdverseEventReported": {"code": "R50.9", "code_system": "icd10cm", "grade": 1},
    "DiagnosisRecorded": {"code": "Q78.0", "code_system": "icd10cm", "category": "problem-list"},
    "LabResulted": {
        "code": "17861-6",
        "code_system": "loinc",
        "value": 9.1,
        "unit": "mg/dL",
        "low_limit": 8.8,
        "high_limit": 10.8,
        "status": "final",
    },
    "VitalSignMeasured": {
        "code": "8310-5",
        "code_system": "loinc",
        "value": 38.4,
        "unit": "Cel",
    },
    "BoneDensityMeasured": {"code": "85394-5", "code_system": "loinc", "z_score": -2.5},
    "EncounterOccurred": {
        "setting": "outpatient",
        "ended_at": AT + timedelta(hours=3),
    },
}

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def good(event_type: str, /, **changes: Any) -> dict[str, Any]:
    """Return a row that fails no check, with the given changes."""
    return {**ENVELOPE, "event_type": event_type, **CLINICAL[event_type], **changes}


def staged(rows: Rows, *, types: Iterable[str] = CLINICAL_TYPES) -> duckdb.DuckDBPyConnection:
    """Return a staging database with these event rows, numbered from 1 within their type."""
    con = connect(threads=1)
    con.execute(
        """
        CREATE SCHEMA event; CREATE SCHEMA fate;
        CREATE TABLE fate.file (source_file_sha VARCHAR, name VARCHAR, n_rows BIGINT);
        CREATE TABLE fate.row (source_file_sha VARCHAR, source_row BIGINT, event_type VARCHAR,
            fate VARCHAR, reason VARCHAR, code VARCHAR, code_system VARCHAR, record_key VARCHAR,
            source_part INTEGER);
        CREATE TABLE fate.unreadable (source_file_sha VARCHAR, source_row BIGINT, raw VARCHAR);
        CREATE TABLE fate.withdrawn (resource_key VARCHAR, version BIGINT, recorded_at TIMESTAMP,
            source_file_sha VARCHAR, source_row BIGINT, reason VARCHAR);
        """
    )
    for event_type in types:
        con.execute(create_table_sql(event_type, f"event.{quote(event_type)}"))
        insert(con, event_type, rows.get(event_type, ()))
    total = sum(len(some) for some in rows.values())
    con.execute("INSERT INTO fate.file VALUES (?, 'labs.csv', ?)", ["f" * 64, total])
    return con


def insert(
    con: duckdb.DuckDBPyConnection, event_type: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows in canonical column order, numbering those that have no number."""
    names = [field.name for field in fields(event_type)]
    if not rows:
        return
    con.executemany(
        f"INSERT INTO event.{quote(event_type)} VALUES ({', '.join('?' * len(names))})",
        [
            [{"source_row": number, **row}.get(name) for name in names]
            for number, row in enumerate(rows, start=1)
        ],
    )


def failed_by_sql(
    event_type: str, rows: Sequence[Mapping[str, Any]], concepts: Iterable[Concept] = CONCEPTS
) -> list[set[str]]:
    """Return, per row, the checks that the SQL pass says it fails."""
    con = staged({event_type: rows}, types=[event_type])
    judged.prepare_vocabulary(con, concepts)
    table = judged.prepare(con, event_type, judged.latest(DATA_THROUGH, event_type))
    found: list[set[str]] = [set() for _ in rows]
    for check_id, number in con.execute(
        f"SELECT check_id, source_row FROM ({sqlpass.failures_sql(table)})"
    ).fetchall():
        found[number - 1].add(check_id)
    return found


def as_sql_says(
    con: duckdb.DuckDBPyConnection,
    judged: Judged,
    _share: float,
    result_format: Mapping[str, object] = suites.COUNTS,
) -> dict[str, suites.GxResult]:
    """Stand in for Great Expectations where a test is about something else."""
    del result_format
    rows_of: dict[str, list[int]] = {check.id: [] for check in checks_of(judged.event_type)}
    for check_id, row in con.execute(
        f"SELECT check_id, source_row FROM ({sqlpass.failures_sql(judged)})"
    ).fetchall():
        rows_of[check_id].append(row)
    return {
        name: suites.GxResult(name, len(rows), not rows, frozenset(rows), None)
        for name, rows in rows_of.items()
    }
