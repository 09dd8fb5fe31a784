"""The one way to open DuckDB: UTC, no network, bounded memory, spill files in a named folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

#: Rows of one INSERT; its text and parameters stay small.
_ROWS_AT_ONCE = 250


def connect(
    path: str | Path = ":memory:",
    *,
    read_only: bool = False,
    memory_limit: str | None = None,
    temp_dir: Path | None = None,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a database with the settings that every result depends on.

    Args:
        path: database file, or `:memory:`.
        read_only: open for reading; fails where a writer holds the file.
        memory_limit: DuckDB size such as `2GB`; None keeps DuckDB's default.
        temp_dir: folder for spill files, which can hold rows of patients: make it 0700.
        threads: worker threads; None keeps DuckDB's default.

    Errors:
        duckdb.IOException: the file cannot be opened or another process writes to it.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    if memory_limit:
        config["memory_limit"] = memory_limit
    if temp_dir:
        config["temp_directory"] = str(temp_dir)
    if threads:
        config["threads"] = str(threads)
    con = duckdb.connect(str(path), read_only=read_only, config=config)
    # CAST(timestamptz AS DATE) and strftime follow the session zone: one zone, everywhere.
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")
    return con


def quote(identifier: str) -> str:
    """Return an SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal (for statements that take no parameters, such as COPY)."""
    return "'" + text.replace("'", "''") + "'"


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Insert some hundred rows, many in a statement: `executemany` commits and plans each alone.

    Args:
        con: connection.
        table: name of the table as SQL, with a list of columns where only some are told.
        rows: cells, in the order of the columns.
    """
    told = list(rows)
    for start in range(0, len(told), _ROWS_AT_ONCE):
        some = told[start : start + _ROWS_AT_ONCE]
        marks = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        con.execute(f"INSERT INTO {table} VALUES {marks}", [*chain(*some)])
