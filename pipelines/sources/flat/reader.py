"""Streaming a delivered file as Arrow batches with the number of each record.

Records that cannot be read (too few or too many cells, broken bytes) are set aside with their
number and text, and never stop the rest. A Python object exists only for those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipelines.base.errors import DeliveryError
from pipelines.sources.flat.model import FileRule
from pipelines.sources.flat.records import LONGEST, WholeRecords, read_header
from pipelines.sources.flat.texts import as_text, trimmed
from pipelines.sources.rows.content import (
    Utf8Content,
    content_hash,
    damaged,
    fault,
    open_plain,
)

#: Bytes of CSV that are parsed at once; also the longest record that can be read.
BLOCK = LONGEST
_PARQUET_ROWS = 65_536


@dataclass
class Reading:
    """What is known of a file after its batches were read to the end.

    Attributes:
        n_rows: data records, unreadable ones included.
        unreadable: number and text of each record that could not be read.
        sha256: hash of the content as it was read; empty where it was not read in one go.
        error: what stopped the reading, without any value.
    """

    n_rows: int = 0
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    sha256: str = ""
    error: DeliveryError | None = None


@dataclass(frozen=True)
class FlatFile:
    """A delivered file, opened far enough to know its columns.

    Attributes:
        path, rule: the file and the [[file]] it belongs to.
        where: how messages call it; never its name.
        header: its column names, in order.
        n_before: records before the first row (the header, blank lines above it).
        is_parquet: Parquet, else CSV.
    """

    path: Path
    rule: FileRule
    where: str
    header: list[str]
    n_before: int
    is_parquet: bool

    def sql_names(self) -> dict[str, str]:
        """Return a safe SQL name for each column; header texts never become SQL."""
        return {name: f"c{number}" for number, name in enumerate(self.header)}


def open_flat(path: Path, rule: FileRule, where: str) -> FlatFile:
    """Look at a file's columns.

    Errors:
        DeliveryError: the file is damaged or empty.
    """
    try:
        parquet = _is_parquet(path, rule)
        if not parquet:
            header, before = read_header(path, rule, where)
            return FlatFile(path, rule, where, header, before, is_parquet=False)
        with open_plain(path) as stream, pyarrow.parquet.ParquetFile(stream) as file:
            return FlatFile(path, rule, where, list(file.schema_arrow.names), 0, is_parquet=True)
    except (pa.ArrowException, OSError) as error:
        raise fault(error, where) from None


def _is_parquet(path: Path, rule: FileRule) -> bool:
    """Whether a file is Parquet: as its rule says, else by its first bytes."""
    if rule.format != "auto":
        return rule.format == "parquet"
    with open_plain(path) as stream:
        return stream.read(4) == b"PAR1"


def load(
    con: duckdb.DuckDBPyConnection,
    file: FlatFile,
    columns: list[str],
    query: str,
    sha256: str | None = None,
) -> Reading:
    """Run a query over the file's rows as the relation `delivered`.

    Args:
        con: connection that runs the query.
        file: an opened file.
        columns: header names of the columns to read.
        query: statement that reads `delivered(source_row BIGINT, c0, c1, ...)`.
        sha256: hash that the content must still have; None to leave that out.

    Errors:
        DeliveryError: the file is damaged, has changed, or holds a record longer than a block.
    """
    found = Reading()
    numbers = [file.header.index(name) for name in columns]
    source = _parquet(file, numbers, found) if file.is_parquet else _csv(file, numbers, found)
    batches = _guarded(source, file, found, sha256)
    try:
        schema = next(batches)
        stream = pa.RecordBatchReader.from_batches(schema, batches)
        con.register("delivered", stream)
        con.execute(query)
    except (duckdb.Error, pa.ArrowException, StopIteration, DeliveryError):
        # the libraries' texts can quote cells
        raise found.error or damaged(file.where, "A delivered file cannot be read.") from None
    finally:
        batches.close()
        con.unregister("delivered")
    if found.error:
        raise found.error
    return found


def _guarded(source: Iterator[Any], file: FlatFile, found: Reading, sha256: str | None) -> Any:  # noqa: ANN401 - a generator whose first item is a schema
    """Pass items on; keep an error aside, since it would come back as another library's."""
    try:
        yield from source
        read = found.sha256 or (sha256 and content_hash(file.path, file.where))
        if sha256 and read != sha256:
            found.error = damaged(file.where, "A delivered file changed while it was being read.")
            raise found.error
    except DeliveryError as error:
        found.error = error
        raise
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        long = "straddling" in str(error)
        what = f"A record is longer than {BLOCK >> 20} MB (a quote that is never closed?)."
        found.error = damaged(file.where, what) if long else fault(error, file.where)
        raise found.error from None


