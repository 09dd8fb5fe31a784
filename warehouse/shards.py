"""Exporting current events and linked rows as Parquet, one folder per bucket of patients."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

import schemas
from pipelines.base.duck import literal, parquet, parquet_options, quote
from pipelines.base.files import make_private
from warehouse.guard import guarded
from warehouse.layout import columns_of

#: A patient's slot is the first ten bits of the patient's key; a bucket is a range of slots.
N_SLOTS = 1024


def bucket_sql(n_buckets: int) -> str:
    """Return the SQL expression for the bucket (0 to n_buckets - 1) of `patient_key`."""
    slot = "(('0x' || patient_key[1:3])::INTEGER >> 2)"
    return f"{slot} * {n_buckets} // {N_SLOTS}"


def export_shards(
    con: duckdb.DuckDBPyConnection, folder: Path, n_buckets: int, only: Path | None = None
) -> list[Path]:
    """Write `<folder>/bucket=K/<Type>.parquet` for every clinical type and return the K folders.

    Only patients with an infusion are written: nothing can be linked of the others. Each written
    bucket has a file of every type, empty where its patients have no such event. What the folder
    held is removed.

    Args:
        con: connection that uses the store.
        folder: becomes private (0700): shards are patient level.
        n_buckets: 1 to 1024.
        only: Parquet with the column `patient_key`: write no others. None for all.
    """
    only_these = "" if only is None else f"SEMI JOIN {parquet(only)} USING (patient_key)"
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE treated AS
        SELECT DISTINCT patient_key FROM current."InfusionRecorded" {only_these}
        WHERE patient_key IS NOT NULL"""
    )
    tables = {
        event_type: f"SELECT {columns_of(event_type)} FROM current.{quote(event_type)}"
        for event_type in schemas.CLINICAL_TYPES
    }
    return _export(con, folder, n_buckets, tables, "temp.treated")


def export_linked(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    n_buckets: int,
    only: Path,
    count_tables: Sequence[str],
) -> tuple[list[Path], dict[str, Path]]:
    """Write linked rows of some patients by bucket, and the counts of everybody.

    Returns:
        Folders with `linkage.course.parquet` and `linkage.unit_outcome.parquet`, whole patients
        each, and the Parquet file of each table of counts; without `run_id`.

    Errors:
        StorageError: the files cannot be written.
    """
    tables = {
        name: f"SELECT * EXCLUDE (run_id) FROM {name}"
        for name in ("linkage.course", "linkage.unit_outcome")
    }
    counts = {name: folder / f"{name}.parquet" for name in count_tables}
    with guarded("exporting linked rows", folder):
        buckets = _export(con, folder, n_buckets, tables, parquet(only))
        for name, path in counts.items():
            con.execute(
                f"COPY (SELECT * EXCLUDE (run_id) FROM {name}) TO {literal(str(path))} "
                f"({parquet_options(path)})"
            )
    return buckets, counts


def _export(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    n_buckets: int,
    tables: Mapping[str, str],
    patients: str,
) -> list[Path]:
    """Write rows of these patients, one file a table and bucket; return the buckets' folders.

    Args:
        con: connection that uses the store.
        folder: becomes private (0700); what it held is removed.
        n_buckets: 1 to 1024.
        tables: SELECT by the name of the file, each with a column `patient_key`.
        patients: table with the column `patient_key`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_private(folder)
    bucket = bucket_sql(n_buckets)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT patient_key, {bucket} AS bucket "
        f"FROM {patients}"
    )
    numbers = con.execute("SELECT DISTINCT bucket FROM temp.wanted ORDER BY bucket").fetchall()
    buckets = [row[0] for row in numbers]
    # One open file per bucket: with fewer, DuckDB closes a file and goes on in a second one.
    con.execute(f"SET partitioned_write_max_open_files = {max(n_buckets, 2)}")
    for name, query in tables.items():
        con.execute(
            f"""COPY (FROM ({query}) JOIN temp.wanted USING (patient_key))
            TO {literal(str(folder))}
            ({parquet_options(folder)}, COMPRESSION zstd, PARTITION_BY (bucket),
             OVERWRITE_OR_IGNORE, FILENAME_PATTERN {literal(name + "-{i}")})"""
        )
        _fill_gaps(con, folder, name, query, buckets)
    con.execute("DROP TABLE temp.wanted")
    return [folder / f"bucket={number}" for number in buckets]


def _fill_gaps(
    con: duckdb.DuckDBPyConnection, folder: Path, name: str, query: str, buckets: list[int]
) -> None:
    """Give each bucket exactly one file of the table under its plain name."""
    template = folder / f"{name}.empty"
    none = f"FROM ({query}) LIMIT 0"
    con.execute(f"COPY ({none}) TO {literal(str(template))} ({parquet_options(template)})")
    for number in buckets:
        place = folder / f"bucket={number}"
        place.mkdir(exist_ok=True)
        parts = sorted(place.glob(f"{name}-*.parquet"))
        target = place / f"{name}.parquet"
        if not parts:
            shutil.copyfile(template, target)
        elif len(parts) == 1:
            parts[0].rename(target)
        else:
            msg = f"{name}: {len(parts)} files in one bucket"
            raise RuntimeError(msg)
    template.unlink()
