"""Columns to Avro files and back.

Rust writes the records (polars-avro) and reads them (polars), 25 times as fast as record by
record. polars-avro names every record `topLevelRecord` and knows no UTC, so the header is
exchanged for one with the canonical schema; the records' bytes are the same because every field
is `["null", T]` in both. The test's judge is plain `fastavro.reader`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipelines.base import sealed
from pipelines.base.errors import LogError
from pipelines.base.files import replace_durably, sha256_file
from pipelines.base.quiet import silent
from pipelines.base.storage import storing
from schemas.columns import arrow_schema, check_years, frames, polars_schema
from schemas.container import Block, ContainerError, Header, read_header, walk_blocks
from schemas.registry import Schema, canonical, fields_of, fingerprint, versions

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_CHUNK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class WrittenFile:
    """What was written: rows, SHA-256 of the file, fingerprint of its schema, length in bytes."""

    rows: int
    sha256: str
    fingerprint: str
    n_bytes: int


def write_events(
    table: pa.Table | pa.RecordBatchReader, event_type: str, path: Path
) -> WrittenFile:
    """Write events to an Avro file (0600); it is there whole and on disk, or not at all.

    Args:
        table: the type's columns in canonical order, times naive UTC microseconds; a reader is
            written batch by batch.
        event_type: event type, or `QUARANTINED`.
        path: the file; replaced if it is there.

    Errors:
        ValueError: columns or types differ from the canonical ones, or a time lies outside the
            years 1 to 9999; says which column, never a value.
        StorageError: the file cannot be written.
    """
    schema = canonical(event_type)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with storing("writing an event file", path):
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                hashed = _Hashed(stream)
                with sealed.writing(cast("BinaryIO", hashed), path) as content:
                    sink = _CanonicalSink(content, schema)
                    _encode(frames(table, event_type), event_type, sink)
            replace_durably(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return WrittenFile(sink.rows, hashed.sha256(), fingerprint(schema), hashed.n_bytes)


class _Hashed(io.RawIOBase):
    """Passes on the bytes of a file, sealed or not; counts and hashes them."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._digest = hashlib.sha256()
        self.n_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._stream.write(data)
        self._digest.update(data)
        self.n_bytes += len(data)
        return len(data)

    def sha256(self) -> str:
        return self._digest.hexdigest()


class _CanonicalSink(io.RawIOBase):
    """Passes an Avro file on with the canonical schema in its header."""

    def __init__(self, stream: BinaryIO, schema: Schema) -> None:
        super().__init__()
        self._stream = stream
        self._schema = schema
        self._head: bytes | None = b""
        self.rows = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        if self._head is None:
            self._stream.write(data)
            return len(data)
        # The writer hands the header over in one piece today; nothing promises that it always will.
        self._head += bytes(data)
        start = io.BytesIO(self._head)
        try:
            header = read_header(start)
        except ContainerError:
            return len(data)
        self._head = None
        self._stream.write(header.with_schema(self._schema).to_bytes())
        self._stream.write(start.read())
        return len(data)


def _encode(batches: Iterable[pl.DataFrame], event_type: str, sink: _CanonicalSink) -> None:
    import polars_avro

    def counted() -> Iterator[pl.DataFrame]:
        for frame in batches:
            sink.rows += frame.height
            yield frame

    # No codec: deflate costs 8 times the writing and 5 times the reading for half the size.
    polars_avro.write_avro(counted(), sink, schema=polars_schema(event_type))


def read_events(path: Path, event_type: str, expected: WrittenFile | None = None) -> pa.Table:
    """Read an Avro file of any version into the newest version's columns.

    Args:
        path: a file of `write_events`, or of any Avro library under one of the type's versions,
            not packed.
        event_type: event type, or `QUARANTINED`.
        expected: what was written; without it, lost whole blocks and changed values go unseen.

    Returns:
        A table of `arrow_schema(event_type)`; fields that the file's version lacks are null.

    Errors:
        LogError: the file is absent, damaged, cut off, or of an unknown version.
        KeyFileError: it is encrypted, and the site's key is absent or another one.
    """
    import pyarrow as pa

    target = arrow_schema(event_type)
    tables = list(read_batches(path, event_type, expected))
    return pa.concat_tables(tables) if tables else target.empty_table()


