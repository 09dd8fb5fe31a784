"""Tables in memory to scratch files and back, encrypted where the folder's site says so."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base import duck, vault


def write(table: pa.Table, path: Path) -> None:
    """Write a table; this process alone can read an encrypted one."""
    if not vault.encrypts(path):
        pq.write_table(table, path)
        return
    with duck.connect(temp_dir=path.parent) as con:
        con.register("given", table)
        con.execute(
            f"COPY given TO {duck.literal(str(path))} ({duck.parquet_options(path)})",
        )


def read(path: Path) -> pa.Table:
    """Return what `write`, or DuckDB with `parquet_options`, wrote."""
    if not vault.encrypts(path):
        return pq.read_table(path)
    with duck.connect(temp_dir=path.parent) as con:
        return con.execute(f"FROM {duck.parquet(path)}").to_arrow_table()


def n_rows(path: Path) -> int:
    """Return the number of rows, from the end of the file alone where it is plain."""
    return pq.read_metadata(path).num_rows if not vault.encrypts(path) else read(path).num_rows