def _parquet(file: FlatFile, numbers: list[int], found: Reading) -> Iterator[Any]:
    with open_plain(file.path) as stream, pyarrow.parquet.ParquetFile(stream) as source:
        names = [f"c{number}" for number in numbers]
        types = [_plain(source.schema_arrow.field(number).type) for number in numbers]
        fields = [pa.field(name, kind) for name, kind in zip(names, types, strict=True)]
        yield pa.schema([pa.field("source_row", pa.int64()), *fields])
        columns = [file.header[number] for number in numbers]
        for batch in source.iter_batches(batch_size=_PARQUET_ROWS, columns=columns):
            first = found.n_rows + 1
            found.n_rows += batch.num_rows
            rows = pa.array(np.arange(first, found.n_rows + 1, dtype=np.int64))
            arrays = [
                trimmed(batch.column(name).cast(kind))
                for name, kind in zip(columns, types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays([rows, *arrays], names=["source_row", *names])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as: texts have many, DuckDB one."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    texts = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return pa.string() if any(test(kind) for test in texts) else kind


def _csv(file: FlatFile, numbers: list[int], found: Reading) -> Iterator[Any]:
    names = [f"c{number}" for number in numbers]
    cells: list[pa.Field[Any]] = [pa.field(name, pa.string()) for name in names]
    yield pa.schema([pa.field("source_row", pa.int64()), *cells])
    ordinals = _Ordinals()

    def set_aside(row: pyarrow.csv.InvalidRow) -> Literal["skip"]:
        number = (row.number or 0) - file.n_before
        ordinals.bad.append(number)
        original = whole.original(row.text)
        found.unreadable.append((number, row.text if original is None else original))
        return "skip"

    with Utf8Content(file.path, file.rule.encoding) as content:
        whole = WholeRecords(content, file.rule, file.where, len(file.header), BLOCK)
        with _stopped_by(whole), _open_csv(whole, file, names, set_aside) as source:
            for batch in source:
                yield as_text(batch, ordinals.take(batch.num_rows), file.rule, found.unreadable)
        found.sha256 = content.sha256
    found.n_rows = max(ordinals.last, *ordinals.bad, 0)
    found.unreadable.sort()


@contextmanager
def _stopped_by(whole: WholeRecords) -> Iterator[None]:
    """Raise what stopped the content, whatever the parser made of it."""
    try:
        yield
    except (pa.ArrowException, OSError, DeliveryError):
        if whole.error:
            raise whole.error from None
        raise


def _open_csv(
    content: WholeRecords,
    file: FlatFile,
    names: list[str],
    set_aside: Callable[[pyarrow.csv.InvalidRow], Literal["skip"]],
) -> pyarrow.csv.CSVStreamingReader:
    rule = file.rule
    return pyarrow.csv.open_csv(
        cast("IO[bytes]", content),
        # one thread: only then do bad rows come with their number
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK,
            column_names=[f"c{number}" for number in range(len(file.header))],
            skip_rows_after_names=file.n_before,
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=rule.delimiter,
            quote_char=rule.quote or False,
            double_quote=not rule.escape,
            escape_char=rule.escape or False,
            newlines_in_values=bool(rule.quote) and rule.newlines_in_cells,
            invalid_row_handler=set_aside,
        ),
        # bytes first: one broken byte would otherwise cost the whole block
        convert_options=pyarrow.csv.ConvertOptions(
            check_utf8=False,
            include_columns=names,
            column_types={name: pa.binary() for name in names},
            strings_can_be_null=False,
        ),
    )


class _Ordinals:
    """Numbers the good records, leaving out the numbers of the bad ones between them."""

    def __init__(self) -> None:
        self.bad: list[int] = []
        self._seen = 0
        self.last = 0

    def take(self, size: int) -> npt.NDArray[np.int64]:
        # The reader parses ahead, so bad records of later blocks may be known already; those of
        # this block always are.
        bad = np.array(self.bad[self._seen :], dtype=np.int64)
        candidates = np.arange(self.last + 1, self.last + 1 + size + len(bad), dtype=np.int64)
        rows = candidates[~np.isin(candidates, bad)][:size]
        if size:
            self.last = int(rows[-1])
        self._seen += int((bad <= self.last).sum())
        return rows
