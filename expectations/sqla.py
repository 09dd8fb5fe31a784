"""The SQLAlchemy dialect that `expectations.dialect` registers; importing it is heavy."""

from __future__ import annotations

from typing import Any

import duckdb_engine
from sqlalchemy import text
from sqlalchemy import types as sqla
from sqlalchemy.engine import Connection

# GX compiles every column's type, also of columns that no check names, and a NullType has no
# compiled form: what is not listed is shown to it as text.
_TYPES: dict[str, type[sqla.TypeEngine[Any]]] = {
    "BIGINT": sqla.BigInteger,
    "INTEGER": sqla.Integer,
    "DOUBLE": sqla.Float,
    "BOOLEAN": sqla.Boolean,
    "TIMESTAMP": sqla.TIMESTAMP,
    "DATE": sqla.Date,
}
_COLUMNS = """
    SELECT column_name, data_type, is_nullable
    FROM duckdb_columns()
    WHERE table_name = :table AND schema_name = coalesce(:schema, current_schema())
      AND database_name = current_database()
    ORDER BY column_index
"""
_TABLES = """
    SELECT count(*) FROM information_schema.tables
    WHERE table_name = :table AND table_schema = coalesce(:schema, current_schema())
      AND table_catalog = current_database()
"""


class ChecksDialect(duckdb_engine.Dialect):  # type: ignore[misc] # untyped package
    """DuckDB with catalogue look-ups of its own, under the name that GX's SQL is written for."""

    name = "postgresql"
    driver = "checks"
    supports_statement_cache = False

    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **_: object
    ) -> list[dict[str, Any]]:
        """Return the columns of a table or view in order."""
        found = connection.execute(text(_COLUMNS), {"table": str(table_name), "schema": schema})
        return [
            {
                "name": name,
                "type": _TYPES.get(kind, sqla.String)(),
                "nullable": bool(nullable),
                "default": None,
                "autoincrement": False,
                "comment": None,
            }
            for name, kind, nullable in found
        ]

    def get_pk_constraint(self, *_: object, **__: object) -> dict[str, Any]:
        """Return no key: staging tables have none."""
        return {"constrained_columns": [], "name": None}

    def has_table(
        self, connection: Connection, table_name: str, schema: str | None = None, **_: object
    ) -> bool:
        """Tell whether a table or view is there."""
        names = {"table": str(table_name), "schema": schema}
        return bool(connection.execute(text(_TABLES), names).scalar())

    def do_ping(self, dbapi_connection: object) -> bool:
        """Answer yes: the connection is in this process."""
        return dbapi_connection is not None

    def get_default_isolation_level(self, *_: object) -> None:  # type: ignore[override,unused-ignore]
        """Return nothing: DuckDB has one isolation level and GX needs none."""
