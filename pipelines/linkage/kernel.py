"""Linking one bucket of patients: the SQL files of `sql/`, in order, in a database of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base import codes, duck, zones
from pipelines.linkage.study_tables import load_tables, study_tables
from pipelines.signals.counts import COUNT_TABLES
from schemas import create_table_sql
from studies.load import Study

#: Name of the raw table in SQL, for each event type that linkage reads.
RAW_TABLES = {
    "raw_patient": "PatientRegistered",
    "raw_infusion": "InfusionRecorded",
    "raw_medication": "MedicationGiven",
    "raw_adverse_event": "AdverseEventReported",
    "raw_diagnosis": "DiagnosisRecorded",
    "raw_lab": "LabResulted",
    "raw_vital": "VitalSignMeasured",
    "raw_encounter": "EncounterOccurred",
}

#: Tables that linkage gives, by their name in the warehouse, and how they are read out.
OUTPUTS = {
    "linkage.infusion": "SELECT * FROM out_infusion",
    "linkage.course": "SELECT * FROM out_course",
    "linkage.unit_outcome": """
        SELECT * EXCLUDE (person_us), person_us / 86400e6 AS person_days FROM out_unit_outcome""",
    "linkage.evidence": "SELECT * FROM out_evidence",
}

#: What must be kept of each patient, so that a later night can tell who is touched and take the
#: patient's part out of what was summed; by their name in the site store.
KEPT = {
    "ledger.linked_feed": "SELECT * FROM out_settled",
    "ledger.patient_attrition": "SELECT * FROM out_attrition",
}

COMPOSITE_FILE = "09_composite.sql"
#: What these files make depends on linked rows and the study alone.
COUNTS_FILES = "13_counts"

_ATTRITION = """
SELECT study_id, site_id, step_number, step, sum(n)::BIGINT FROM out_attrition GROUP BY ALL
"""


@dataclass(frozen=True)
class LinkageInput:
    """What a bucket's result depends on besides its events.

    Attributes:
        study: the study.
        data_through: per (site_id, event_type), the UTC instant up to which the feed is complete;
            types that nobody delivered are absent.
        patients_implied: no source delivers patients, naming one makes one.
        memory_limit: DuckDB size for the bucket's database.
        temp_dir: private folder for spill files.
    """

    study: Study
    data_through: tuple[tuple[str, str, datetime], ...]
    patients_implied: bool = False
    memory_limit: str | None = None
    temp_dir: Path | None = None


@dataclass(frozen=True)
class LinkedBucket:
    """What one bucket gave: Parquet by table (OUTPUTS, KEPT), attrition, and counts by table."""

    files: dict[str, str]
    attrition: list[tuple[Any, ...]]
    counts: dict[str, list[tuple[Any, ...]]]


@cache
def sql_files() -> tuple[tuple[str, str], ...]:
    """Return name and text of every linkage SQL file, in the order in which they run."""
    folder = resources.files("pipelines.linkage") / "sql"
    return tuple(
        (file.name, file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda one: one.name)
        if file.name.endswith(".sql")
    )


def link_bucket(shard: Path, given: LinkageInput, out: Path) -> LinkedBucket:
    """Link the patients of one shard.

    Args:
        shard: folder with `<EventType>.parquet` files, current events of whole patients; absent
            files mean no events of that type.
        given: study and feeds.
        out: folder that the Parquet files are written into, one per table.
    """
    con = duck.connect(
        memory_limit=given.memory_limit,
        temp_dir=given.temp_dir,
        threads=duck.threads_for(duck.rows_at_most(shard.glob("*.parquet"))),
    )
    try:
        zones.install(con)
        codes.install(con)
        _load_events(con, shard)
        return _link(con, given, out)
    finally:
        con.close()


def link_tables(events: dict[str, pa.Table], given: LinkageInput, out: Path) -> LinkedBucket:
    """Link patients whose events are in memory, by event type; else as `link_bucket`."""
    n_events = sum(table.num_rows for table in events.values())
    con = duck.connect(threads=duck.threads_for(n_events))
    try:
        zones.install(con)
        codes.install(con)
        for name, event_type in RAW_TABLES.items():
            con.execute(create_table_sql(event_type, name))
            if event_type in events:
                con.register("incoming", events[event_type])
                con.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")
                con.unregister("incoming")
        return _link(con, given, out)
    finally:
        con.close()


def _load_events(con: duckdb.DuckDBPyConnection, shard: Path) -> None:
    for name, event_type in RAW_TABLES.items():
        file = shard / f"{event_type}.parquet"
        con.execute(create_table_sql(event_type, name))
        if file.is_file():
            con.execute(f"INSERT INTO {name} BY NAME SELECT * FROM {duck.parquet(file)}")


def _link(con: duckdb.DuckDBPyConnection, given: LinkageInput, out: Path) -> LinkedBucket:
    load_tables(con, study_tables(given.study, patients_implied=given.patients_implied))
    con.execute(
        "CREATE TABLE data_through (site_id VARCHAR, event_type VARCHAR, data_through_at TIMESTAMP)"
    )
    for site_id, event_type, instant in given.data_through:
        con.execute(
            "INSERT INTO data_through VALUES (?, ?, ?)",
            [site_id, event_type, instant.replace(tzinfo=None)],
        )
    for name, text in sql_files():
        if name == COMPOSITE_FILE:
            _run_composites(con, text)
        else:
            con.execute(text)
    files = {table: _write(con, sql, out, table) for table, sql in (OUTPUTS | KEPT).items()}
    return LinkedBucket(
        files,
        con.execute(_ATTRITION).fetchall(),
        {
            name: con.execute(f"SELECT * FROM {table.sql_name}").fetchall()
            for name, table in COUNT_TABLES.items()
        },
    )


def _run_composites(con: duckdb.DuckDBPyConnection, text: str) -> None:
    levels = con.execute("SELECT DISTINCT level FROM composite ORDER BY level").fetchall()
    for (level,) in levels:
        con.execute("SET VARIABLE composite_level = ?", [level])
        con.execute(text)


def _write(con: duckdb.DuckDBPyConnection, sql: str, out: Path, table: str) -> str:
    path = out / f"{table}.parquet"
    con.execute(f"COPY ({sql}) TO {duck.literal(str(path))} ({duck.parquet_options(path)})")
    return str(path)
