"""Sentinel rows: for each check a scratch row that must fail it, judged before a batch is trusted.

Great Expectations can fail open: a suite that lost a check, or a metric that sees nothing, reports
success. So every run plants one bad row per check beside a good one, prepares them as it prepares
the batch, and asks both compile targets to find exactly the planted rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from expectations import sqlpass, suites
from expectations.columns import DOSED, MEASURED, SCHEMA
from expectations.judged import (
    DRIFT,
    DRIFT_TABLE,
    EARLIEST,
    GRACE,
    RECORDS,
    Judged,
    prepare,
    prepare_records,
)
from expectations.table import checks_of, dose_ranges
from pipelines.base.duck import literal, quote
from studies.analytes import analytes

if TYPE_CHECKING:
    import duckdb

#: Any instant would do: the sentinels of records that became no event have no time.
_ANY_DAY = EARLIEST.replace(year=2000) + GRACE
_PLANTED = "_planted"
_GOOD_ROW = "planted_good"
_TOKEN = "sentinel"  # noqa: S105 - a code of no code system
_GOOD = {
    "source_file_sha": "'sentinel'",
    "source_row": "0",
    "record_key": "'sentinel'",
    "version": "1",
    "operation": "'upsert'",
    "patient_key": "'sentinel'",
    "time_precision": "'instant'",
    "zone": "'UTC'",
    "code": f"'{_TOKEN}'",
    "code_system": f"'{_TOKEN}'",
    "status": "'completed'",
    "route": "'intravenous'",
    "evidence": "'administered'",
    "sex": "'female'",
    "setting": "'inpatient'",
    "z_score": "-2.0",
    "grade": "1",
    "skeletal_site": "'spine'",
    "dose_unit": "'mg'",
    "low_limit": "1.0",
    "high_limit": "2.0",
    "is_content": "true",
    "low": "0.0",
    "high": "1.0",
    **{check.id: "0.5" for check in checks_of(DRIFT)},
}


def _good(event_type: str, latest_at: datetime) -> dict[str, str]:
    through = f"TIMESTAMP '{latest_at - GRACE}'"
    analyte = analytes()[0]
    return _GOOD | {
        "event_type": literal(event_type),
        "occurred_at": through,
        "ended_at": through,
        "birth_date": f"CAST({through} AS DATE)",
        "died_at": through,
        "value": str((analyte.possible_low + analyte.possible_high) / 2),
        "unit": literal(analyte.unit),
        "dose_value": str(dose_ranges()[0].possible_high_mg / 100),
        **({"status": "'final'"} if event_type == "LabResulted" else {}),
        **({"fate": "'duplicate'", "reason": "NULL"} if event_type == RECORDS else {}),
    }


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    described = con.execute(f"DESCRIBE {table}").fetchall()
    return {row[0]: row[1] for row in described}


def _plant(
    con: duckdb.DuckDBPyConnection, event_type: str, source: str, latest_at: datetime
) -> None:
    """Make a scratch copy of an empty event table with row 0 good and row n bad for check n."""
    planted = f"{SCHEMA}.{_PLANTED}"
    con.execute(f"CREATE OR REPLACE TABLE {planted} AS FROM {source} LIMIT 0")
    kinds = _columns(con, planted)

    def listed(values: dict[str, str]) -> str:
        return ", ".join(
            f"CAST({sql} AS {kinds[name]}) AS {quote(name)}"
            for name, sql in values.items()
            if name in kinds
        )

    con.execute(f"INSERT INTO {planted} BY NAME SELECT {listed(_good(event_type, latest_at))}")
    # Never from the table that is filled: with one thread, DuckDB reads what it has just inserted.
    con.execute(f"CREATE OR REPLACE TEMP TABLE {_GOOD_ROW} AS FROM {planted}")
    bad = (
        f"SELECT * REPLACE ({listed({**check.bad, 'source_row': str(number)})}) FROM {_GOOD_ROW}"
        for number, check in enumerate(checks_of(event_type), start=1)
    )
    con.execute(f"INSERT INTO {planted} {' UNION ALL '.join(bad)}")
    con.execute(f"DROP TABLE temp.{_GOOD_ROW}")


def _judged(con: duckdb.DuckDBPyConnection, event_type: str, latest_at: datetime) -> Judged:
    planted = f"{SCHEMA}.{_PLANTED}"
    table = f"{_PLANTED}_judged"
    if event_type == RECORDS:
        _plant(con, event_type, "fate.row", latest_at)
        return prepare_records(con, source=planted, table=table)
    if event_type == DRIFT:
        _plant(con, event_type, f"{SCHEMA}.{DRIFT_TABLE}", latest_at)
        return Judged(event_type, _PLANTED, _PLANTED, planted)
    _plant(con, event_type, f"event.{quote(event_type)}", latest_at)
    if event_type in MEASURED + DOSED:
        concept = analytes()[0].concept if event_type in MEASURED else dose_ranges()[0].concept
        con.execute(
            f"INSERT INTO {SCHEMA}._concept VALUES (?, '{_TOKEN}', '{_TOKEN}', 'exact', ?)",
            [event_type, concept],
        )
    judged = prepare(con, event_type, latest_at, source=planted, table=table)
    con.execute(f"DELETE FROM {SCHEMA}._concept WHERE code_system = '{_TOKEN}'")
    return judged


def missed(con: duckdb.DuckDBPyConnection, event_type: str, latest_at: datetime) -> list[str]:
    """Return the checks of an event type that don't find exactly what was planted for them.

    Great Expectations must find the planted row of each check, spare the good row, and name the
    rows that the SQL pass names.
    """
    judged = _judged(con, event_type, latest_at)
    by_gx = suites.run(con, judged, 0.0, suites.IDENTITIES)
    by_sql: dict[str, set[int]] = {}
    for check_id, row in con.execute(
        f"SELECT check_id, source_row FROM ({sqlpass.failures_sql(judged)})"
    ).fetchall():
        by_sql.setdefault(check_id, set()).add(row)
    wrong = []
    for number, check in enumerate(checks_of(event_type), start=1):
        found = by_gx[check.id].rows if check.id in by_gx else frozenset[int]()
        if number not in found or 0 in found or found != frozenset(by_sql.get(check.id, ())):
            wrong.append(check.id)
    return wrong


def lost(
    con: duckdb.DuckDBPyConnection, event_types: Iterable[str], latest: Mapping[str, datetime]
) -> list[str]:
    """Return why no verdict can be trusted: checks that did not find what was planted for them."""
    return [
        f"sentinel_missed: the check {name}.{check_id} did not find the bad row that was planted."
        for name in event_types
        for check_id in missed(con, name, latest.get(name, _ANY_DAY))
    ]
