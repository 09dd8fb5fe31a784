"""The manifest: what a batch is made of, what became of each row, and what was checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipelines.ingest.facts import CheckResult, DeliveryKind, Drift
from schemas.codec import WrittenFile

FORMAT = 1


@dataclass(frozen=True)
class InputFile:
    """A file that was read: SHA-256 of its decompressed content, its name, its rows."""

    sha256: str
    name: str
    n_rows: int


@dataclass(frozen=True)
class EventFile:
    """One Avro file of the batch.

    Attributes:
        path: file name inside the batch's folder.
        rows: records in it.
        sha256: SHA-256 of the file.
        fingerprint: of the schema that it was written under.
        n_bytes: its length.
        quarantined: rows of this type that were not accepted.
    """

    path: str
    rows: int
    sha256: str
    fingerprint: str
    n_bytes: int
    quarantined: int = 0

    @property
    def written(self) -> WrittenFile:
        """What the codec must find when it reads the file."""
        return WrittenFile(self.rows, self.sha256, self.fingerprint, self.n_bytes)


@dataclass(frozen=True)
class OutOfScope:
    """Rows whose code no study of the site asks for."""

    event_type: str
    code_system: str | None
    code: str | None
    n_rows: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a batch but its rows; holds no value of a patient and no wall clock.

    Attributes:
        batch_id: see `pipelines.ingest.batch.batch_id`.
        kind: `snapshot` or `delta`.
        exported_at: when the source wrote the extract, aware, UTC.
        data_through: per event type, up to when its records are complete, aware, UTC.
        mapping_hash: of the mapping that read the delivery.
        scope_hash: of the codes in scope.
        checks_hash: of the check table that judged it.
        study_hashes: of each study of the site, by the study's name.
        key_check: tells which key the batch was written under, without telling the key.
        parser_version: of the source's reading code.
        software_version: of Dripwatch.
        files: what was read.
        types: the accepted events, one file per event type, `ExtractDelivered` among them, and
            `RecordWithdrawn` where the delivery took something back.
        quarantine: the rows that were not accepted.
        fates: input rows by fate (`pipelines.ingest.accounting.FATES`), a nested record under the
            best of its events'; the sum is the rows read. An earlier version knew no `reference`.
        fates_by_type: per event type, what became of its events; `unknown` is rows that no event
            type was told of.
        out_of_scope: what was left out, per code.
        checks: how each check went.
        hold_reasons: why the batch was held; empty where it never was.
        replaces: earlier readings of the same files, by another mapping, scope or parser, that no
            longer count once this batch is committed. A recorded fact: no order of arrival tells
            which of two mappings was the mended one.
        namespaces: the kinds of patient identifier that its patients' keys were made from, sorted;
            empty where an earlier version wrote the batch.
        drift: what differed from the days before; an earlier version did not look.
    """

    batch_id: str
    site_id: str
    source: str
    kind: DeliveryKind
    exported_at: datetime
    data_through: Mapping[str, datetime]
    mapping_hash: str
    scope_hash: str
    checks_hash: str
    study_hashes: Mapping[str, str]
    key_check: str
    parser_version: str
    software_version: str
    files: tuple[InputFile, ...]
    types: Mapping[str, EventFile]
    quarantine: EventFile
    fates: Mapping[str, int]
    fates_by_type: Mapping[str, Mapping[str, int]]
    out_of_scope: tuple[OutOfScope, ...]
    checks: tuple[CheckResult, ...]
    hold_reasons: tuple[str, ...]
    replaces: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    drift: tuple[Drift, ...] = ()

    @property
    def event_files(self) -> tuple[EventFile, ...]:
        """Every Avro file of the batch, the quarantine last."""
        return (*self.types.values(), self.quarantine)

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return sum(file.n_rows for file in self.files)

    @property
    def content(self) -> set[str]:
        """SHA-256 of each file that was read: what a delivery is, whatever it is called."""
        return {file.sha256 for file in self.files}

    def is_read_again_as(self, other: Manifest) -> bool:
        """Return whether another batch is a reading of the same files that this one precedes."""
        return (
            self.source == other.source
            and self.content == other.content
            and (bool(self.content) or self.exported_at == other.exported_at)
            and other.batch_id not in (self.batch_id, *self.replaces)
        )

    def to_json(self) -> str:
        """Return the manifest as JSON that carries its own hash."""
        content = {"format": FORMAT, **asdict(self)}
        return (
            json.dumps(
                {"manifest": content, "sha256": _digest(content)},
                indent=1,
                sort_keys=True,
                default=datetime.isoformat,
            )
            + "\n"
        )

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Return the manifest that `to_json` wrote.

        Errors:
            ValueError: the text is damaged, or of a format that this version does not know.
        """
        try:
            whole = json.loads(text)
            content = whole["manifest"]
            if whole["sha256"] != _digest(content) or content.pop("format") != FORMAT:
                msg = "not what was written"
                raise ValueError(msg)
            return _parse(content)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            msg = "the manifest is damaged or of an unknown format"
            raise ValueError(msg) from None


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=datetime.isoformat)
    return hashlib.sha256(text.encode()).hexdigest()


def _parse(content: dict[str, Any]) -> Manifest:
    through = content["data_through"].items()
    parsed = {
        "exported_at": datetime.fromisoformat(content["exported_at"]),
        "data_through": {name: datetime.fromisoformat(at) for name, at in through},
        "files": tuple(InputFile(**file) for file in content["files"]),
        "types": {name: EventFile(**file) for name, file in content["types"].items()},
        "quarantine": EventFile(**content["quarantine"]),
        "out_of_scope": tuple(OutOfScope(**code) for code in content["out_of_scope"]),
        "checks": tuple(CheckResult(**check) for check in content["checks"]),
        "hold_reasons": tuple(content["hold_reasons"]),
        "replaces": tuple(content["replaces"]),
        "namespaces": tuple(content.get("namespaces", ())),
        "drift": tuple(Drift(**one) for one in content.get("drift", ())),
    }
    return Manifest(**{**content, **parsed})
