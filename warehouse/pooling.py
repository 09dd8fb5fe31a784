"""`pooled.duckdb`: what several hospitals' packs tell together, built beside and swapped in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base.duck import attach, connect, literal
from pipelines.base.errors import PackError
from pipelines.base.files import replace_durably
from pipelines.pooling.packs import Pack
from warehouse.guard import guarded, transaction
from warehouse.models import Model, pooled_models
from warehouse.publish import storage_version
from warehouse.results import ARROW_TYPES

LEDGER = "pooled.pack"
EXPECTED = "pooled.expected"
Row = dict[str, Any]


def read_ledger(path: Path) -> list[Row]:
    """Return the packs that a pooled file knows; none where there is no file.

    Errors:
        StorageError: it can't be read.
    """
    return read_rows(path, LEDGER)


def read_rows(path: Path, table: str) -> list[Row]:
    """Return the rows of a table of a pooled file, by its key; none where there is no file.

    Errors:
        StorageError: it can't be read.
    """
    if not path.exists():
        return []
    key = next(model.key for model in pooled_models() if model.full_name == table)
    with guarded("reading what was pooled", path), connect() as con:
        con.execute(f"ATTACH {literal(str(path))} AS pooled_file (READ_ONLY)")
        there = con.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = 'pooled_file' "
            "AND schema_name || '.' || table_name = ?",
            [table],
        ).fetchone()
        if there is None:  # of an earlier version
            return []
        found = con.execute(f"FROM pooled_file.{table} ORDER BY {', '.join(key)}")
        return list(found.to_arrow_table().to_pylist())


def check_new(packs: Iterable[Pack], ledger: Sequence[Row]) -> None:
    """Refuse packs that were replaced: a replayed one, or another one of the same number.

    Errors:
        PackError: says which pack, and which is known.
    """
    for pack in packs:
        known = [row for row in ledger if row["site_id"] == pack.site_id]
        newest = max((row["pack_number"] for row in known), default=0)
        same = [row for row in known if row["pack_number"] == pack.number]
        if pack.number < newest or (same and same[0]["pack_sha"] != pack.sha256):
            what = (
                f"Pack {pack.number} of {pack.site_id} is older than its pack {newest}, which was "
                "pooled before."
                if pack.number < newest
                else f"Another pack {pack.number} of {pack.site_id} was pooled before."
            )
            raise PackError(
                what,
                where=str(pack.path),
                remedy="Ask the site for its newest pack, or name another --out.",
                next_run="The pooled file is as it was.",
            )


def ledger_with(packs: Iterable[Pack], ledger: Sequence[Row]) -> list[Row]:
    """Return the packs that were ever pooled, these included."""
    rows = {(row["site_id"], row["pack_number"]): {**row, "is_pooled": False} for row in ledger}
    for pack in packs:
        rows[pack.site_id, pack.number] = {
            "site_id": pack.site_id,
            "pack_number": pack.number,
            "pack_sha": pack.sha256,
            "exported": pack.facts["exported"],
            "software_version": pack.facts["software_version"],
            "is_pooled": True,
        }
    return [row for _, row in sorted(rows.items())]


def write_pooled(path: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    """Build the pooled file beside the old one and swap it in.

    Errors:
        StorageError: it can't be written; the old one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with guarded("writing the pooled file", path):
        aside.unlink(missing_ok=True)
        try:
            with connect() as con:
                attach(con, aside, "made", options=storage_version(), key="")
                with transaction(con):
                    con.execute("CREATE SCHEMA made.pooled")
                    for model in pooled_models():
                        _fill(con, model, tables.get(model.full_name, ()))
                con.execute("CHECKPOINT made")
                con.execute("DETACH made")
            replace_durably(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _fill(con: duckdb.DuckDBPyConnection, model: Model, rows: Sequence[Row]) -> None:
    con.execute(model.create_sql("made"))
    unknown = {name for row in rows for name in row} - set(model.column_names)
    if unknown:
        raise KeyError(f"{model.full_name}: {', '.join(sorted(unknown))}")
    schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in model.columns])
    con.register("pooled_rows", pa.Table.from_pylist(list(rows), schema=schema))
    con.execute(f"INSERT INTO {model.target('made')} BY NAME {model.sql}")
    con.unregister("pooled_rows")
    for statement in model.comments_sql("made"):
        con.execute(statement)