def read_batches(
    path: Path, event_type: str, expected: WrittenFile | None = None
) -> Iterator[pa.Table]:
    """Yield the tables that `read_events` would concatenate, about 32 MB of the file each.

    Nothing is yielded before the whole file has been checked.

    Errors:
        LogError: as `read_events`.
    """
    try:
        if expected is not None:
            _check_unchanged(path, expected)
        with sealed.reading(path) as (stream, size):
            header = read_header(stream)
            blocks = list(walk_blocks(stream, header, size))
            if expected is not None and sum(b.n_rows for b in blocks) != expected.rows:
                raise ContainerError
            plan = _resolution(header.schema, event_type, path)
            _check_room(header, blocks)
            head = header.to_bytes()
            for offset, length, n_rows in _chunks(blocks):
                stream.seek(offset)
                yield _decode(head + stream.read(length), plan, event_type, n_rows)
    except (ContainerError, sealed.SealedError):
        raise damaged(path) from None
    except OSError as error:
        raise LogError(
            f"An event file cannot be read: {error.strerror}.",
            where=str(path),
            remedy="Mend its permissions or restore its batch from backup.",
        ) from None


def damaged(path: Path) -> LogError:
    """Return the error for a file of the log that is not what was written."""
    return LogError(
        "An event file is damaged or cut off.",
        where=str(path),
        remedy="Restore this batch's folder from backup.",
        next_run="stops here again; nothing is applied from a damaged log",
    )


def _check_unchanged(path: Path, expected: WrittenFile) -> None:
    if path.stat().st_size != expected.n_bytes or sha256_file(path) != expected.sha256:
        raise ContainerError


def _check_room(header: Header, blocks: list[Block]) -> None:
    """Refuse what would ask for more memory than the file has bytes.

    Whoever can renew a file's hash can write a block that unpacks into gigabytes, or one of a
    milliard records: room is taken for all of them before the first is read.
    """
    # Each field takes a byte at least: the one that says whether there is a value.
    least = len(fields_of(header.schema))
    if header.is_packed or any(one.n_rows * least > one.length for one in blocks):
        raise ContainerError


def _chunks(blocks: list[Block]) -> Iterator[tuple[int, int, int]]:
    """Yield neighbouring blocks together as (offset, bytes, rows), up to `_CHUNK_BYTES` each."""
    held: list[Block] = []
    for block in blocks:
        if held and block.offset + block.length - held[0].offset > _CHUNK_BYTES:
            yield _span(held)
            held = []
        held.append(block)
    if held:
        yield _span(held)


def _span(held: list[Block]) -> tuple[int, int, int]:
    return held[0].offset, sum(b.length for b in held), sum(b.n_rows for b in held)


def _resolution(written: Schema, event_type: str, path: Path) -> dict[str, str | None]:
    """Return for each canonical field the written field that feeds it; None where there is none.

    Versions are fully compatible (`schemas.compatibility`), so names and aliases are all there
    is to resolve: types never change.
    """
    known = [_essence(schema) for schema in versions(event_type).values()]
    if _essence(written) not in known:
        raise LogError(
            f"An event file was written under a schema of {event_type} that is not known here.",
            where=str(path),
            remedy="Use the version of Dripwatch that wrote it, or a later one.",
        )
    names = {field.name for field in fields_of(written)}
    reader = canonical(event_type)["fields"]
    return {
        f["name"]: next((n for n in (f["name"], *f.get("aliases", ())) if n in names), None)
        for f in reader
    }


def _essence(node: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a schema without its documentation, which may be reworded freely."""
    if isinstance(node, dict):
        return {key: _essence(value) for key, value in node.items() if key != "doc"}
    return [_essence(item) for item in node] if isinstance(node, list) else node


def _decode(data: bytes, plan: dict[str, str | None], event_type: str, n_rows: int) -> pa.Table:
    """Return one whole Avro file in memory as canonical columns."""
    import polars as pl

    try:
        with silent():
            frame = pl.read_avro(io.BytesIO(data))
    except (Exception, pl.exceptions.PanicException):  # the library's text may quote the file
        raise ContainerError from None
    if frame.height != n_rows:
        raise ContainerError
    # Repeated, not a literal: where every field is new, literals alone would be one row.
    picked = frame.select(
        (pl.repeat(None, n_rows) if source is None else pl.col(source)).alias(name)
        for name, source in plan.items()
    )
    naive = picked.with_columns(
        pl.col(name).dt.replace_time_zone(None)
        for name, dtype in picked.schema.items()
        if isinstance(dtype, pl.Datetime)
    )
    whole = naive.cast(polars_schema(event_type))
    try:
        check_years(whole, event_type)
    except ValueError:  # nothing of the kind is written
        raise ContainerError from None
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(arrow_schema(event_type))
