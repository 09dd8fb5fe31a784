"""Results of linkage as Parquet files, written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.models import model
from warehouse.results import ARROW_TYPES


def parquet(folder: Path, table: str, rows: list[dict[str, Any]]) -> list[Path]:
    """Rows in two files, since every bucket of patients writes its own."""
    found = model(table)
    schema = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in found.columns if c.name != "run_id"])
    paths = [folder / f"{table}-{number}.parquet" for number in range(2)]
    for number, path in enumerate(paths):
        pq.write_table(pa.Table.from_pylist(rows[number::2], schema=schema), path)
    return paths
