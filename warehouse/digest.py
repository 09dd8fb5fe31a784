"""Digests: one hash of a table's content, whatever the order of its rows and the run that wrote it.

A digest leaves out which run wrote a row, and in which delivered file and line the row's record
stood: a delivery that is split in two says the same about the patients.

There are two levels. `state` is a function of what was accepted, whatever the nights were: equal
under any order, split or replay. `history` is what was recorded on the way (looks, alerts): equal
under crashes and under a replay of the same nights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from pipelines.base.duck import attach, connect, quote
from pipelines.base.errors import StorageError
from warehouse.guard import guarded, one_row

Level = Literal["state", "history"]
LEVELS: tuple[Level, ...] = ("state", "history")

#: Schemas that are a function of (accepted events, data_through, study, checks, version).
STATE_SCHEMAS = ("linkage", "signals")

#: Tables that record history (looks, alerts) and so depend on the nights.
HISTORY_TABLES = frozenset({"ops.look", "signals.sequential", "signals.alert"})

_LEFT_OUT = frozenset({"run_id", "source_file_sha", "source_row", "source_part"})


@dataclass(frozen=True)
class Digest:
    """Hash of a database's content at a level, and of each of its tables (`schema.table`)."""

    level: Level
    value: str
    tables: dict[str, str]

    def __str__(self) -> str:
        return self.value


def digest(path: Path, level: Level = "state") -> Digest:
    """Return the digest of a site store or a published warehouse.

    Errors:
        StorageError: there is no such file, or it is no DuckDB database.
        LockedError: a run is writing to it.
    """
    if not path.is_file():
        raise StorageError(
            "There is no such file.",
            where=str(path),
            remedy="Check the path; `dripwatch refresh` makes the warehouse.",
        )
    with guarded("computing its digest", path), connect() as con:
        attach(con, path, "subject", read_only=True)
        tables = table_digests(con, "subject", level)
    return Digest(level, combine(tables), tables)


def table_digests(
    con: duckdb.DuckDBPyConnection, catalog: str, level: Level = "state"
) -> dict[str, str]:
    """Return the digest of each of a level's tables that a database has, by `schema.table`."""
    return {
        f"{schema}.{table}": table_digest(con, catalog, schema, table)
        for schema, table in _tables(con, catalog, level)
    }


def state_tables(con: duckdb.DuckDBPyConnection, catalog: str) -> list[tuple[str, str]]:
    """Return schema and name of each table that a state digest reads, sorted."""
    return _tables(con, catalog, "state")


def combine(tables: dict[str, str]) -> str:
    """Return one hash for several tables' digests."""
    text = "\n".join(f"{name} {value}" for name, value in sorted(tables.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def table_digest(con: duckdb.DuckDBPyConnection, catalog: str, schema: str, table: str) -> str:
    """Return the SHA-256 over a table's columns and the multiset of its rows.

    Equal exactly where SQL calls the rows equal (-0.0 is 0.0, NaN is NaN, null is null).
    """
    columns = digest_columns(con, catalog, schema, table)
    source = f"{catalog}.{quote(schema)}.{quote(table)}"
    return digest_of(columns, content_sums(con, source, columns))


#: Name and type of the columns of a table that its digest reads.
Columns = Sequence[tuple[str, str]]

#: Number of rows, and the sums of the halves of their hashes: of two tables, they add up.
Sums = tuple[int, int, int]


def digest_columns(
    con: duckdb.DuckDBPyConnection, catalog: str, schema: str, table: str
) -> Columns:
    """Return the columns of a table that its digest reads, by name."""
    found = con.execute(
        """SELECT column_name, data_type FROM duckdb_columns()
        WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_name""",
        [catalog, schema, table],
    ).fetchall()
    return [(name, kind) for name, kind in found if name not in _LEFT_OUT]


def content_sums(con: duckdb.DuckDBPyConnection, source: str, columns: Columns) -> Sums:
    """Return what rows add up to; sums do not care for order, and see a row that is there twice."""
    n_rows, lower, upper = one_row(
        con.execute(
            f"""WITH told AS (SELECT {_row_sql(columns)} AS told FROM {source})
            SELECT count(*), sum(md5_number_lower(told)), sum(md5_number_upper(told)) FROM told"""
        )
    )
    return n_rows, lower or 0, upper or 0


def digest_of(columns: Columns, sums: Sums) -> str:
    """Return the digest of a table with such columns, whose rows add up to this."""
    told = sums if sums[0] else (0, None, None)
    return hashlib.sha256(f"{list(columns)} {told}".encode()).hexdigest()


def _row_sql(columns: Iterable[tuple[str, str]]) -> str:
    """Return SQL for a row as text; JSON's quotes keep any two different rows apart."""
    return "to_json([" + ", ".join(_cell_sql(name, kind) for name, kind in columns) + "])::VARCHAR"


def _cell_sql(name: str, kind: str) -> str:
    column = quote(name)
    if kind in ("DOUBLE", "FLOAT"):
        return f"({column} + 0.0)::VARCHAR"
    return f"to_json({column})::VARCHAR" if kind.endswith("[]") else f"{column}::VARCHAR"


def _tables(con: duckdb.DuckDBPyConnection, catalog: str, level: Level) -> list[tuple[str, str]]:
    rows = con.execute(
        """SELECT schema_name, table_name FROM duckdb_tables()
        WHERE database_name = ? ORDER BY ALL""",
        [catalog],
    ).fetchall()
    return [(s, t) for s, t in rows if _level_of(s, t) == level]


def _level_of(schema: str, table: str) -> Level | None:
    if f"{schema}.{table}" in HISTORY_TABLES:
        return "history"
    return "state" if schema in STATE_SCHEMAS else None
