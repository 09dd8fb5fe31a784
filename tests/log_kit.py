"""A small delivery in staging tables, and a log to write it into."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pytest

import schemas
from pipelines.base import duck
from pipelines.ingest.batch import batch_id
from pipelines.ingest.facts import CheckResult, DeliveredFile, DeliveryFacts, ValidationSummary
from pipelines.ingest.log import EventLog

LABS, MEDS = "1" * 64, "2" * 64
NIGHT = dt.datetime(2026, 1, 6, 2, tzinfo=dt.UTC)
VERDICT = ValidationSummary(
    checks=(CheckResult("no_code", "LabResulted", "code", "reject", 4, 1, 1, True, "conformance"),),
    checks_hash="c" * 64,
    hold_reasons=(),
)


def delivery(**changes: Any) -> DeliveryFacts:
    """Facts of a delivery whose id is right."""
    identity: dict[str, Any] = {
        "site_id": "demo",
        "source": "ehr",
        "kind": "delta",
        "exported_at": NIGHT,
        "data_through": {
            "LabResulted": NIGHT,
            "InfusionRecorded": NIGHT,
            "VitalSignMeasured": NIGHT,
        },
        "files": (
            DeliveredFile(Path("inbox/labs.csv"), "labs", LABS),
            DeliveredFile(Path("inbox/meds.csv.gz"), "meds", MEDS),
        ),
        "mapping_hash": "a" * 64,
        "scope_hash": "b" * 64,
        "parser_version": "1",
        **changes,
    }
    return DeliveryFacts(batch_id=batch_id(**identity), **identity)


FACTS = delivery()


def stage(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts = FACTS) -> None:
    """Fill the staging tables: 8 rows of labs.csv and 2 of meds.csv, every fate at least once."""
    con.execute(
        """
        CREATE SCHEMA event; CREATE SCHEMA fate; CREATE SCHEMA judge;
        CREATE TABLE fate.file(source_file_sha VARCHAR, name VARCHAR, n_rows BIGINT);
        CREATE TABLE fate.row(source_file_sha VARCHAR, source_row BIGINT, event_type VARCHAR,
            fate VARCHAR, reason VARCHAR, code VARCHAR, code_system VARCHAR, record_key VARCHAR,
            source_part INTEGER);
        CREATE TABLE fate.unreadable(source_file_sha VARCHAR, source_row BIGINT, raw VARCHAR);
        CREATE TABLE fate.withdrawn(resource_key VARCHAR, version BIGINT, recorded_at TIMESTAMP,
            source_file_sha VARCHAR, source_row BIGINT, reason VARCHAR);
        CREATE TABLE judge.failure(event_type VARCHAR, source_file_sha VARCHAR, source_row BIGINT,
            source_part INTEGER, record_key VARCHAR, check_id VARCHAR, severity VARCHAR);
        CREATE TABLE judge.rejected(event_type VARCHAR, source_file_sha VARCHAR,
            source_row BIGINT, source_part INTEGER);
        """
    )
    for name in ("LabResulted", "InfusionRecorded"):
        con.execute(schemas.create_table_sql(name, f'event."{name}"'))
    insert = (
        'INSERT INTO event."{}" BY NAME SELECT $batch AS batch_id, $sha AS source_file_sha, '
        "$site AS site_id, $source AS source, $name AS event_type, "
        "unnest($rows) AS source_row, 'k' AS record_key, TIMESTAMP '1969-07-20 20:17:00' AS "
        "occurred_at, ['odd'] AS flags, 'Jane' AS display"
    )
    for name, sha, rows in (("LabResulted", LABS, [1, 2, 4, 6]), ("InfusionRecorded", MEDS, [2])):
        values = {"batch": facts.batch_id, "sha": sha, "rows": rows, "name": name}
        values |= {"site": facts.site_id, "source": facts.source}
        con.execute(insert.format(name), values)
    con.execute("INSERT INTO fate.file VALUES (?, 'labs.csv', 8), (?, 'meds.csv', 2)", [LABS, MEDS])
    fates = [
        (LABS, 3, "LabResulted", "out_of_scope", None, "718-7", "loinc", "k3"),
        (LABS, 5, "LabResulted", "duplicate", None, None, None, "k5"),
        (LABS, 7, "LabResulted", "out_of_scope", None, "718-7", "loinc", "k7"),
        (LABS, 8, "LabResulted", "quarantined", "unreadable_record", None, None, None),
        (MEDS, 1, None, "quarantined", "unknown_event_type", None, None, None),
    ]
    con.executemany("INSERT INTO fate.row VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", fates)
    con.execute("INSERT INTO fate.unreadable VALUES (?, 8, 'a;\"b')", [LABS])
    con.execute(
        "INSERT INTO judge.failure VALUES ('LabResulted', $1, 4, NULL, 'k', 'no_code', 'reject'), "
        "('LabResulted', $1, 4, NULL, 'k', 'bad_value', 'reject'), "
        "('LabResulted', $1, 4, NULL, 'k', 'unknown_unit', 'warn'), "
        "('LabResulted', $1, 6, NULL, 'k', 'unknown_unit', 'warn')",
        [LABS],
    )
    con.execute("INSERT INTO judge.rejected VALUES ('LabResulted', ?, 4, NULL)", [LABS])


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duck.connect(threads=1)
    stage(connection)
    yield connection
    connection.close()


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


def entries(log: EventLog, state: str) -> list[str]:
    return sorted(entry.name for entry in (log.root / state).iterdir())


def records(path: Path, name: str) -> list[Any]:
    with path.open("rb") as stream:
        return list(fastavro.reader(stream, schemas.canonical(name)))


# --- damage -------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
