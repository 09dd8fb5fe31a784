"""What became of every row of a batch, and the proof that none was lost or counted twice.

A nested record can be several events, of one type (its parts) or of several, and each has a fate:
identity is (file, row, part, type). What becomes of the record itself is the best of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipelines.base.duck import literal, quote
from pipelines.base.errors import ReconciliationError
from pipelines.ingest.manifest import InputFile, OutOfScope
from schemas import CLINICAL_TYPES

#: Stands for the event type of rows whose type could not be told.
UNKNOWN = "unknown"

#: Best first: a record that has several fates is counted under the first of them. `reference` is
#: a record that others look something up in.
FATES = ("accepted", "quarantined", "superseded", "duplicate", "out_of_scope", "reference")

Counts = dict[str, int]


@dataclass(frozen=True)
class Account:
    """Every row of a batch, counted by fate; the sums have been checked.

    `fates` counts input rows and sums to the rows of the files; `fates_by_type` counts events and
    what made none, which is more where records have parts.
    """

    files: tuple[InputFile, ...]
    fates: Counts
    fates_by_type: dict[str, Counts]
    out_of_scope: tuple[OutOfScope, ...]


def known_type_sql(column: str) -> str:
    """Return the expression for a row's event type, null where the text names none.

    Such text came out of a file and could say anything; it must not reach a manifest.
    """
    names = ", ".join(literal(name) for name in CLINICAL_TYPES)
    return f"CASE WHEN {column} IN ({names}) THEN {column} END"


_TYPE_OR_UNKNOWN = f"coalesce({known_type_sql('event_type')}, {literal(UNKNOWN)})"


def delivered_types(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the event types that the staging database has a table for, in canonical order."""
    rows = con.execute(
        "SELECT table_name FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = 'event'"
    ).fetchall()
    found = {str(name) for (name,) in rows}
    if unknown := sorted(found - set(CLINICAL_TYPES)):
        raise _broken(f"the staging database has tables of no event type: {', '.join(unknown)}", "")
    return [name for name in CLINICAL_TYPES if name in found]


def same_row(one: str, other: str) -> str:
    """Return the condition under which two relations speak of one part of one row of one file."""
    return (
        f"{one}.source_file_sha = {other}.source_file_sha AND {one}.source_row = {other}.source_row"
        f" AND {one}.source_part IS NOT DISTINCT FROM {other}.source_part"
    )


def accepted_sql(event_type: str) -> str:
    """Return the query for a type's accepted events: candidates without the rejected ones."""
    return (
        f"SELECT e.* FROM event.{quote(event_type)} e ANTI JOIN judge.rejected r "
        f"ON r.event_type = {literal(event_type)} AND {same_row('r', 'e')}"
    )


def n_candidates(con: duckdb.DuckDBPyConnection) -> int:
    """Return the candidate events of a staging database, of all types."""
    return sum(_count(con, f"event.{quote(name)}") for name in delivered_types(con))


def n_set_aside(con: duckdb.DuckDBPyConnection) -> int:
    """Return the input rows of which something was quarantined: all, or a part of a record."""
    return _count(
        con,
        "(SELECT source_file_sha, source_row FROM judge.rejected UNION "
        "SELECT source_file_sha, source_row FROM fate.row WHERE fate = 'quarantined')",
    )


def reconcile(con: duckdb.DuckDBPyConnection, batch_id: str) -> Account:
    """Count every row by fate and check that rows read equal rows accounted for.

    Args:
        con: the batch's staging database after validation.
        batch_id: id that every candidate row must carry.

    Errors:
        ReconciliationError: a row has no fate or two, a fate is unknown, a rejected row is no
            candidate, or a sum is off; says which file and how many, never a value.
    """
    types = delivered_types(con)
    _check_batch(con, types, batch_id)
    _check_rejected(con, types, batch_id)
    con.execute(f"CREATE OR REPLACE TEMP TABLE row_fate AS {_fates_sql(types)}")
    try:
        _check_fates(con, batch_id)
        _check_files(con, batch_id)
        by_type = _counts_by_type(con)
        return Account(_files(con), _counts_by_row(con), by_type, _out_of_scope(con))
    finally:
        con.execute("DROP TABLE IF EXISTS row_told; DROP TABLE row_fate")


