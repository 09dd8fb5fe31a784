"""A hospital that signs whatever it likes: packs of odd facts, odd rows and odd bytes."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from flows.console import TextConsole
from flows.export import export, export_key
from flows.pool import pool
from flows.reply import Reply
from pipelines.pooling import packs, signing
from pipelines.pooling.packs import read_pack
from pipelines.pooling.tables import pooled_tables
from pipelines.signals.counts import COUNTS, SHARED
from tests.pack_kit import make_site, units_of
from warehouse.packing import export_path
from warehouse.query import run_query

Json = Any
COUNT, BOTH, RISK = COUNTS.name, SHARED.name, "signals.risk"
TEXTS = [
    "",
    "\x1b[2J\x1b]0;x\x07",
    "=1+1",
    "@sum(a)",
    "\u202eabc",
    "a\nb",
    "\0",
    "x" * 10_000,
    "\ud7ff",
]
HARMLESS = ["<script>alert(1)</script>", "../../x", "'; DROP TABLE pooled.risk; --", "é½", "%s{0}"]
NUMBERS = [-1, 0, 1, 7, 10**6, 10**8, 10**9, 2**53, 2**62, 2**63 - 1, -(2**63), None]
FLOATS = [float("nan"), float("inf"), -1.0, 2.0, 1e308, None]
VALUES: list[Json] = [
    *(None, True, -1, 0, 10**30, 0.5, float("inf"), float("nan"), [], {}, [[]], [{}], "2026-Q5"),
    *(*TEXTS, *HARMLESS, {"a": {"b": {}}}, json.loads("[" * 300 + "]" * 300)),
]


class Insider:
    """A hospital that signs what it likes, and a coordinator with an honest one beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.keys = root, root / "keys"
        self.keys.mkdir()
        answer = Reply("test", TextConsole())
        for name, drawn in {"north": (1, 150, 0.25), "south": (2, 200, 0.3)}.items():
            site = make_site(root / name, name, units_of(*drawn))
            export_key(root / name, self.keys, answer)
            export(root / name, root / f"{name}-pack", answer, is_preview=False)
            self.key = signing.load_key(export_path(site))
        self.honest, own = root / "north-pack", root / "south-pack"
        self.pack = read_pack(own, self.keys)
        self.facts = {name: one for name, one in self.pack.facts.items() if name != "files"}
        self.rows = {name: table.to_pylist() for name, table in self.pack.tables.items()}
        self.folder = root / "told"

    def sign(self, facts: Json, tables: dict[str, pa.Table], **files: bytes) -> Path:
        """Write a pack of this content; of `files`, each takes the place of one that it lists."""
        made = packs.pack_files(facts, tables)
        manifest = json.loads(made[packs.MANIFEST])
        for name, data in files.items():
            made[name] = data
            manifest["files"][name] = {"sha256": sha256(data).hexdigest(), "n_bytes": len(data)}
        made[packs.MANIFEST] = json.dumps(manifest).encode()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, data in {**made, packs.SIGNATURE: packs.sign(made, self.key)}.items():
            (self.folder / name).write_bytes(data)
        return self.folder

    def with_rows(self, name: str, change: Callable[[list[dict[str, Json]]], object]) -> Path:
        rows = copy.deepcopy(self.rows[name])
        change(rows)
        table = pa.Table.from_pylist(rows, schema=self.pack.tables[name].schema)
        return self.sign(self.facts, {**self.pack.tables, name: table})

    def with_facts(self, change: Callable[[Json], object]) -> Path:
        facts = copy.deepcopy(self.facts)
        change(facts)
        return self.sign(facts, dict(self.pack.tables))

    def with_avro(self, data: bytes) -> Path:
        return self.sign(self.facts, dict(self.pack.tables), **{f"{COUNT}.avro": data})

    def pool(self, folder: Path) -> tuple[list[dict[str, Json]], str]:
        """Pool it with the honest one as the command does; return the pooled risk and the page."""
        out = self.root / "pooled.duckdb"
        out.unlink(missing_ok=True)
        pool([self.honest, folder], out, self.keys, Reply("test", TextConsole()))
        found = run_query(out, "FROM pooled.risk")
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        return rows, out.with_suffix(".html").read_text(encoding="utf-8")

    def estimate(self, folder: Path) -> list[dict[str, Json]]:
        """Return the pooled risk alone: the page takes as long as all the rest."""
        both = [read_pack(one, self.keys) for one in (self.honest, folder)]
        packs.check_alike(both)
        return pooled_tables(both)["pooled.risk"]


def packed(rows: list[dict[str, Json]], schema: Json, codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, codec=codec)
    return out.getvalue()


def bombs(insider: Insider) -> Iterator[tuple[str, bytes]]:
    """Files that would unpack, or claim to, into far more than they are."""
    sound = (insider.root / "south-pack" / f"{COUNT}.avro").read_bytes()
    schema = fastavro.reader(io.BytesIO(sound)).writer_schema
    assert isinstance(schema, dict)
    row: dict[str, Json] = dict.fromkeys(field["name"] for field in schema["fields"])
    yield "packed", packed([row] * 2_000, schema, "deflate")
    none: dict[str, Json] = {"type": "record", "name": "r", "fields": []}
    # A milliard rows of no bytes, under two schemas; a text as long as a disk.
    for why, head, count, body in (
        ("columns", packed([], none), 10**9, b""),
        ("rows", packed([], schema), 10**9, b""),
        ("", packed([], schema), 1, b"\x02" + _long(2**40)),
    ):
        yield why, head + _long(count) + _long(len(body)) + body + head[-16:]
    deep: Json = "long"
    for _ in range(400):
        deep = {"type": "array", "items": deep}
    yield "", packed([], {"type": "record", "name": "r", "fields": [{"name": "a", "type": deep}]})


def _long(value: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()
