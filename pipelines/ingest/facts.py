"""What a source says about a delivery, and what validation says about its rows.

Sources fill `DeliveryFacts`, validation fills `ValidationSummary`; the log writes both into the
batch's manifest. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

DeliveryKind = Literal["snapshot", "delta"]
Severity = Literal["reject", "warn", "info"]


@dataclass(frozen=True)
class DeliveredFile:
    """One file of a delivery.

    Attributes:
        path: where it lies now; not part of the batch's identity.
        role: what the mapping uses it as (the mapping's name for this file or group of files);
            the same bytes under another role are another batch.
        sha256: SHA-256 of the decompressed content, 64 hex digits.
        n_told: how many records the sender says it holds; None where it does not say.
    """

    path: Path
    role: str
    sha256: str
    n_told: int | None = None


@dataclass(frozen=True)
class DeliveryFacts:
    """What a delivery declares about itself, and what it was read with.

    Attributes:
        batch_id: see `pipelines.ingest.batch.batch_id`.
        site_id: the site's short name.
        source: the source's short name.
        kind: a snapshot replaces all that the source said before, a delta adds to it.
        exported_at: when the source system wrote the extract, aware, UTC.
        data_through: for each event type of the delivery (the default is spelled out), the
            instant up to which its records are complete, aware, UTC.
        mapping_hash: SHA-256 of the mapping that read it.
        scope_hash: SHA-256 of the codes in scope.
        parser_version: version of the source's reading code; raised when it reads differently.
        files: every file read, in any order.
        namespaces: the kinds of patient identifier that keys of patients are made from, sorted;
            already part of the mapping's hash.
        remarks: what the reader must be told of it, a sentence each; not part of its identity.
    """

    batch_id: str
    site_id: str
    source: str
    kind: DeliveryKind
    exported_at: datetime
    data_through: Mapping[str, datetime]
    mapping_hash: str
    scope_hash: str
    parser_version: str
    files: tuple[DeliveredFile, ...]
    namespaces: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """How one check went on one event type of a batch.

    Attributes:
        check_id: the check's name in the check table.
        event_type: the event type it judged.
        column: the column it is about; empty where it is about several.
        severity: `reject` quarantines the row, `warn` flags it, `info` counts it.
        n_rows: rows judged.
        n_failed_sql: failing rows that the SQL pass named.
        n_failed_gx: failing rows that Great Expectations counted; None where it did not run.
        agrees: whether both counts are the same.
        kahn_category: conformance, completeness or plausibility (Kahn et al. 2016).
    """

    check_id: str
    event_type: str
    column: str
    severity: Severity
    n_rows: int
    n_failed_sql: int
    n_failed_gx: int | None
    agrees: bool
    kahn_category: str


@dataclass(frozen=True)
class Drift:
    """One number of a batch that lies outside of what the 28 days before let expect.

    Attributes:
        event_type: whose events it is about.
        check_id: the check that found it.
        what: column, or code system and code; empty where the whole type is meant.
        n_rows: rows of the batch that it was made from.
        n_rows_before: rows of the 28 days before.
        observed: the number; rows, a share, or a distance between shares.
        before: what it was before.
        low, high: the bounds that it should have kept.
    """

    event_type: str
    check_id: str
    what: str
    n_rows: int
    n_rows_before: int
    observed: float
    before: float
    low: float
    high: float


@dataclass(frozen=True)
class ValidationSummary:
    """The verdict on a batch; the failing rows themselves are in the staging database.

    Attributes:
        checks: one result per check and event type.
        checks_hash: SHA-256 of the check table that was applied.
        hold_reasons: why the batch must not be committed, one sentence each, without values;
            empty means commit.
        drift: what differs from the days before.
    """

    checks: tuple[CheckResult, ...]
    checks_hash: str
    hold_reasons: tuple[str, ...] = field(default=())
    drift: tuple[Drift, ...] = field(default=())
