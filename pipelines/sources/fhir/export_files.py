"""Which files a delivery of FHIR resources has; what its manifest reports of them.

With a manifest.json a delivery is exactly what that names; without, every NDJSON or JSON file.
Whatever is neither stops the run: a file that nobody reads may be the one that matters.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import DeliveryError
from pipelines.ingest.facts import DeliveredFile
from pipelines.sources.fhir.content import weigh_outcomes
from pipelines.sources.fhir.delivery_model import ExportRule, FilesRule
from pipelines.sources.fhir.manifest import (
    NAME,
    Manifest,
    NamedFile,
    find_files,
    read_manifest,
    wrong_count,
)
from pipelines.sources.rows.content import content_hash
from pipelines.sources.rows.delivery import each_once, no_data, plain_files, sidecars
from pipelines.sources.rows.folders import AGAIN, DeliveryFolder

#: Role of a file whose resource type nobody tells, and of one that tells deletions.
ANY, DELETED = "any", "deleted"

_ENDINGS = (".ndjson", ".ndjson.gz", ".json", ".json.gz")
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Found:
    """The files of a delivery, sorted: those to read, and what there is to say of the others."""

    files: list[DeliveredFile]
    remarks: list[str]
    manifest: Manifest | None


def find(delivery: DeliveryFolder, rule: ExportRule, aside: FilesRule) -> Found:
    """Tell the files of a delivery apart; each is read, told in a remark, or an error.

    Errors:
        DeliveryError: it is not what its manifest says, its manifest reports errors, or a file
            is damaged, no plain file, or of no known kind.
    """
    told = sidecars([rule.exported_at, *rule.data_through.values()])
    paths = plain_files(delivery, told | {delivery.source.marker})
    kept = [p for p in paths if not any(fnmatch.fnmatchcase(p.name, one) for one in aside.ignore)]
    remarks = []
    if n_ignored := len(paths) - len(kept):
        remarks.append(
            f"{n_ignored} of {len(paths)} files in a delivery of {delivery.source.name} were left "
            "unread, as `[files] ignore` says."
        )
    where = f"{delivery.where}, {NAME}"
    has_manifest = any(path.name == NAME for path in kept)
    manifest = read_manifest(delivery.path, where) if has_manifest else None
    data = [path for path in kept if path.name != NAME]
    if manifest is None:
        files = [_delivered_file(delivery, p, ANY, None, n, len(data)) for n, p in _numbered(data)]
    else:
        named = find_files(manifest, data, where)
        _refuse_unnamed(delivery, data, named)
        remarks += _reported(delivery, rule, manifest, named)
        files = _read_files(delivery, manifest, named)
    if manifest is None and not files:
        raise no_data(delivery)
    _refuse_other_counts(delivery, files)
    return Found(each_once(files, delivery), remarks, manifest)


def _numbered(paths: Sequence[Path]) -> list[tuple[int, Path]]:
    return list(enumerate(paths, start=1))


def _delivered_file(
    delivery: DeliveryFolder, path: Path, role: str, count: int | None, number: int, total: int
) -> DeliveredFile:
    where = f"{delivery.where}, file {number} of {total} by name"
    if not path.name.lower().endswith(_ENDINGS) and role == ANY:
        raise DeliveryError(
            "A delivered file is neither NDJSON nor JSON by its name.",
            where=where,
            remedy=f"Deliver resources as *{', *'.join(_ENDINGS)}; name files that are no data "
            'in the mapping: [files] ignore = ["*.md", "LICENSE*"].',
            next_run=AGAIN,
        )
    return DeliveredFile(path, role, content_hash(path, where), count)


def _refuse_unnamed(
    delivery: DeliveryFolder, data: Sequence[Path], named: Sequence[tuple[NamedFile, Path]]
) -> None:
    """Refuse files that the manifest does not name: they may be of another export."""
    known = {path for _, path in named}
    if unnamed := [number for number, path in _numbered(data) if path not in known]:
        raise DeliveryError(
            f"{len(unnamed)} of {len(data)} files beside a {NAME} are not named in it.",
            where=f"{delivery.where}, file {unnamed[0]} of {len(data)} by name",
            remedy="Take files of other exports out of the folder; name files that are no data in "
            "the mapping: [files] ignore = [...].",
            next_run=AGAIN,
        )


def _read_files(
    delivery: DeliveryFolder, manifest: Manifest, named: Sequence[tuple[NamedFile, Path]]
) -> list[DeliveredFile]:
    """Return the files that are read; one that is told to be empty and is has nothing to read."""
    place = dict(named)
    told = [(one, one.type) for one in manifest.output] + [(o, DELETED) for o in manifest.deleted]
    files = [
        _delivered_file(delivery, place[one], role, one.count, number, len(told))
        for number, (one, role) in enumerate(told, start=1)
    ]
    return [one for one in files if not (one.sha256 == _EMPTY and one.n_told == 0)]


def _refuse_other_counts(delivery: DeliveryFolder, files: Sequence[DeliveredFile]) -> None:
    """Refuse one content that is told to hold two numbers of records."""
    told: dict[str, int | None] = {}
    for file in files:
        if told.setdefault(file.sha256, file.n_told) != file.n_told:
            raise wrong_count(delivery.where)


def _reported(
    delivery: DeliveryFolder,
    rule: ExportRule,
    manifest: Manifest,
    named: Sequence[tuple[NamedFile, Path]],
) -> list[str]:
    """Weigh the errors that a manifest reports; their texts can hold patients' data."""
    place = dict(named)
    n_errors = n_notes = 0
    for one in manifest.error:
        where = f"{delivery.where}, {NAME}, {one.place}"
        found = weigh_outcomes(place[one], where)
        if one.count is not None and one.count != found.n_records:
            raise wrong_count(where)
        n_errors += found.n_errors
        n_notes += found.n_records - found.n_errors
    if n_errors and not rule.accept_errors:
        raise DeliveryError(
            f"The server reports {_errors(n_errors)} of this export: records may be missing from "
            "it.",
            where=f"{delivery.where}, {NAME}, error",
            remedy="Read the files that `error` names, and have the export made again; or write "
            "accept_errors = true in [delivery] where what they tell is known and does not matter.",
            next_run=AGAIN,
        )
    remarks = []
    if n_errors:
        remarks.append(
            f"An export of {delivery.source.name} was read though its server reports "
            f"{_errors(n_errors)}: `accept_errors` is set, and records may be missing."
        )
    if n_notes:
        remarks.append(
            f"The server of {delivery.source.name} added {n_notes} warnings or notes to an export."
        )
    return remarks


def _errors(count: int) -> str:
    return f"{count} error{'' if count == 1 else 's'}"
