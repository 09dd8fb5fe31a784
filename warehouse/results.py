"""Loading what linkage, signals and studies produce: one transaction, unchanged rows untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.base.duck import literal, quote
from warehouse.guard import one_row
from warehouse.models import RUN_COLUMN, Model

ARROW_TYPES: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
    "DATE": pa.date32(),
    "VARCHAR[]": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class LoadedTable:
    """How a load changed a table of the store."""

    name: str
    n_rows: int
    n_added: int
    n_removed: int

    @property
    def has_changed(self) -> bool:
        """Whether any row differs from the run before."""
        return bool(self.n_added or self.n_removed)


def stage_parquet(con: duckdb.DuckDBPyConnection, model: Model, paths: Sequence[Path]) -> None:
    """Make temp table `incoming` from the Parquet files of a table; no file, no row.

    Errors:
        ValueError: the files lack a column of the table or have one that it lacks.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE incoming ({_column_types(model)})")
    if not paths:
        return
    files = "[" + ", ".join(literal(str(path)) for path in paths) + "]"
    reader = f"read_parquet({files}, hive_partitioning = false)"
    found = {row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()}
    _check_columns(model, found)
    columns = ", ".join(quote(name) for name in model.content_columns)
    con.execute(f"INSERT INTO temp.incoming SELECT {columns} FROM {reader}")


def stage_rows(
    con: duckdb.DuckDBPyConnection, model: Model, rows: Sequence[Mapping[str, object]]
) -> None:
    """Make temp table `incoming` from rows as Python objects (small tables only).

    Errors:
        ValueError: a row lacks a column of the table or has one that it lacks.
    """
    for row in rows:
        _check_columns(model, set(row))
    fields = [(c.name, ARROW_TYPES[c.type]) for c in model.columns if c.name != RUN_COLUMN]
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields))
    con.execute(f"CREATE OR REPLACE TEMP TABLE incoming ({_column_types(model)})")
    con.register("given", table)
    con.execute("INSERT INTO temp.incoming SELECT * FROM given")
    con.unregister("given")


def replace_content(
    con: duckdb.DuckDBPyConnection, model: Model, run_id: str | None
) -> LoadedTable:
    """Make a table of the store equal to `incoming`; rows that stay keep the run that wrote them.

    Errors:
        ValueError: two rows of `incoming` have one key.
    """
    _check_grain(con, model)
    table = model.target("store")
    same = " AND ".join(
        f"old.{quote(name)} IS NOT DISTINCT FROM new.{quote(name)}"
        for name in model.content_columns
    )
    (n_removed,) = one_row(
        con.execute(
            f"""DELETE FROM {table} WHERE rowid IN
            (SELECT old.rowid FROM {table} AS old ANTI JOIN temp.incoming AS new ON {same})"""
        )
    )
    has_run = RUN_COLUMN in model.column_names
    (n_added,) = one_row(
        con.execute(
            f"""INSERT INTO {table} BY NAME
            SELECT new.*{f", ? AS {RUN_COLUMN}" if has_run else ""}
            FROM temp.incoming AS new ANTI JOIN {table} AS old ON {same}""",
            [run_id] if has_run else [],
        )
    )
    (n_rows,) = one_row(con.execute(f"SELECT count(*) FROM {table}"))
    con.execute("DROP TABLE temp.incoming")
    return LoadedTable(model.full_name, n_rows, n_added, n_removed)


def _column_types(model: Model) -> str:
    return ", ".join(f"{quote(c.name)} {c.type}" for c in model.columns if c.name != RUN_COLUMN)


def _check_columns(model: Model, found: set[str]) -> None:
    wanted = set(model.content_columns)
    found = found - {RUN_COLUMN}
    if wanted != found:
        lacking = ", ".join(sorted(wanted - found)) or "none"
        unknown = ", ".join(sorted(found - wanted)) or "none"
        msg = f"{model.full_name}: columns missing: {lacking}; columns unknown: {unknown}"
        raise ValueError(msg)


def _check_grain(con: duckdb.DuckDBPyConnection, model: Model) -> None:
    key = ", ".join(quote(name) for name in model.key)
    (n_repeated,) = one_row(
        con.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM temp.incoming GROUP BY {key} HAVING count(*) > 1)"
        )
    )
    if n_repeated:
        msg = f"{model.full_name}: {n_repeated} keys have more than one row; {model.grain}"
        raise ValueError(msg)
