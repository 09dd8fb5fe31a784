"""The event log: folders of batches, of which only those in `committed/` count.

A batch is written into `tmp/` and forced to disk; then one rename commits it. That rename is the
only commit point: killed before it, nothing happened; killed after it, the batch is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import duckdb

from pipelines.base import sealed
from pipelines.base.files import fsync_path, make_private
from pipelines.ingest.facts import DeliveryFacts, ValidationSummary
from pipelines.ingest.folder import load_folder, storage_errors, verify_folder, write_manifest
from pipelines.ingest.manifest import Manifest
from pipelines.ingest.pack import write_batch
from pipelines.ingest.reading import RELEASE, LogReader
from pipelines.ingest.reading import (
    UnknownBatchError as UnknownBatchError,  # part of what this offers
)


class EventLog(LogReader):
    """A site's event log, to be read and to be added to."""

    def write(
        self,
        con: duckdb.DuckDBPyConnection,
        facts: DeliveryFacts,
        validation: ValidationSummary,
        *,
        study_hashes: Mapping[str, str] | None = None,
        key_check: str = "",
    ) -> Manifest:
        """Write a validated batch into `tmp`; `commit` or `hold` must follow.

        Args:
            con: the batch's staging database (schemas event, fate, judge).
            facts: what the delivery declares.
            validation: the verdict.
            study_hashes: hash of each study of the site, for the record.
            key_check: `SiteKey.check_value` of the key that made the row's keys.

        Errors:
            ReconciliationError: a row is lost, counted twice or without a fate.
            StorageError: the folder cannot be written.
        """
        with storage_errors(self.root):
            folder = self._folder("tmp", facts.batch_id)
            if folder.exists():
                shutil.rmtree(folder)
            self._make_folders()
            return write_batch(
                con,
                make_private(folder),
                facts,
                validation,
                study_hashes=study_hashes or {},
                key_check=key_check,
                replaces=self._earlier_readings(facts),
            )

    def _earlier_readings(self, facts: DeliveryFacts) -> tuple[str, ...]:
        """Committed readings of the same files by another mapping, scope or parser."""
        content = {file.sha256 for file in facts.files}
        how = (facts.mapping_hash, facts.scope_hash, facts.parser_version)
        return tuple(
            one.batch_id
            for one in self.in_force()
            if one.source == facts.source
            and one.content == content
            # exports in which nothing is new have no files, and are not one delivery for that
            and (content or one.exported_at == facts.exported_at)
            and (one.mapping_hash, one.scope_hash, one.parser_version) != how
        )

    def commit(self, batch_id: str) -> bool:
        """Move a written batch to `committed`; return False where it had been there before.

        A held batch of the same id is superseded by it.

        Errors:
            LogError: `write` has not written this batch, or not to its end.
        """
        with storage_errors(self.root):
            if self.is_committed(batch_id):
                self._drop("tmp", batch_id)
                return False
            load_folder(self._folder("tmp", batch_id))  # never commit what a failed write left
            self._move(batch_id, "tmp", "committed")
            self._drop("held", batch_id)
            return True

    def hold(self, batch_id: str, reasons: tuple[str, ...] = ()) -> bool:
        """Move a written batch to `held`; return False where it is committed already.

        Args:
            batch_id: a batch in `tmp`.
            reasons: why, where it is for more than validation said. No values of patients.
        """
        with storage_errors(self.root):
            if self.is_committed(batch_id):
                self._drop("tmp", batch_id)
                return False
            folder = self._folder("tmp", batch_id)
            manifest = load_folder(folder)
            told = tuple(dict.fromkeys((*manifest.hold_reasons, *reasons)))
            if told != manifest.hold_reasons:
                write_manifest(folder, replace(manifest, hold_reasons=told))
            # Killed between these two, the batch is in neither: the next run reads it again.
            self._drop("held", batch_id)
            self._move(batch_id, "tmp", "held")
            return True

    def release(
        self, batch_id: str, *, released_at: datetime | None = None, note: str = ""
    ) -> Manifest:
        """Commit a held batch as it is and leave a note of it (`release.json`).

        Args:
            batch_id: the batch's id, or enough of its beginning.
            released_at: when, for people; nothing is computed from it.
            note: why, in the releaser's words.

        Errors:
            UnknownBatchError: no held batch, or several, begin like this; or its files have been
                read again and committed since.
            LogError: the held batch is damaged.
        """
        manifest = self.find_held(batch_id)
        self._refuse_read_again(manifest)
        told = {
            "batch_id": manifest.batch_id,
            "released_at": None if released_at is None else released_at.isoformat(),
            "note": note,
        }
        with storage_errors(self.root):
            verify_folder(self._folder("held", manifest.batch_id), manifest)
            target = self._folder("held", manifest.batch_id) / RELEASE
            sealed.write_bytes(target, (json.dumps(told, indent=1) + "\n").encode())
            self._move(manifest.batch_id, "held", "committed")
        return manifest

    def _refuse_read_again(self, manifest: Manifest) -> None:
        for one in self.in_force():
            if manifest.is_read_again_as(one):
                raise UnknownBatchError(
                    "The files of this batch have been read again and committed since.",
                    where=f"batch {manifest.batch_id}, committed as {one.batch_id}",
                    remedy="Nothing needs to be released; its folder in log/held may be deleted.",
                )

    def clean_tmp(self) -> int:
        """Remove what killed runs left behind; return the number of batches removed."""
        with storage_errors(self.root):
            left = self._ids("tmp")
            doubled = [name for name in self._ids("held") if self.is_committed(name)]
            for state, names in (("tmp", left), ("held", doubled)):
                for name in names:
                    shutil.rmtree(self.root / state / name)
            return len(left)

    def _make_folders(self) -> None:
        for folder in (self.root, *(self.root / name for name in ("tmp", "held", "committed"))):
            make_private(folder)

    def _move(self, batch_id: str, state: str, target: str) -> None:
        self._folder(state, batch_id).rename(self._folder(target, batch_id))
        fsync_path(self.root / target)
        fsync_path(self.root / state)

    def _drop(self, state: str, batch_id: str) -> None:
        folder = self._folder(state, batch_id)
        if folder.exists():
            shutil.rmtree(folder)
