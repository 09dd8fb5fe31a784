"""A site's store over a log of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import duckdb

from pipelines.base import codes, zones
from pipelines.base.duck import connect
from warehouse.batch import Batch
from warehouse.intake import apply_batch
from warehouse.layout import create_layout


@cache
def _empty_store() -> duckdb.DuckDBPyConnection:
    con = connect(threads=1)
    zones.install(con)  # before any transaction: undone with it, they could not come back
    codes.install(con)
    con.execute("ATTACH ':memory:' AS store")
    con.execute("USE store")
    create_layout(con)
    return con


@contextmanager
def store_of(batches: Iterable[Batch]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store with the batches in it, undone afterwards: making one takes longer than a case."""
    con = _empty_store()
    con.execute("BEGIN")
    try:
        known: set[str] = set()
        for batch in batches:
            if batch.batch_id not in known:
                apply_batch(con, batch, None)
                known.add(batch.batch_id)
        yield con
    finally:
        con.execute("ROLLBACK")
