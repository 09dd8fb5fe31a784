"""The identity of a batch: what was delivered, what was said about it, and how it was read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipelines.ingest.facts import DeliveredFile, DeliveryKind


def batch_id(
    *,
    site_id: str,
    source: str,
    kind: DeliveryKind,
    exported_at: datetime,
    data_through: Mapping[str, datetime],
    files: Sequence[DeliveredFile],
    mapping_hash: str,
    scope_hash: str,
    parser_version: str,
) -> str:
    """Return a batch's id, 64 hex digits: the same delivery, read the same way, is one batch.

    File names, folders, compression and arrival do not change it; a file's role does, and so do
    another `data_through`, a mended mapping, a wider scope and a newer parser.

    Errors:
        ValueError: a time has no zone.
    """
    identity = {
        "site_id": site_id,
        "source": source,
        "kind": kind,
        "exported_at": instant_text(exported_at),
        "data_through": {name: instant_text(at) for name, at in data_through.items()},
        "files": sorted([file.role, file.sha256] for file in files),
        "mapping_hash": mapping_hash,
        "scope_hash": scope_hash,
        "parser_version": parser_version,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def instant_text(at: datetime) -> str:
    """Return an instant as text that is the same for every zone it was given in.

    Errors:
        ValueError: the time has no zone.
    """
    if at.tzinfo is None:
        msg = "an instant needs a zone"
        raise ValueError(msg)
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def naive_utc(at: datetime) -> datetime:
    """Return an instant as columns hold it: UTC, without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None)
