"""Reading a site's event log: which batches count, whose they are, and the rows that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipelines.base.errors import (
    ConfigError,
    DripwatchError,
    ExitCode,
    KeyFileError,
    LogError,
)
from pipelines.base.sitekey import SiteKey
from pipelines.ingest.folder import load_folder, storage_errors, verify_folder
from pipelines.ingest.manifest import EventFile, Manifest
from pipelines.ingest.recorded import Recorded
from schemas import QUARANTINED
from schemas.codec import read_batches, read_events

if TYPE_CHECKING:
    import pyarrow as pa

#: Note of a batch that was held and then released, in its folder.
RELEASE = "release.json"
_BATCH_ID = re.compile(r"[0-9a-f]{64}")


class UnknownBatchError(DripwatchError):
    """The user named a batch that is not held, or more than one."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class LogReader:
    """The batches of a site under one folder: `tmp`, `held` and `committed` (all 0700).

    Beside them lies what Dripwatch recorded of its own: `recorded`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recorded = Recorded(root)

    def committed(self) -> list[Manifest]:
        """Return the committed batches, oldest export first, whatever order they came in.

        Errors:
            LogError: a batch lacks its manifest or a file, or a file has another length.
        """
        return self._all("committed")

    def in_force(self) -> list[Manifest]:
        """Return the committed batches that no later reading of the same files replaces.

        Errors:
            LogError: as `committed`.
        """
        replaced = self.replaced()
        return [one for one in self.committed() if one.batch_id not in replaced]

    def replaced(self) -> set[str]:
        """Return the ids of the batches that a committed later reading of their files replaces.

        Errors:
            LogError: as `committed`.
        """
        return {batch_id for one in self.committed() for batch_id in one.replaces}

    def held(self) -> list[Manifest]:
        """Return the held batches, oldest export first.

        Errors:
            LogError: as `committed`.
        """
        return [one for one in self._all("held") if not self.is_committed(one.batch_id)]

    def find_held(self, start: str) -> Manifest:
        """Return the one held batch whose id begins like this.

        Errors:
            UnknownBatchError: there is none, or there are several.
        """
        found = [one for one in self.held() if start and one.batch_id.startswith(start)]
        if len(found) != 1:
            raise UnknownBatchError(
                f"{len(found) or 'No'} held batches begin like this.",
                where=start,
                remedy="`dripwatch quarantine list` shows the ids; give more of one.",
            )
        return found[0]

    def is_committed(self, batch_id: str) -> bool:
        """Return whether a batch counts."""
        return self._folder("committed", batch_id).is_dir()

    def is_held(self, batch_id: str) -> bool:
        """Return whether a batch waits for somebody to release it."""
        return not self.is_committed(batch_id) and self._folder("held", batch_id).is_dir()

    def was_released(self, batch_id: str) -> bool:
        """Return whether a committed batch had been held."""
        return (self._folder("committed", batch_id) / RELEASE).is_file()

    def verify(self) -> list[Manifest]:
        """Check the hash of every file of every committed batch; return the batches.

        Errors:
            LogError: a file is not what was written.
        """
        manifests = self.committed()
        with storage_errors(self.root):
            for manifest in manifests:
                verify_folder(self._folder("committed", manifest.batch_id), manifest)
        return manifests

    def check_key(self, key_check: str) -> None:
        """Refuse a key under which a patient of the log would become another one.

        Errors:
            KeyFileError: a batch was written under another key.
        """
        for manifest in (*self.committed(), *self.held()):
            if manifest.key_check not in ("", key_check):
                raise KeyFileError(
                    "The site's key is not the one that the log was written under.",
                    where=f"batch {manifest.batch_id}",
                    remedy="Restore the key from its backup; with another one, every patient "
                    "would be counted as a new one.",
                )

    def fit_key(self, key: SiteKey, site_id: str) -> SiteKey:
        """Return the site's key as it was when this generation of the log was written.

        A key that was given one more secret is used without it until the log has been renewed.

        Errors:
            KeyFileError: as `check_key`.
        """
        told = {one.key_check for one in (*self.committed(), *self.held())} - {""}
        if not told:
            return key
        chain = (key.before(number) for number in range(key.n_renewals, -1, -1))
        fits = (one for one in chain if one.check_value(site_id) in told)
        return next(fits, key)

    def is_under(self, key: SiteKey, site_id: str) -> bool:
        """Return whether the log was written under a key; False where nothing tells.

        Errors:
            KeyFileError: it was written under another one.
        """
        batches = self.committed()
        value = self.fit_key(key, site_id).check_value(site_id)
        self.check_key(value)
        return any(one.key_check == value for one in batches)

    def check_site(self, site_id: str) -> None:
        """Refuse another id of the site than the one that is part of every key of the log.

        Errors:
            ConfigError: a batch was written for a site of another id.
        """
        for manifest in (*self.committed(), *self.held()):
            if manifest.site_id != site_id:
                raise ConfigError(
                    f"The site's id is `{site_id}`, but its log was written for "
                    f"`{manifest.site_id}`.",
                    where=f"[site] id in site.toml; batch {manifest.batch_id}",
                    remedy="Write the old id again: it is part of every key. A new site needs a "
                    "folder of its own.",
                )

    def read(self, manifest: Manifest, event_type: str) -> pa.Table:
        """Return the accepted events of a type, in canonical columns.

        Errors:
            LogError: the file is not what was written.
        """
        file = manifest.types[event_type]
        return read_events(self._path(manifest, file), event_type, file.written)

    def read_parts(self, manifest: Manifest, event_type: str) -> Iterator[pa.Table]:
        """Yield what `read` returns in parts that fit into memory.

        Errors:
            LogError: as `read`, before the first part.
        """
        file = manifest.types[event_type]
        return read_batches(self._path(manifest, file), event_type, file.written)

    def read_quarantine(self, manifest: Manifest) -> pa.Table:
        """Return the rows that were not accepted; they hold patient data.

        Errors:
            LogError: the file is not what was written.
        """
        path = self._path(manifest, manifest.quarantine)
        return read_events(path, QUARANTINED, manifest.quarantine.written)

    def read_quarantine_parts(self, manifest: Manifest) -> Iterator[pa.Table]:
        """Yield what `read_quarantine` returns in parts that fit into memory.

        Errors:
            LogError: as `read_quarantine`, before the first part.
        """
        path = self._path(manifest, manifest.quarantine)
        return read_batches(path, QUARANTINED, manifest.quarantine.written)

    def _all(self, state: str) -> list[Manifest]:
        with storage_errors(self.root):
            found = [load_folder(self._folder(state, name)) for name in self._ids(state)]
        return sorted(found, key=lambda one: (one.exported_at, one.source, one.batch_id))

    def _ids(self, state: str) -> list[str]:
        folder = self.root / state
        if not folder.is_dir():
            return []
        # Snapshot and network file systems put folders of their own wherever they like.
        names = sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.name != "lost+found"
        )
        for name in names:
            if not _BATCH_ID.fullmatch(name):
                raise LogError(
                    "A folder that is no batch lies in the event log.",
                    where=str(folder / name),
                    remedy="Move it out of the log; folders of batches are named by 64 hex digits.",
                )
        return names

    def _path(self, manifest: Manifest, file: EventFile) -> Path:
        state = "committed" if self.is_committed(manifest.batch_id) else "held"
        return self._folder(state, manifest.batch_id) / file.path

    def _folder(self, state: str, batch_id: str) -> Path:
        if not _BATCH_ID.fullmatch(batch_id):
            raise LogError(
                "A batch's id is 64 hex digits.", where=str(self.root), remedy="Report it."
            )
        return self.root / state / batch_id
