"""Loading what linkage, signals and studies produce: one transaction, unchanged rows untouched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.base.duck import parquet, quote
from warehouse.digest import Columns, Sums, content_sums, digest_columns, digest_of
from warehouse.guard import one_row
from warehouse.models import RUN_COLUMN, Model

#: Facts of `ops.state` on a table's content, with the table's name at the end.
DIGEST = "digest:"
SUMS = "sums:"

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
    reader = parquet(*paths)
    found = {row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()}
    _check_columns(model, found)
    columns = ", ".join(quote(name) for name in model.content_columns)
    con.execute(f"INSERT INTO temp.incoming SELECT {columns} FROM {reader}")


def stage_query(con: duckdb.DuckDBPyConnection, model: Model, query: str) -> None:
    """Make temp table `incoming` from what the store tells."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE incoming ({_column_types(model)})")
    con.execute(f"INSERT INTO temp.incoming BY NAME {query}")


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
    stage_table(
        con, model, pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields))
    )


def stage_table(con: duckdb.DuckDBPyConnection, model: Model, table: pa.Table) -> None:
    """Make temp table `incoming` from a table in memory, its columns in any order.

    Errors:
        ValueError: it lacks a column of the table or has one that it lacks.
    """
    _check_columns(model, set(table.column_names))
    con.execute(f"CREATE OR REPLACE TEMP TABLE incoming ({_column_types(model)})")
    con.register("given", table)
    con.execute("INSERT INTO temp.incoming BY NAME SELECT * FROM given")
    con.unregister("given")


def replace_content(
    con: duckdb.DuckDBPyConnection, model: Model, run_id: str | None
) -> LoadedTable:
    """Make a table of the store equal to `incoming`; rows that stay keep the run that wrote them.

    Errors:
        ValueError: two rows of `incoming` have one key.
    """
    check_grain(con, model)
    table, same = model.target("store"), _same(model)
    (n_removed,) = one_row(
        con.execute(
            f"""DELETE FROM {table} WHERE rowid IN
            (SELECT old.rowid FROM {table} AS old ANTI JOIN temp.incoming AS new ON {same})"""
        )
    )
    n_added = _insert(
        con, model, run_id, f"FROM temp.incoming AS new ANTI JOIN {table} AS old ON {same}"
    )
    con.execute("DROP TABLE temp.incoming")
    if n_added or n_removed or _known_sums(con, model) is None:
        _keep_sums(con, model, content_sums(con, table, _digested(con, model)))
    return LoadedTable(model.full_name, _n_rows(con, table), n_added, n_removed)


def replace_part(
    con: duckdb.DuckDBPyConnection, model: Model, run_id: str | None, part: str
) -> LoadedTable:
    """Make a part of a table equal to `incoming`; all other rows stay unread but for that.

    Args:
        con: connection that uses the store.
        model: the table.
        run_id: written on rows that are new or changed.
        part: SQL condition on the table's rows that are replaced.

    Errors:
        ValueError: two rows of `incoming` have one key.
    """
    check_grain(con, model)
    table, same, columns = model.target("store"), _same(model), _digested(con, model)
    sums = _known_sums(con, model) or content_sums(con, table, columns)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE part AS SELECT rowid AS row_number, * FROM {table}
        WHERE {part};
        CREATE OR REPLACE TEMP TABLE gone AS
        FROM temp.part AS old ANTI JOIN temp.incoming AS new ON {same};
        CREATE OR REPLACE TEMP TABLE come AS
        FROM temp.incoming AS new ANTI JOIN temp.part AS old ON {same}"""
    )
    less, more = (content_sums(con, f"temp.{name}", columns) for name in ("gone", "come"))
    con.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT row_number FROM temp.gone)")
    _insert(con, model, run_id, "FROM temp.come AS new")
    for name in ("incoming", "part", "gone", "come"):
        con.execute(f"DROP TABLE temp.{name}")
    n_rows, lower, upper = (n - a + b for n, a, b in zip(sums, less, more, strict=True))
    _keep_sums(con, model, (n_rows, lower, upper))
    return LoadedTable(model.full_name, _n_rows(con, table), more[0], less[0])


def _same(model: Model) -> str:
    return " AND ".join(
        f"old.{quote(name)} IS NOT DISTINCT FROM new.{quote(name)}"
        for name in model.content_columns
    )


def _insert(con: duckdb.DuckDBPyConnection, model: Model, run_id: str | None, rows: str) -> int:
    has_run = RUN_COLUMN in model.column_names
    (n_added,) = one_row(
        con.execute(
            f"""INSERT INTO {model.target("store")} BY NAME
            SELECT new.*{f", ? AS {RUN_COLUMN}" if has_run else ""} {rows}""",
            [run_id] if has_run else [],
        )
    )
    return int(n_added)


def _n_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(one_row(con.execute(f"SELECT count(*) FROM {table}"))[0])


# Digests of tables are kept by what adds up, so that a night reads the rows that it changes.


def _digested(con: duckdb.DuckDBPyConnection, model: Model) -> Columns:
    return digest_columns(con, "store", *model.full_name.split("."))


def _known_sums(con: duckdb.DuckDBPyConnection, model: Model) -> Sums | None:
    row = con.execute(
        "SELECT value FROM ops.state WHERE name = ?", [SUMS + model.full_name]
    ).fetchone()
    if row is None:
        return None
    n_rows, lower, upper = json.loads(row[0])
    return n_rows, lower, upper


def _keep_sums(con: duckdb.DuckDBPyConnection, model: Model, sums: Sums) -> None:
    facts = {
        SUMS: json.dumps(sums),
        DIGEST: digest_of(_digested(con, model), sums),
    }
    for name, value in facts.items():
        con.execute(
            "INSERT OR REPLACE INTO ops.state VALUES (?, ?)", [name + model.full_name, value]
        )


def note_content(con: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Keep the digest of a table that was filled otherwise than by `replace_content`."""
    _keep_sums(con, model, content_sums(con, model.target("store"), _digested(con, model)))


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


def check_grain(
    con: duckdb.DuckDBPyConnection, model: Model, source: str = "temp.incoming"
) -> None:
    """Refuse rows of which two have the key of the table.

    Errors:
        ValueError: there are such.
    """
    key = ", ".join(quote(name) for name in model.key)
    (n_repeated,) = one_row(
        con.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {source} GROUP BY {key} HAVING count(*) > 1)"
        )
    )
    if n_repeated:
        msg = f"{model.full_name}: {n_repeated} keys have more than one row; {model.grain}"
        raise ValueError(msg)