def _fates_sql(types: list[str]) -> str:
    parts = [
        f"SELECT source_file_sha, source_row, source_part, {_TYPE_OR_UNKNOWN} AS event_type, fate "
        "FROM fate.row"
    ]
    parts += [
        f"SELECT source_file_sha, source_row, source_part, {literal(name)}, 'accepted' "
        f"FROM ({accepted_sql(name)})"
        for name in types
    ]
    parts.append(
        "SELECT source_file_sha, source_row, source_part, event_type, 'quarantined' "
        "FROM judge.rejected"
    )
    return " UNION ALL ".join(parts)


def _check_batch(con: duckdb.DuckDBPyConnection, types: list[str], batch_id: str) -> None:
    for name in types:
        table = f"event.{quote(name)}"
        wrong = _count(con, f"{table} WHERE batch_id IS DISTINCT FROM ?", [batch_id])
        if wrong:
            raise _broken(f"{wrong} rows of {name} carry another batch's id", batch_id)


def _check_rejected(con: duckdb.DuckDBPyConnection, types: list[str], batch_id: str) -> None:
    if twice := _count(
        con,
        "(SELECT 1 FROM judge.rejected GROUP BY event_type, source_file_sha, source_row, "
        "source_part HAVING count(*) > 1)",
    ):
        raise _broken(f"{twice} rows are rejected twice", batch_id)
    if silent := _count(
        con,
        "judge.rejected r ANTI JOIN judge.failure f ON f.severity = 'reject' "
        f"AND f.event_type = r.event_type AND {same_row('f', 'r')}",
    ):
        raise _broken(f"{silent} rows are rejected by no check", batch_id)
    known = 0
    for name in types:
        known += _count(
            con,
            f"judge.rejected r SEMI JOIN event.{quote(name)} e ON r.event_type = {literal(name)} "
            f"AND {same_row('r', 'e')}",
        )
    if lost := _count(con, "judge.rejected") - known:
        raise _broken(f"{lost} rejected rows are no candidates of their type", batch_id)


def _check_fates(con: duckdb.DuckDBPyConnection, batch_id: str) -> None:
    named = ", ".join(literal(fate) for fate in FATES if fate != "accepted")
    if wrong := _count(con, f"fate.row WHERE fate IS NULL OR fate NOT IN ({named})"):
        raise _broken(f"{wrong} rows have a fate that does not exist", batch_id)
    if bare := _count(con, "row_fate WHERE source_file_sha IS NULL OR source_row IS NULL"):
        raise _broken(f"{bare} rows do not say which row of which file they are", batch_id)
    if stray := _count(
        con, "row_fate ANTI JOIN fate.file f ON f.source_file_sha = row_fate.source_file_sha"
    ):
        raise _broken(f"{stray} rows come from a file that was not delivered", batch_id)


def _check_files(con: duckdb.DuckDBPyConnection, batch_id: str) -> None:
    """Check each file: its rows are 1 to n, each has a fate, and no part of a row has two.

    A file that is listed k times (it plays k roles) has each row k times.
    """
    con.execute(_TOLD)
    rows = con.execute(_ASTRAY).fetchall()
    if rows:
        sha, expected, told = rows[0]
        raise _broken(
            f"of {expected} rows of a file {told} are accounted for, or some of them twice",
            batch_id,
            f"file {sha}",
        )
    if twice := _count(con, _TWICE):
        raise _broken(f"{twice} rows or parts of rows are accounted for twice", batch_id)


def _best(column: str) -> str:
    """Return the SQL of a fate's place in `FATES`."""
    return f"list_position([{', '.join(map(literal, FATES))}], {column})"


#: One row per input row. Nearly all have one fate: only the others are looked at part by part.
_TOLD = f"""
CREATE OR REPLACE TEMP TABLE row_told AS
SELECT source_file_sha, source_row, count(*) AS n_told, min({_best("fate")}) AS best
FROM row_fate GROUP BY ALL
"""

_LISTED = """
    SELECT source_file_sha, count(*) AS n_listed, sum(n_rows)::BIGINT AS n_expected,
           max(n_rows) AS n_rows
    FROM fate.file GROUP BY ALL
"""

