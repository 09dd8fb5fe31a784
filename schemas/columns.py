"""The columns of an event type as Arrow and Polars types, and whether a table has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.registry import fields

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_BATCH_ROWS = 65_536

# Years 1 to 9999, the span of Python's and fastavro's datetimes: days and microseconds since 1970.
_DATE_RANGE = (-719_162, 2_932_896)
_TIME_RANGE = (-719_162 * 86_400_000_000, 2_932_897 * 86_400_000_000 - 1)


def arrow_schema(event_type: str) -> pa.Schema:
    """Return the Arrow columns of an event type: names, order and types of `read_events`."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "VARCHAR": pa.large_string(),  # 32-bit offsets would end at 2 GB a column
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMP": pa.timestamp("us"),
        "DATE": pa.date32(),
        "VARCHAR[]": pa.large_list(pa.large_string()),
    }
    return pa.schema([pa.field(f.name, types[f.duckdb_type]) for f in fields(event_type)])


def polars_schema(event_type: str) -> pl.Schema:
    """Return the Polars columns of an event type: what polars-avro is given."""
    import polars as pl

    types: dict[str, Any] = {
        "VARCHAR": pl.String(),
        "BIGINT": pl.Int64(),
        "INTEGER": pl.Int32(),
        "DOUBLE": pl.Float64(),
        "BOOLEAN": pl.Boolean(),
        "TIMESTAMP": pl.Datetime("us"),
        "DATE": pl.Date(),
        "VARCHAR[]": pl.List(pl.String()),
    }
    return pl.Schema({f.name: types[f.duckdb_type] for f in fields(event_type)})


def frames(table: pa.Table | pa.RecordBatchReader, event_type: str) -> Iterator[pl.DataFrame]:
    """Yield a table in batches, each checked against the canonical columns.

    Errors:
        ValueError: as `schemas.codec.write_events`.
    """
    import polars as pl
    import pyarrow as pa

    target = polars_schema(event_type)
    if list(table.schema.names) != target.names():
        msg = f"the columns of {event_type} are not the canonical ones, or not in their order"
        raise ValueError(msg)
    batches = table.to_batches(_BATCH_ROWS) if isinstance(table, pa.Table) else table
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            yield _checked(pl.DataFrame(pa.Table.from_batches([part])), target, event_type)


def _checked(frame: pl.DataFrame, target: pl.Schema, event_type: str) -> pl.DataFrame:
    import polars as pl

    for column in frame.get_columns():
        wanted = target[column.name]
        if column.dtype not in (wanted, pl.Null()):
            msg = f"{event_type}.{column.name} is {column.dtype}, not {wanted}"
            raise ValueError(msg)
    check_years(frame, event_type)
    # Only columns without a single value change type here.
    return frame.cast(target)


def check_years(frame: pl.DataFrame, event_type: str) -> None:
    """Refuse dates and times that neither Python nor DuckDB can count with.

    Errors:
        ValueError: one lies outside the years 1 to 9999; says which column, never a value.
    """
    import polars as pl

    for column in frame.get_columns():
        for dtype, what, bounds in (
            (pl.Date(), "date", _DATE_RANGE),
            (pl.Datetime("us"), "time", _TIME_RANGE),
        ):
            if column.dtype == dtype and not _within(column, bounds):
                msg = f"{event_type}.{column.name} holds a {what} outside the years 1 to 9999"
                raise ValueError(msg)


def _within(column: pl.Series, bounds: tuple[int, int]) -> bool:
    numbers: Any = column.to_physical()
    low, high = numbers.min(), numbers.max()
    return low is None or (low >= bounds[0] and high <= bounds[1])
