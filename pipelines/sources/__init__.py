"""From what hospitals send to events: one kind of source per way of sending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import duckdb

    from pipelines.base.keys import SiteKey
    from pipelines.base.site import Site
    from pipelines.ingest.facts import DeliveryFacts
    from pipelines.sources.rows.folders import DeliveryFolder
    from pipelines.sources.rows.stage import Scope


class SourceMapping(Protocol):
    """A checked mapping of any kind, as the nightly road sees it."""

    @property
    def path(self) -> Path:
        """Its file."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The kinds of patient identifier that it makes keys of patients from, sorted."""

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types that its deliveries can tell."""

    def content_hash(self, site_zone: str) -> str:
        """Return the SHA-256 of all that it decides."""


class Describe(Protocol):
    """Tells what a delivery holds and says about itself."""

    def __call__(
        self,
        delivery: DeliveryFolder,
        mapping: Any,  # noqa: ANN401 - each kind takes the mapping that it has loaded itself
        site: Site,
        scope: Scope,
        /,
    ) -> DeliveryFacts:
        """Return the facts; DeliveryError where the delivery is not as its mapping says."""


class Extract(Protocol):
    """Turns a delivery into candidate events in the staging database."""

    def __call__(
        self,
        con: duckdb.DuckDBPyConnection,
        facts: DeliveryFacts,
        mapping: Any,  # noqa: ANN401 - see Describe
        site: Site,
        scope: Scope,
        key: SiteKey,
        /,
    ) -> None:
        """Fill `event.*` and `fate.*`; every input row ends in exactly one place."""


@dataclass(frozen=True)
class SourceKind:
    """One way in which hospitals send their records.

    Attributes:
        name: `kind` in site.toml.
        parser_version: raised when the same file would be read differently.
        load_mapping: reads and checks a mapping file; MappingError names every mistake.
        describe: tells what a delivery holds, without reading its rows.
        extract: reads its rows.
        remarks: what the rows in a staging database give reason to say, without patient data.
    """

    name: str
    parser_version: str
    load_mapping: Callable[[Path], SourceMapping]
    describe: Describe
    extract: Extract
    remarks: Callable[[duckdb.DuckDBPyConnection, Any, str], list[str]]


def source_kind(name: Literal["flat", "fhir"]) -> SourceKind:
    """Return how a kind of source is read; only what is asked for is imported."""
    return {"flat": _flat, "fhir": _fhir}[name]()


def _flat() -> SourceKind:
    from pipelines.sources import flat
    from pipelines.sources.flat import left_out

    return SourceKind(
        "flat",
        flat.PARSER_VERSION,
        flat.load_mapping,
        flat.describe,
        flat.extract,
        left_out.remarks,
    )


def _fhir() -> SourceKind:
    from pipelines.sources.fhir import delivery, mapping, promises, remarks

    return SourceKind(
        "fhir",
        delivery.PARSER_VERSION,
        mapping.load_mapping,
        delivery.describe,
        promises.extract,
        remarks.remarks,
    )
