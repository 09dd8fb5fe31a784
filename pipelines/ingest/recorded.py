"""Facts of Dripwatch's own that are recorded once and never computed again: looks and reviews.

They lie in the log beside the batches, an Avro file for what was recorded at once. A file is
renamed into place whole, and is not written again: where its name is there, the fact is known.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.base.files import make_private
from pipelines.base.storage import storing
from schemas import ENVELOPE, fields
from schemas.codec import damaged, read_events, write_events
from schemas.columns import arrow_schema

Row = dict[str, Any]

_NAME = re.compile(r"[0-9a-f]{64}\.avro")


def fact_name(*parts: object) -> str:
    """Return a name for what a fact is about: 64 hex digits, equal for equal parts."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


class Recorded:
    """The recorded facts of a site's log.

    Args:
        root: the log's folder.
        before: aware; what was recorded at or after it is left out. None: nothing is.
        is_past: whether the log is only read from; nothing may be added then.
    """

    def __init__(
        self, root: Path, before: datetime | None = None, *, is_past: bool = False
    ) -> None:
        self.root = root / "recorded"
        self.is_past = is_past
        self._before = None if before is None else before.astimezone(UTC).replace(tzinfo=None)

    def has(self, event_type: str, name: str) -> bool:
        """Return whether a fact of this name is recorded."""
        return (self.root / event_type / f"{name}.avro").is_file()

    def names(self) -> list[str]:
        """Return the names of all facts, sorted; a cheap way to see whether any came."""
        return sorted(path.stem for path in self.root.glob("*/*.avro") if _is_fact(path))

    def add(
        self,
        event_type: str,
        name: str,
        site_id: str,
        at: datetime,
        rows: Sequence[Mapping[str, Any]],
    ) -> bool:
        """Record facts under a name; on the disk on return. False where that name is there already.

        Args:
            event_type: `LookTaken`, `AlertReviewed` or `PackExported`.
            name: see `fact_name`.
            site_id: whose.
            at: aware instant that they are dated by.
            rows: the type's own fields; the envelope is added.

        Errors:
            StorageError: the file cannot be written; nothing is recorded.
        """
        if self.is_past:
            msg = "nothing is recorded in a log that is only read from"
            raise RuntimeError(msg)
        if self.has(event_type, name):
            return False
        whole = [
            _enveloped(event_type, name, site_id, at, number, row)
            for number, row in enumerate(rows, start=1)
        ]
        with storing("recording a fact", self.root):
            folder = make_private(make_private(self.root) / event_type)
        table = pa.Table.from_pylist(whole, schema=arrow_schema(event_type))
        write_events(table, event_type, folder / f"{name}.avro")
        return True

    def rows(self, event_type: str) -> list[Row]:
        """Return the facts of a type, oldest first.

        Errors:
            LogError: a file is damaged, or is not what was recorded.
        """
        found: list[Row] = []
        for path in sorted((self.root / event_type).glob("*.avro")):
            if not _is_fact(path):
                continue
            table = read_events(path, event_type)
            for row in table.to_pylist():
                if row["batch_id"] != path.stem or row["content_hash"] != _content(event_type, row):
                    raise damaged(path)
                found.append(row)
        told = [row for row in found if self._before is None or row["recorded_at"] < self._before]
        return sorted(told, key=lambda row: (row["recorded_at"], row["record_key"]))


def _is_fact(path: Path) -> bool:
    """Whether a file is one of ours: backups and file systems leave others beside."""
    return _NAME.fullmatch(path.name) is not None


def _enveloped(
    event_type: str, name: str, site_id: str, at: datetime, number: int, row: Mapping[str, Any]
) -> Row:
    instant = at.astimezone(UTC).replace(tzinfo=None)
    told: Row = {
        **dict.fromkeys(field.name for field in fields(event_type)),
        "site_id": site_id,
        "source": "dripwatch",
        "event_type": event_type,
        "record_key": fact_name(event_type, name, number),
        "version": 1,
        "recorded_at": instant,
        "operation": "upsert",
        "occurred_at": instant,
        "time_precision": "instant",
        "zone": "UTC",
        "flags": [],
        "batch_id": name,
        **row,
    }
    return {**told, "content_hash": _content(event_type, told)}


def _content(event_type: str, row: Row) -> str:
    """Return the hash of what a fact says; null fields are left out: a later version adds some."""
    own = [field.name for field in fields(event_type)][len(ENVELOPE) :]
    told = {name: row[name] for name in ("site_id", "recorded_at", *own) if row[name] is not None}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
