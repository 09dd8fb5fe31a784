"""Exporting current events as Parquet shards, one folder per bucket of patients."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from pipelines.base.files import make_private
from warehouse.layout import columns_of

#: A patient's slot is the first ten bits of the patient's key; a bucket is a range of slots.
N_SLOTS = 1024


def bucket_sql(n_buckets: int) -> str:
    """Return the SQL expression for the bucket (0 to n_buckets - 1) of `patient_key`."""
    slot = "(('0x' || patient_key[1:3])::INTEGER >> 2)"
    return f"{slot} * {n_buckets} // {N_SLOTS}"


def export_shards(con: duckdb.DuckDBPyConnection, folder: Path, n_buckets: int) -> list[Path]:
    """Write `<folder>/bucket=K/<Type>.parquet` for every clinical type and return the K folders.

    Only buckets that hold an infusion are written: nothing can be linked in the others. Each
    written bucket has a file of every type, empty where its patients have no such event. Events
    without a patient are left out; no infusion can be theirs. What the folder held is removed.

    Args:
        con: connection that uses the store.
        folder: becomes private (0700): shards are patient level.
        n_buckets: 1 to 1024.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_private(folder)
    bucket = bucket_sql(n_buckets)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE treated AS
        SELECT DISTINCT {bucket} AS bucket FROM current."InfusionRecorded"
        WHERE patient_key IS NOT NULL"""
    )
    buckets = [row[0] for row in con.execute("FROM temp.treated ORDER BY bucket").fetchall()]
    # One open file per bucket: with fewer, DuckDB closes a file and goes on in a second one.
    con.execute(f"SET partitioned_write_max_open_files = {max(n_buckets, 2)}")
    for event_type in schemas.CLINICAL_TYPES:
        _export_type(con, folder, event_type, bucket)
        _fill_gaps(con, folder, event_type, buckets)
    con.execute("DROP TABLE temp.treated")
    return [folder / f"bucket={number}" for number in buckets]


def _export_type(
    con: duckdb.DuckDBPyConnection, folder: Path, event_type: str, bucket: str
) -> None:
    con.execute(
        f"""COPY (
            SELECT {columns_of(event_type)}, {bucket} AS bucket
            FROM current.{quote(event_type)}
            WHERE patient_key IS NOT NULL AND {bucket} IN (FROM temp.treated)
        ) TO {literal(str(folder))}
        (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (bucket), OVERWRITE_OR_IGNORE,
         FILENAME_PATTERN {literal(event_type + "-{i}")})"""
    )


def _fill_gaps(
    con: duckdb.DuckDBPyConnection, folder: Path, event_type: str, buckets: list[int]
) -> None:
    """Give each bucket exactly one file of the type under its plain name."""
    template = folder / f"{event_type}.empty"
    con.execute(
        f"""COPY (SELECT {columns_of(event_type)} FROM current.{quote(event_type)} LIMIT 0)
        TO {literal(str(template))} (FORMAT parquet)"""
    )
    for number in buckets:
        place = folder / f"bucket={number}"
        place.mkdir(exist_ok=True)
        parts = sorted(place.glob(f"{event_type}-*.parquet"))
        target = place / f"{event_type}.parquet"
        if not parts:
            shutil.copyfile(template, target)
        elif len(parts) == 1:
            parts[0].rename(target)
        else:
            msg = f"{event_type}: {len(parts)} files in one bucket"
            raise RuntimeError(msg)
    template.unlink()
