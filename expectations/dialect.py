"""Great Expectations over a DuckDB connection of this process.

Two things keep GX 1.24 from running on DuckDB as it comes: it closes the connection before it
fetches, and in duckdb-engine a cursor is the connection, so the pending result is lost (GX issues
10738 and 11579); and duckdb-engine's reflection asks PostgreSQL catalogues that SQLAlchemy 2.0.45
changed. So each cursor here keeps its own rows, and columns are read from `duckdb_columns()`.
The dialect calls itself `postgresql`, because that is the branch of GX that compiles regexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

Row = tuple[Any, ...]


class BufferedCursor:
    """A DB-API cursor that fetches at once and so outlives its connection."""

    arraysize = 1
    rowcount = -1

    def __init__(self, con: duckdb.DuckDBPyConnection, connection: SharedConnection) -> None:
        self._con = con
        self.connection = connection
        self._rows: Iterator[Row] = iter(())
        self.description: Sequence[Any] | None = None

    def execute(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        """Run a statement; DuckDB's own messages quote values, so they are not passed on."""
        try:
            result = self._con.execute(statement, parameters or [])
        except duckdb.Error as error:
            message = f"DuckDB refused a statement of a check ({type(error).__name__})"
            raise duckdb.Error(message) from None
        self.description = result.description
        self._rows = iter(result.fetchall() if result.description else ())

    def fetchone(self) -> Row | None:
        """Return the next row, None after the last."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return up to `size` rows."""
        wanted = size or self.arraysize
        return [row for _, row in zip(range(wanted), self._rows, strict=False)]

    def fetchall(self) -> list[Row]:
        """Return the rows that are left."""
        return list(self._rows)

    def close(self) -> None:
        """Drop the rows."""
        self._rows = iter(())


class SharedConnection:
    """A DB-API connection over a DuckDB connection that someone else owns.

    Commit, rollback and close do nothing: checks only read, and the caller's transaction and
    connection must survive them.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.notices: list[str] = []

    def cursor(self) -> BufferedCursor:
        """Return a cursor with rows of its own."""
        return BufferedCursor(self._con, self)

    def begin(self) -> None:
        """Open no transaction: the owner may be in one."""

    def commit(self) -> None:
        """Leave the owner's transaction alone."""

    def rollback(self) -> None:
        """Leave the owner's transaction alone."""

    def close(self) -> None:
        """Leave the owner's connection open."""


def engine(con: duckdb.DuckDBPyConnection) -> Engine:
    """Return an SQLAlchemy engine whose every statement runs on `con`."""
    from sqlalchemy import create_engine
    from sqlalchemy.dialects import registry
    from sqlalchemy.pool import StaticPool

    registry.register("duckdb.checks", "expectations.sqla", "ChecksDialect")
    shared = SharedConnection(con)
    return create_engine("duckdb+checks:///:memory:", creator=lambda: shared, poolclass=StaticPool)