_ASTRAY = f"""
WITH listed AS ({_LISTED}), told AS (
    SELECT source_file_sha, sum(n_told)::BIGINT AS n_told, count(*) AS n_distinct,
           min(n_told) AS n_least, min(source_row) AS first_row, max(source_row) AS last_row
    FROM row_told GROUP BY ALL
)
SELECT l.source_file_sha, l.n_expected, coalesce(t.n_told, 0)
FROM listed l LEFT JOIN told t ON t.source_file_sha = l.source_file_sha
WHERE l.n_expected IS DISTINCT FROM l.n_rows * l.n_listed
   OR l.n_rows IS DISTINCT FROM coalesce(t.n_distinct, 0)
   OR t.n_least < l.n_listed
   OR (l.n_rows > 0 AND (t.first_row != 1 OR t.last_row != l.n_rows))
ORDER BY l.source_file_sha
"""

_SEVERAL = f"""
    SELECT t.source_file_sha, t.source_row, l.n_listed FROM row_told t
    JOIN ({_LISTED}) l ON l.source_file_sha = t.source_file_sha WHERE t.n_told > 1
"""

_TWICE = f"""(
    SELECT 1 FROM row_fate f JOIN ({_SEVERAL}) s
        ON s.source_file_sha = f.source_file_sha AND s.source_row = f.source_row
    GROUP BY f.source_file_sha, f.source_row, f.source_part, f.event_type, s.n_listed
    HAVING count(*) > s.n_listed
)"""

#: A row of a file in k roles has k fates, the best k that are told of it.
_BY_ROW = f"""
SELECT best, count(*) FROM (
    SELECT best FROM row_told WHERE n_told = 1
    UNION ALL
    SELECT {_best("f.fate")} AS best FROM row_fate f JOIN ({_SEVERAL}) s
        ON s.source_file_sha = f.source_file_sha AND s.source_row = f.source_row
    QUALIFY row_number() OVER (
        PARTITION BY f.source_file_sha, f.source_row ORDER BY {_best("f.fate")}
    ) <= s.n_listed
) GROUP BY ALL
"""


def _counts_by_row(con: duckdb.DuckDBPyConnection) -> Counts:
    found = {FATES[place - 1]: number for place, number in con.execute(_BY_ROW).fetchall()}
    return {fate: found.get(fate, 0) for fate in FATES}


def _counts_by_type(con: duckdb.DuckDBPyConnection) -> dict[str, Counts]:
    rows = con.execute(
        "SELECT event_type, fate, count(*) FROM row_fate GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    names = dict.fromkeys([*delivered_types(con), *(name for name, _, _ in rows)])
    counts = {str(name): dict.fromkeys(FATES, 0) for name in names}
    for name, fate, number in rows:
        counts[name][fate] = number
    return counts


def _files(con: duckdb.DuckDBPyConnection) -> tuple[InputFile, ...]:
    rows = con.execute("SELECT source_file_sha, name, n_rows FROM fate.file ORDER BY ALL")
    return tuple(InputFile(sha, name, n_rows) for sha, name, n_rows in rows.fetchall())


def _out_of_scope(con: duckdb.DuckDBPyConnection) -> tuple[OutOfScope, ...]:
    rows = con.execute(
        f"SELECT {_TYPE_OR_UNKNOWN}, code_system, code, count(*) "
        "FROM fate.row WHERE fate = 'out_of_scope' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return tuple(OutOfScope(*row) for row in rows)


def _count(con: duckdb.DuckDBPyConnection, what: str, parameters: list[str] | None = None) -> int:
    row = con.execute(f"SELECT count(*) FROM {what}", parameters or []).fetchone()
    return int(row[0]) if row else 0


def _broken(what: str, batch_id: str, where: str = "") -> ReconciliationError:
    place = ", ".join(part for part in (f"batch {batch_id}" if batch_id else "", where) if part)
    return ReconciliationError(
        f"The rows of a batch do not add up: {what}.",
        where=place or None,
        remedy="Report it with this text; it is a fault of the program, not of the delivery.",
        next_run="reads the delivery again; nothing of it was committed",
    )
