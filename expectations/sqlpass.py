"""The SQL pass: one statement per event type that names the rows that fail, check by check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.columns import SCHEMA
from expectations.judged import Judged
from expectations.table import Check, checks_of
from pipelines.base.duck import literal, quote

if TYPE_CHECKING:
    import duckdb

TABLES = """
    DROP SCHEMA IF EXISTS judge CASCADE;
    CREATE SCHEMA judge;
    CREATE TABLE judge.failure (event_type VARCHAR, source_file_sha VARCHAR, source_row BIGINT,
        source_part INTEGER, record_key VARCHAR, check_id VARCHAR, severity VARCHAR);
    CREATE TABLE judge."check" (check_id VARCHAR, event_type VARCHAR, column_name VARCHAR,
        severity VARCHAR, n_rows BIGINT, n_failed_sql BIGINT, n_failed_gx BIGINT, agrees BOOLEAN,
        kahn_category VARCHAR);
    CREATE TABLE judge.rejected (event_type VARCHAR, source_file_sha VARCHAR, source_row BIGINT,
        source_part INTEGER);
"""


def fails(check: Check, event_type: str) -> str:
    """Return the SQL condition under which a judged row fails a check; never null.

    A rule about a value says nothing about a row that has none, as in Great Expectations; `told`
    is the rule about absence.
    """
    on = [quote(column) for column in check.on]
    match check.rule:
        case "told":
            found = f"{on[0]} IS NULL"
        case "absent":
            found = f"{on[0]} IS NOT NULL"
        case "one_of":
            allowed = ", ".join(literal(value) for value in check.allowed(event_type))
            found = f"coalesce({on[0]} NOT IN ({allowed}), false)"
        case "between":
            found = f"coalesce({on[0]} < {check.low} OR {on[0]} > {check.high}, false)"
        case "shaped":
            pattern = literal(check.pattern or "")
            found = f"coalesce(NOT regexp_full_match({on[0]}, {pattern}), false)"
        case "not_before":
            found = f"coalesce({on[0]} < {on[1]}, false)"
        case "possible":
            # All three are needed, or the row is not judged: `x < low OR null` would judge it.
            present = " AND ".join(f"{column} IS NOT NULL" for column in on)
            found = f"({present} AND ({on[0]} < {on[1]} OR {on[0]} > {on[2]}))"
    return found if check.rows == "all" else f"(is_content AND {found})"


def failures_sql(judged: Judged) -> str:
    """Return the query of all failures of an event type: row identity, check id, severity.

    The table is read once: rows that fail nothing are dropped before failures are listed.
    """
    checks = checks_of(judged.event_type)
    conditions = [fails(check, judged.event_type) for check in checks]
    listed = ", ".join(
        f"CASE WHEN {condition} THEN {position} END"
        for position, condition in enumerate(conditions)
    )
    names = ", ".join(
        f"({position}, {literal(check.id)}, {literal(check.severity)})"
        for position, check in enumerate(checks)
    )
    return f"""
        SELECT {literal(judged.event_type)} AS event_type, f.source_file_sha, f.source_row,
            f.source_part, f.record_key, n.check_id, n.severity
        FROM (
            SELECT source_file_sha, source_row, source_part, record_key,
                unnest([{listed}]) AS position
            FROM {SCHEMA}.{quote(judged.table)}
            WHERE {" OR ".join(conditions)}
        ) f
        JOIN (VALUES {names}) n(position, check_id, severity) ON n.position = f.position
    """


def count_failures(con: duckdb.DuckDBPyConnection, judged: Judged) -> dict[str, int]:
    """Return the failing rows of each check of an event type."""
    counted = con.execute(
        f"SELECT check_id, count(*) FROM ({failures_sql(judged)}) GROUP BY ALL"
    ).fetchall()
    return {check.id: 0 for check in checks_of(judged.event_type)} | dict(counted)


def name_failures(con: duckdb.DuckDBPyConnection, judged: Judged) -> dict[str, int]:
    """Fill `judge.failure` and `judge.rejected` for an event type; return failures per check."""
    name = judged.event_type
    con.execute(f"INSERT INTO judge.failure {failures_sql(judged)}")
    con.execute(
        "INSERT INTO judge.rejected "
        "SELECT DISTINCT event_type, source_file_sha, source_row, source_part FROM judge.failure "
        "WHERE event_type = ? AND severity = 'reject'",
        [name],
    )
    counted = con.execute(
        "SELECT check_id, count(*) FROM judge.failure WHERE event_type = ? GROUP BY ALL", [name]
    ).fetchall()
    return {check.id: 0 for check in checks_of(name)} | dict(counted)


def append_flags(con: duckdb.DuckDBPyConnection, event_type: str) -> None:
    """Write the ids of failed `warn` checks into the events' flags, each once, in table order."""
    warnings = [check.id for check in checks_of(event_type) if check.severity == "warn"]
    if not warnings:
        return
    con.execute(
        f"""
        UPDATE event.{quote(event_type)} AS e
        SET flags = list_concat(
            coalesce(e.flags, []),
            list_filter($warnings, lambda id:
                list_contains(w.found, id) AND NOT list_contains(coalesce(e.flags, []), id)))
        FROM (
            SELECT source_file_sha, source_row, source_part, list(check_id) AS found
            FROM judge.failure
            WHERE event_type = $type AND severity = 'warn' GROUP BY ALL
        ) w
        WHERE w.source_file_sha = e.source_file_sha AND w.source_row = e.source_row
            AND w.source_part IS NOT DISTINCT FROM e.source_part
        """,
        {"warnings": warnings, "type": event_type},
    )
