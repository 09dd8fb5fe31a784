"""What a delivery of FHIR resources says about itself: its times, its kind, what it is all of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import schemas
from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.fhir.content import latest_time, resource_types
from pipelines.sources.fhir.delivery_model import ExportRule, ExportTime
from pipelines.sources.fhir.export_files import ANY, find
from pipelines.sources.fhir.manifest import NAME, Manifest
from pipelines.sources.fhir.mapping import Mapping
from pipelines.sources.rows.delivery import Clock, Key, data_through, facts_of
from pipelines.sources.rows.folders import AGAIN, DeliveryFolder
from pipelines.sources.rows.stage import Scope

#: Raised when the same file would be read differently: every batch then gets a new id.
PARSER_VERSION = "fhir-2"


def describe(delivery: DeliveryFolder, mapping: Mapping, site: Site, scope: Scope) -> DeliveryFacts:
    """Return what a delivery holds and declares.

    Errors:
        DeliveryError: it is not what its manifest says, its manifest reports errors, a file is
            damaged or of no known kind, or it does not tell a time that the mapping asks for.
    """
    rule = mapping.table.delivery
    found = find(delivery, rule, mapping.table.files)
    manifest, held = found.manifest, _Held(delivery, found.files)

    def within(clock: Clock, source: ExportTime, key: Key) -> datetime | None:
        if source.manifest:
            return _transaction_time(clock, manifest, key)
        if source.resource is None:
            return None
        return _latest(clock, held, source, key)

    clock = Clock(delivery, mapping.table.zone or site.site.zone, within)
    # a missing manifest is told before anything that only follows from it
    exported_at = clock.read(rule.exported_at, ("exported_at",))
    types = _delivered(delivery, mapping, manifest, held)
    return facts_of(
        delivery,
        mapping,
        site,
        scope,
        kind=_kind(delivery, rule, manifest),
        exported_at=exported_at,
        data_through=data_through(clock, rule.data_through, types),
        files=found.files,
        parser_version=PARSER_VERSION,
        remarks=found.remarks,
    )


def _transaction_time(clock: Clock, manifest: Manifest | None, key: Key) -> datetime:
    if manifest is None:
        raise clock.untold(
            key,
            f"The mapping asks for the time in {NAME}, and there is no {NAME} in the delivery.",
            '"transactionTime": "2026-01-06T02:00:00Z"',
        )
    return manifest.transaction_time.astimezone(UTC)


def _latest(clock: Clock, held: _Held, source: ExportTime, key: Key) -> datetime:
    """Return the latest time of an element in all resources of a type."""
    name = source.resource or ""
    zone = source.zone or clock.zone
    files = [file for file in held.files if name in held.types(file)]
    latest = [
        at for file in files if (at := latest_time(file.path, held.where(file), source, zone))
    ]
    if not latest:
        raise clock.untold(key, f"No {name} of the delivery tells {source.element}.", "2026-01-06")
    return max(latest)


def _kind(
    delivery: DeliveryFolder, rule: ExportRule, manifest: Manifest | None
) -> Literal["snapshot", "delta"]:
    is_since = manifest.is_since if manifest else None
    if rule.kind == "snapshot" and is_since:
        raise DeliveryError(
            "The mapping says kind = snapshot, but this export was asked for changes only "
            "(`_since`): all that did not change would count as gone.",
            where=f"{delivery.where}, {NAME}, request",
            remedy='Write kind = "manifest" or "delta" in [delivery], or export without `_since`.',
            next_run=AGAIN,
        )
    if rule.kind != "manifest":
        return rule.kind
    if is_since is None:
        raise DeliveryError(
            f'The mapping says kind = "manifest", but no {NAME} of the delivery tells the request '
            "and its parameters (one asked for by POST tells none).",
            where=f"{delivery.where}, {NAME}, request",
            remedy='Ask the sender for it, or write kind = "snapshot" or "delta" in [delivery].',
            next_run=AGAIN,
        )
    return "delta" if is_since else "snapshot"


def _delivered(
    delivery: DeliveryFolder, mapping: Mapping, manifest: Manifest | None, held: _Held
) -> set[str]:
    """Return the event types that a delivery is complete for."""
    if told := mapping.table.delivery.delivers:
        names = set(told)
    elif manifest is not None:
        names = set(manifest.types or [file.type for file in manifest.output])
        _refuse_filtered(delivery, mapping, names & set(manifest.filtered))
    else:
        names = {name for file in held.files for name in held.types(file)}
    return {t for name in names for t in (mapping.types_of(name) or (name,))} & set(
        schemas.CLINICAL_TYPES
    )


def _refuse_filtered(delivery: DeliveryFolder, mapping: Mapping, names: set[str]) -> None:
    """Refuse to guess what an export is complete for that was asked for some of a type only."""
    for name in sorted(names):
        if types := mapping.types_of(name):
            raise DeliveryError(
                f"An export was asked for only some of its {name} (`_typeFilter`): which events "
                "it is complete for cannot be told from its types.",
                where=f"{delivery.where}, {NAME}, request",
                remedy="Write in [delivery] of the mapping all that each export is complete for, "
                f'such as delivers = ["Patient", "{types[0]}"]: of {name} those of '
                f"{', '.join(types)} that the filter leaves whole.",
                next_run=AGAIN,
            )


class _Held:
    """The files of a delivery with the types of their resources, each looked at once at most."""

    def __init__(self, delivery: DeliveryFolder, files: Sequence[DeliveredFile]) -> None:
        self.files = files
        self._delivery = delivery
        self._types: dict[str, set[str]] = {}

    def types(self, file: DeliveredFile) -> set[str]:
        """Return the types of a file's resources: as its manifest tells, else as it holds them."""
        if file.role != ANY:
            return {file.role}
        if file.sha256 not in self._types:
            self._types[file.sha256] = resource_types(file.path, self.where(file))
        return self._types[file.sha256]

    def where(self, file: DeliveredFile) -> str:
        """Return how messages call a file."""
        return f"{self._delivery.where}, file {self.files.index(file) + 1} of {len(self.files)}"
