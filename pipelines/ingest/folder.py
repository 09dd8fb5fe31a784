"""One batch's folder on disk: its manifest, and whether its files are what was written."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pipelines.base import sealed
from pipelines.base.files import fsync_path, sha256_file
from pipelines.base.storage import storing
from pipelines.ingest.manifest import Manifest
from schemas.codec import damaged

MANIFEST = "manifest.json"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the batch's folder (0600) and force the folder to disk."""
    sealed.write_bytes(folder / MANIFEST, manifest.to_json().encode())
    fsync_path(folder)


def load_folder(folder: Path) -> Manifest:
    """Return a batch's manifest after checking that its files are there in their full length.

    Errors:
        LogError: the manifest or a file is missing or damaged.
        KeyFileError: it is encrypted, and the site's key is absent or another one.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.from_json(sealed.read_bytes(path).decode())
    except (FileNotFoundError, ValueError, sealed.SealedError):  # ValueError: also no UTF-8
        raise damaged(path) from None
    if manifest.batch_id != folder.name:
        raise damaged(path)
    for file in manifest.event_files:
        event_path = folder / file.path
        if not event_path.is_file() or event_path.stat().st_size != file.n_bytes:
            raise damaged(event_path)
    return manifest


def verify_folder(folder: Path, manifest: Manifest) -> None:
    """Check the hash of every file of a batch.

    Errors:
        LogError: a file is not what was written.
    """
    for file in manifest.event_files:
        if sha256_file(folder / file.path) != file.sha256:
            raise damaged(folder / file.path)


def storage_errors(root: Path) -> AbstractContextManager[None]:
    """Turn what the operating system refuses inside the log into a StorageError."""
    return storing("reading or writing the event log", root)
