"""A new generation of the log: every batch written anew, with something changed in all of them.

What changes is a `Change`; ids of batches, recorded facts and notes of releases stay. Nothing
counts before `generations.adopt`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from pipelines.base import sealed
from pipelines.base.files import fsync_path, make_private
from pipelines.ingest.folder import storage_errors, verify_folder, write_manifest
from pipelines.ingest.forgotten import Forgotten
from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import EventFile, Manifest
from pipelines.ingest.reading import RELEASE
from schemas import QUARANTINED
from schemas.codec import WrittenFile, damaged, write_events
from schemas.columns import arrow_schema


class Change(Protocol):
    """What a new generation has differently."""

    def events(self, event_type: str, events: pa.Table) -> pa.Table:
        """Return what becomes of some of a batch's events of a type, in canonical columns.

        A large file comes in parts, one after the other.
        """

    def quarantine(self, rows: pa.Table) -> pa.Table:
        """Return what becomes of some of a batch's rows that were not accepted."""

    def manifest(self, old: Manifest, new: Manifest) -> Manifest:
        """Return the manifest of a batch, of which the files are written already.

        Args:
            old: as it was.
            new: the same, with the files of the new generation.
        """

    def marks(self, old: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return the marks of forgotten patients."""


def rewrite(log: EventLog, target: Path, change: Change) -> EventLog:
    """Write a whole log anew into an empty folder; on the disk, and every hash checked, on return.

    Args:
        log: the generation that counts.
        target: folder of the new one; what a killed attempt left in it is removed.
        change: what is different.

    Errors:
        LogError: a file of the log is damaged.
        StorageError: the folder cannot be written.
    """
    with storage_errors(target):
        if target.exists():
            shutil.rmtree(target)
        new = EventLog(make_private(target))
        for state in ("committed", "held", "tmp"):
            make_private(target / state)
        if log.recorded.root.is_dir():
            _copy_all(log.recorded.root, make_private(new.recorded.root))
    log.verify()
    for state, batches in (("committed", log.committed()), ("held", log.held())):
        for one in batches:
            _rewrite_batch(log, one, target / state / one.batch_id, change)
    if marks := change.marks(Forgotten(log.root).marks()):
        Forgotten(target).put(marks)
    with storage_errors(target):
        for path in (*target.rglob("*"), target):
            fsync_path(path)
    return new


def _copy_all(source: Path, target: Path) -> None:
    """Copy what was recorded; not as bytes, which may be encrypted under a secret to be given up.

    Errors:
        LogError: a file is damaged.
    """
    for folder in sorted(one for one in source.iterdir() if one.is_dir()):
        make_private(target / folder.name)
        for path in sorted(folder.glob("*.avro")):
            _copy(path, target / folder.name / path.name)


def _copy(source: Path, target: Path) -> None:
    try:
        sealed.copy(source, target)
    except sealed.SealedError:
        raise damaged(source) from None


def _rewrite_batch(log: EventLog, old: Manifest, folder: Path, change: Change) -> None:
    with storage_errors(folder):
        make_private(folder)
        for state in ("committed", "held"):
            if (note := log.root / state / old.batch_id / RELEASE).is_file():
                _copy(note, folder / RELEASE)
    types = {}
    for name, file in old.types.items():
        parts = (change.events(name, part) for part in log.read_parts(old, name))
        types[name] = _event_file(file, _write(parts, name, folder / file.path))
    parts = (change.quarantine(part) for part in log.read_quarantine_parts(old))
    written = _write(parts, QUARANTINED, folder / old.quarantine.path)
    quarantine = replace(_event_file(old.quarantine, written), quarantined=written.rows)
    new = change.manifest(old, replace(old, types=types, quarantine=quarantine))
    write_manifest(folder, new)
    verify_folder(folder, new)


def _write(parts: Iterator[pa.Table], event_type: str, path: Path) -> WrittenFile:
    """Write parts of a file as they come: no more than one of them is in memory."""
    schema = arrow_schema(event_type)
    batches = (batch for part in parts for batch in part.cast(schema).to_batches())
    return write_events(pa.RecordBatchReader.from_batches(schema, batches), event_type, path)


def _event_file(old: EventFile, new: WrittenFile) -> EventFile:
    return replace(
        old, rows=new.rows, sha256=new.sha256, fingerprint=new.fingerprint, n_bytes=new.n_bytes
    )
