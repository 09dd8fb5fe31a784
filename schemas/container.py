"""The outside of an Avro file: its header and its blocks, without decoding a record.

Source: Avro specification 1.12, "Object Container Files".
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import fastavro

from schemas.registry import Schema

MAGIC = b"Obj\x01"
_PLAIN = b"null"
_SYNC_BYTES = 16

_HEADER_SCHEMA: Schema = fastavro.parse_schema(
    {
        "type": "record",
        "name": "org.apache.avro.file.Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": _SYNC_BYTES}},
        ],
    }
)


class ContainerError(Exception):
    """The bytes are not a whole Avro file; says nothing about their content."""


@dataclass(frozen=True)
class Header:
    """What stands before the first block of an Avro file.

    Attributes:
        meta: the file's metadata; `avro.schema` and `avro.codec` among it.
        sync: the 16 bytes that end every block.
    """

    meta: dict[str, bytes]
    sync: bytes

    @property
    def is_packed(self) -> bool:
        """Whether blocks are packed; a megabyte of them can unpack into a gigabyte."""
        return self.meta.get("avro.codec", _PLAIN) != _PLAIN

    @property
    def schema(self) -> Schema:
        """The schema that the file was written under.

        Errors:
            ContainerError: the header holds none.
        """
        try:
            schema = json.loads(self.meta["avro.schema"])
        except (KeyError, ValueError, RecursionError):
            raise ContainerError from None
        if not isinstance(schema, dict):
            raise ContainerError
        return schema

    def with_schema(self, schema: Schema) -> Header:
        """Return the header with another schema, which must encode records to the same bytes."""
        text = json.dumps(schema, ensure_ascii=False).encode()
        return Header({**self.meta, "avro.schema": text}, self.sync)

    def to_bytes(self) -> bytes:
        """Return the header as it stands in a file."""
        stream = io.BytesIO()
        record = {"magic": MAGIC, "meta": self.meta, "sync": self.sync}
        fastavro.schemaless_writer(stream, _HEADER_SCHEMA, record)
        return stream.getvalue()


@dataclass(frozen=True)
class Block:
    """Where a block lies in its file: offset and length in bytes, and how many records it has."""

    offset: int
    length: int
    n_rows: int


def read_header(stream: BinaryIO) -> Header:
    """Read the header and leave the stream at the first block.

    Errors:
        ContainerError: this is no Avro file, or only the beginning of one.
    """
    try:
        found: Any = fastavro.schemaless_reader(stream, _HEADER_SCHEMA, None)
    except Exception:
        raise ContainerError from None
    if found["magic"] != MAGIC or len(found["sync"]) != _SYNC_BYTES:
        raise ContainerError
    return Header(found["meta"], found["sync"])


def walk_blocks(stream: BinaryIO, header: Header, size: int) -> Iterator[Block]:
    """Yield every block from the stream's position to its end, skipping over the records.

    Args:
        stream: an Avro file, at its first block.
        header: the file's header.
        size: the file's length in bytes.

    Errors:
        ContainerError: a block is cut off or does not end with the file's sync marker.
    """
    while (offset := stream.tell()) < size:
        n_rows, n_bytes = _read_long(stream), _read_long(stream)
        end = stream.tell() + n_bytes + _SYNC_BYTES
        if n_rows < 0 or n_bytes < 0 or end > size:
            raise ContainerError
        stream.seek(n_bytes, io.SEEK_CUR)
        if stream.read(_SYNC_BYTES) != header.sync:
            raise ContainerError
        yield Block(offset, end - offset, n_rows)


def _read_long(stream: BinaryIO) -> int:
    try:
        return int(fastavro.schemaless_reader(stream, "long", None))
    except Exception:
        raise ContainerError from None
