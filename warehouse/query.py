"""The analyst's own SQL on a published warehouse, read-only and shut off from everything else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base.duck import attach, connect
from pipelines.base.errors import QueryError, StorageError
from warehouse.guard import guarded


@dataclass(frozen=True)
class QueryResult:
    """Answer to a query: column names, their DuckDB types, and the rows as Python values."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def open_reader(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a published warehouse for reading; the schemas are found without a prefix.

    The file is attached to a database in memory: opening it by path would give a process that has
    an earlier publication open the old file again. No statement can reach another file.

    Errors:
        StorageError: there is no such file, or it is no DuckDB database.
    """
    if not path.is_file():
        raise StorageError(
            "There is no warehouse here.",
            where=str(path),
            remedy="Check the path, or make it: `dripwatch refresh --config site.toml`.",
        )
    con = connect()
    try:
        with guarded("opening it for reading", path):
            attach(con, path, "warehouse", read_only=True)
            con.execute("USE warehouse")
            con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
    except Exception:
        con.close()
        raise
    return con


def run_query(path: Path, sql: str) -> QueryResult:
    """Run SQL on a published warehouse; of several statements the last one's rows are returned.

    Errors:
        QueryError: with DuckDB's own message; the statement is the analyst's, and so is the file.
        StorageError: there is no such file, or it is no DuckDB database.
    """
    with open_reader(path) as con:
        try:
            con.execute(sql)
            described = con.description or []
            rows = con.fetchall() if described else []
        except duckdb.Error as error:
            raise QueryError(
                f"DuckDB refuses the statement: {error}",
                where=str(path),
                remedy="Mend the statement. `select * from reference.dictionary` lists every "
                "table and column; the file cannot be written to.",
            ) from None
    return QueryResult(
        columns=tuple(column[0] for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=tuple(tuple(row) for row in rows),
    )
