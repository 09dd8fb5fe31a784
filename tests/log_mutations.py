"""Changes of a log by somebody who renews the hash, the length and the counts that stand beside."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, cast

import fastavro

import schemas
from pipelines.base.files import sha256_file
from pipelines.ingest.folder import MANIFEST
from pipelines.ingest.manifest import EventFile, Manifest
from schemas.container import ContainerError, Header, read_header, walk_blocks

#: An Avro long that is as large, and one that is as small, as can be; and one below nought.
_HUGE, _LEAST, _MINUS = b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 9 + b"\x01", b"\x01"
#: 64 MB of noughts in 64 kB.
_BOMB = zlib.compressobj(9, zlib.DEFLATED, -15)
_PACKED = _BOMB.compress(bytes(1 << 26)) + _BOMB.flush()


@dataclass
class Parts:
    """An Avro file taken apart: header, and per block its number of records and their bytes."""

    header: Header
    blocks: list[tuple[bytes, bytes]]

    def to_bytes(self) -> bytes:
        out = [self.header.to_bytes()]
        for n_rows, body in self.blocks:
            out += [n_rows, _long(len(body)), body, self.header.sync]
        return b"".join(out)


def _long(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


def taken_apart(data: bytes) -> Parts:
    stream = io.BytesIO(data)
    header = read_header(stream)
    blocks = []
    for block in walk_blocks(stream, header, len(data)):
        inner = io.BytesIO(data[block.offset : block.offset + block.length - 16])
        fastavro.schemaless_reader(inner, "long", None)
        fastavro.schemaless_reader(inner, "long", None)
        blocks.append((_long(block.n_rows), inner.read()))
    return Parts(header, blocks)


class Mutation(Protocol):
    """A change of a file's bytes; beside it, those of the batch's other files."""

    __name__: str

    def __call__(self, luck: random.Random, data: bytes, others: list[bytes], /) -> bytes:
        """Return the changed file."""


def flipped(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(luck.choice([1, 1, 1, 2, 8, 64])):
        changed[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
    return bytes(changed)


def cut_off(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    return data[: luck.choice([0, 1, 4, 16, luck.randrange(len(data)), len(data) - 1])]


def with_more(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    return data + luck.choice([b"\0", luck.randbytes(luck.randrange(1, 99)), data, bytes(4096)])


def of_another_file(luck: random.Random, _data: bytes, others: list[bytes]) -> bytes:
    return luck.choice([*others, b"{}", b"\0" * 100, b"Obj\x01", luck.randbytes(500)])


def _of_blocks(change: Callable[[random.Random, list[tuple[bytes, bytes]]], Any]) -> Mutation:
    @wraps(change)
    def mutation(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
        parts = taken_apart(data)
        if parts.blocks:
            change(luck, parts.blocks)
        return parts.to_bytes()

    return cast("Mutation", mutation)


def _swap(luck: random.Random, blocks: list[tuple[bytes, bytes]]) -> None:
    """Blocks lost, twice or in another order; halves of one, where there is no other."""
    what = luck.choice(["lose", "repeat", "turn", "halve"])
    at = luck.randrange(len(blocks))
    if what == "lose":
        del blocks[at]
    elif what == "repeat":
        blocks.insert(at, blocks[at])
    elif what == "turn":
        blocks.reverse()
    else:
        count, body = blocks[at]
        middle = luck.randrange(len(body) + 1)
        blocks[at : at + 1] = [(count, body[middle:]), (count, body[:middle])]


def _recount(luck: random.Random, blocks: list[tuple[bytes, bytes]]) -> None:
    """Blocks that claim more records than they have, or fewer."""
    at = luck.randrange(len(blocks))
    odd = [_HUGE, _LEAST, _MINUS, *map(_long, (0, 1, 10**6, 2**31, 2**40, luck.randrange(50)))]
    blocks[at] = (luck.choice(odd), blocks[at][1])


def _resize(luck: random.Random, blocks: list[tuple[bytes, bytes]]) -> None:
    """A length inside a record that is as large as can be, or below nought."""
    at = luck.randrange(len(blocks))
    count, body = blocks[at]
    place = luck.randrange(len(body) + 1)
    odd = luck.choice([_HUGE, _LEAST, _MINUS, _long(2**31), _long(-(2**40)), _long(2**36)])
    blocks[at] = (count, body[:place] + odd + body[place + luck.choice([0, 1, len(odd)]) :])


def _shift(luck: random.Random, blocks: list[tuple[bytes, bytes]]) -> None:
    """Bytes that are lost, come twice or are new, in a block whose length is right."""
    at = luck.randrange(len(blocks))
    count, body = blocks[at]
    start = luck.randrange(len(body) + 1)
    end = min(len(body), start + luck.choice([1, 1, 2, 9, 64]))
    new = luck.choice([b"", body[start:end] * 2, bytes(end - start), luck.randbytes(end - start)])
    blocks[at] = (count, body[:start] + new + body[end:])


def of_another_schema(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    parts = taken_apart(data)
    schema = parts.header.schema
    fields = schema["fields"]
    one = luck.choice(fields)
    what = luck.choice(["type", "name", "lose", "order", "record", "deep", "text", "none"])
    if what == "type":
        one["type"] = luck.choice(["long", ["null", "bytes"], ["null", "long"], {"type": "x"}, 5])
    elif what == "name":
        one["name"] = luck.choice(["", "other", fields[0]["name"], "a\nb"])
    elif what == "lose":
        fields.remove(one)
    elif what == "order":
        luck.shuffle(fields)
    elif what == "record":
        schema = schemas.canonical(luck.choice(schemas.EVENT_TYPES))
    elif what == "deep":
        nested = b'{"type":"array","items":' * 5000 + b'"null"' + b"}" * 5000
        return Parts(_meta(parts.header, "avro.schema", nested), parts.blocks).to_bytes()
    elif what == "text":
        return Parts(_meta(parts.header, "avro.schema", b"{"), parts.blocks).to_bytes()
    elif what == "none":
        return Parts(_meta(parts.header, "avro.schema", None), parts.blocks).to_bytes()
    return Parts(parts.header.with_schema(schema), parts.blocks).to_bytes()


def _meta(header: Header, name: str, text: bytes | None) -> Header:
    meta = {known: told for known, told in header.meta.items() if known != name}
    return Header(meta if text is None else {**meta, name: text}, header.sync)


def packed(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    """Another codec, told or used; some blocks unpack into a thousand times their size."""
    parts = taken_apart(data)
    codec = luck.choice(
        [b"deflate", b"deflate", b"snappy", b"zstandard", b"bzip2", b"x", b"", None]
    )
    told = _meta(parts.header, "avro.codec", codec)
    blocks = parts.blocks
    how = luck.choice(["told", "used", "bomb"])
    if how == "used":
        blocks = [(count, _deflated(body)) for count, body in blocks]
    elif how == "bomb":
        blocks = [(_long(1 << 21), _PACKED)] * luck.choice([1, 40])
    return Parts(told, blocks).to_bytes()


def _deflated(body: bytes) -> bytes:
    how = zlib.compressobj(6, zlib.DEFLATED, -15)
    return how.compress(body) + how.flush()


#: Per Avro type, values that a record may hold and no hospital writes.
_ODD: dict[str, list[Any]] = {
    "string": ["", "\0", "x" * 100_000, "'; DROP TABLE event.x; --", "\u202e", "f" * 64, None],
    "long": [0, -1, 2**63 - 1, -(2**63), 253402300800000000, -62135596800000001, None],
    "int": [0, -1, 2**31 - 1, -(2**31), 2932897, -719163, None],
    "double": [float("nan"), float("inf"), float("-inf"), -0.0, 1e308, 5e-324, -5.0, None],
    "boolean": [True, False, None],
}


def with_odd_values(luck: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    """Sound records, of which some cells say something else."""
    parts = taken_apart(data)
    schema = _bare(parts.header.schema)
    bare = Parts(parts.header.with_schema(schema), parts.blocks).to_bytes()
    rows: list[Any] = list(fastavro.reader(io.BytesIO(bare)))
    for row in luck.sample(rows, min(len(rows), luck.choice([1, 1, 2, 99]))):
        for field in luck.sample(schema["fields"], luck.choice([1, 1, 3])):
            kind = field["type"][1]
            if isinstance(kind, str):
                row[field["name"]] = luck.choice(_ODD[kind])
            else:
                row[field["name"]] = luck.choice([None, [], [""], ["odd"] * 1000])
    out = io.BytesIO()
    fastavro.writer(out, schema, rows)
    # The header as it was: its schema knows which numbers are times.
    return Parts(parts.header, taken_apart(out.getvalue()).blocks).to_bytes()


def _bare(schema: Any) -> Any:
    """A schema whose times are the numbers that they are written as."""
    if isinstance(schema, dict):
        told = {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
        return told["type"] if set(told) == {"type"} else told
    return [_bare(one) for one in schema] if isinstance(schema, list) else schema


MUTATIONS: tuple[Mutation, ...] = (
    flipped,
    cut_off,
    with_more,
    of_another_file,
    _of_blocks(_swap),
    _of_blocks(_recount),
    _of_blocks(_resize),
    _of_blocks(_shift),
    of_another_schema,
    packed,
    with_odd_values,
)


def mutate(seed: int, folder: Path) -> str:
    """Change one file of a batch and renew what the manifest says of it; return what was done.

    Args:
        seed: decides what.
        folder: of the batch.
    """
    luck = random.Random(seed)  # noqa: S311 - no secret
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    manifest = Manifest.from_json((folder / MANIFEST).read_text())
    name = luck.choice([*manifest.types, schemas.QUARANTINED])
    file = manifest.quarantine if name == schemas.QUARANTINED else manifest.types[name]
    path = folder / file.path
    others = [one.read_bytes() for one in sorted(folder.iterdir()) if one != path]
    path.write_bytes(mutation(luck, path.read_bytes(), others))
    n_rows = _claimed(path.read_bytes())
    renewed = replace(
        file,
        sha256=sha256_file(path),
        n_bytes=path.stat().st_size,
        rows=file.rows if n_rows is None or luck.random() < 0.2 else n_rows,
    )
    (folder / MANIFEST).write_text(_renewed(luck, manifest, name, file, renewed).to_json())
    return f"{seed}: {mutation.__name__} of {name}"


def _claimed(data: bytes) -> int | None:
    """Return how many records a file says that it has; None where it can't be told."""
    try:
        stream = io.BytesIO(data)
        return sum(one.n_rows for one in walk_blocks(stream, read_header(stream), len(data)))
    except ContainerError:
        return None


def _renewed(
    luck: random.Random, manifest: Manifest, name: str, old: EventFile, new: EventFile
) -> Manifest:
    """Return the manifest as it must be, mostly with counts that fit, too."""
    if name == schemas.QUARANTINED:
        return replace(manifest, quarantine=new)
    told = replace(manifest, types={**manifest.types, name: new})
    if name not in manifest.fates_by_type or luck.random() < 0.2:
        return told
    more = new.rows - old.rows
    fates = {**manifest.fates, "accepted": manifest.fates.get("accepted", 0) + more}
    counts = manifest.fates_by_type[name]
    counts = {**counts, "accepted": counts.get("accepted", 0) + more}
    return replace(told, fates=fates, fates_by_type={**manifest.fates_by_type, name: counts})
