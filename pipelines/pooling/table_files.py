"""Tables of a pack as files: Avro for machines, CSV for people, and how they are read again.

Whoever signed a file may have written anything into it. Nothing is decoded before its header is
the one that we write: a schema of our own takes no codec that unpacks a megabyte into a gigabyte,
no record of zero bytes, and no block that claims a milliard rows.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import fastavro
import pyarrow as pa

from schemas.container import Header, read_header, walk_blocks

#: Some hundred times the rows of a study with every stratum; more are refused before decoding.
MOST_ROWS = 300_000
_PART = 10_000
_TYPES: dict[pa.DataType, str] = {
    pa.string(): "string",
    pa.int64(): "long",
    pa.float64(): "double",
    pa.bool_(): "boolean",
}


class TableError(Exception):
    """A file is not one that `avro_bytes` writes; the text quotes nothing of it."""


def avro_bytes(name: str, table: pa.Table) -> bytes:
    """Return a table as an Avro file; equal tables, equal bytes."""
    out = io.BytesIO()
    # By default the marker between blocks is random: the same pack would have two hashes.
    marker = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    fastavro.writer(out, _schema(name, table.schema), table.to_pylist(), sync_marker=marker)
    return out.getvalue()


def csv_bytes(table: pa.Table) -> bytes:
    """Return a table as CSV; a null is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for rows in parts(table):
        writer.writerows([list(row.values()) for row in rows])
    return out.getvalue().encode()


def read_avro(name: str, data: bytes, wanted: pa.Schema) -> pa.Table:
    """Return the table of an Avro file.

    Args:
        name: of the table, as it was written under.
        data: the whole file.
        wanted: the columns that it must have.

    Errors:
        TableError: it has other columns, is packed, or has too many rows.
        Exception: any of a decoder's, where its bytes are no records.
    """
    stream = io.BytesIO(data)
    header = read_header(stream)
    if _named(header.schema) != _named(_schema(name, wanted)):
        raise TableError(f"The table {name} has other columns than it must.")
    _check_size(name, stream, header, len(data))
    rows = fastavro.reader(io.BytesIO(data))
    batches = []
    while part := list(islice(rows, _PART)):
        batches.append(pa.RecordBatch.from_pylist(part, schema=wanted))
    return pa.Table.from_batches(batches, schema=wanted)


def _check_size(name: str, stream: io.BytesIO, header: Header, n_bytes: int) -> None:
    if header.is_packed:
        raise TableError(f"The table {name} is packed; packs hold plain Avro.")
    if sum(block.n_rows for block in walk_blocks(stream, header, n_bytes)) > MOST_ROWS:
        raise TableError(f"The table {name} has more than {MOST_ROWS:,} rows.")


def _schema(name: str, columns: pa.Schema) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name.replace(".", "_"),
        "fields": [
            {"name": field.name, "type": ["null", _TYPES[field.type]], "default": None}
            for field in columns
        ],
    }


def _named(schema: Any) -> str:  # noqa: ANN401 - a JSON value
    return json.dumps(schema, sort_keys=True)


def parts(table: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table, some thousand at a time."""
    for batch in table.to_batches(_PART):
        yield batch.to_pylist()
