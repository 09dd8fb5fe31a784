"""What the stages of one run share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import Console, plural
from flows.server import configured_url
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site, SourceTable

if TYPE_CHECKING:
    from pipelines.base.keys import SiteKey
    from pipelines.ingest.facts import DeliveryFacts, ValidationSummary
    from pipelines.ingest.log import EventLog
    from pipelines.linkage.transform import LinkageResult
    from pipelines.sources import SourceMapping
    from pipelines.sources.inbox import InboxCache
    from pipelines.sources.rows.stage import Scope
    from studies.load import ConceptRow, Study
    from warehouse.store import RunRecord
    from warehouse.touched import Relinked


@dataclass
class Incoming:
    """A delivery that no earlier run has read.

    Attributes:
        source: the source that delivered it.
        mapping: how to read it.
        facts: what it declares about itself.
        staging: scratch database with its rows.
        n_rows: rows read.
        n_rejected: rows that a `reject` check failed or that could not be read.
        validation: the verdict; None before validation.
    """

    source: SourceTable
    mapping: SourceMapping
    facts: DeliveryFacts
    staging: Path
    n_rows: int = 0
    n_rejected: int = 0
    validation: ValidationSummary | None = None


@dataclass
class RunContext:
    """One run at work: its site, its identity, and what the stages before have found.

    Attributes:
        site: settings of the site.
        run_id: UUID version 7.
        console: where the run speaks.
        started_at: aware, UTC.
        incoming: deliveries to read in this run, oldest export first.
        known: deliveries in the inboxes that earlier runs have read.
        current: every delivery that lies in an inbox now, by batch id.
        n_applied: batches that this run brought into the store.
        n_new: batches that this run committed.
        held: ids of the batches that are held now.
        remarks: what the reader must be told at the end.
        is_changed: whether this run replaced the published warehouse.
        must_link: whether anything that linkage depends on has changed.
        is_replay: the store is made again from the log, and published whatever the file in place
            says that it shows.
        linked: what linkage gave; None where it did not run.
        relinked: whom it was run for, and what to keep of them; None where it was not asked for.
        headline: the first numbers of a synthetic site.
        attrition: of a synthetic site, from records to counted units: study, step, number.
        changes: what changed in the signals and why, as the summary tells it.
        feeds: how fresh each feed is.
    """

    site: Site
    run_id: str
    console: Console
    started_at: datetime
    incoming: list[Incoming] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    current: dict[str, DeliveryFacts] = field(default_factory=dict)
    n_applied: int = 0
    n_new: int = 0
    held: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    is_changed: bool = False
    must_link: bool = True
    is_replay: bool = False
    linked: LinkageResult | None = None
    relinked: Relinked | None = None
    headline: tuple[tuple[str, str], ...] = ()
    attrition: tuple[tuple[str, str, int], ...] = ()
    changes: list[dict[str, Any]] = field(default_factory=list)
    feeds: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def key(self) -> SiteKey:
        """The site's key, as the log was written under it."""
        from pipelines.base.keys import load_key

        return self.log.fit_key(load_key(self.site), self.site.site.id)

    @cached_property
    def studies(self) -> list[Study]:
        """The site's studies."""
        from studies.load import load_study

        return [load_study(name, self.site.root) for name in self.site.site.studies]

    @property
    def concepts(self) -> list[ConceptRow]:
        """Return the codes that the studies ask for, each once."""
        return sorted({row for study in self.studies for row in study.concept_rows()})

    @property
    def scope(self) -> Scope:
        """Return the codes that are ingested."""
        from pipelines.sources.rows.stage import Everything

        return Everything(self.concepts) if self.site.site.scope == "all" else self.concepts

    @cached_property
    def mappings(self) -> dict[str, SourceMapping]:
        """How to read each source, by the source's name."""
        from pipelines.sources import source_kind

        return {
            one.name: source_kind(one.kind).load_mapping(self.site.at(one.mapping))
            for one in self.site.source
        }

    @cached_property
    def log(self) -> EventLog:
        """The site's event log."""
        from pipelines.ingest.log import EventLog

        return EventLog(self.site.log_root)

    @cached_property
    def inbox(self) -> InboxCache:
        """What the deliveries in the inboxes said of themselves before; `save` it where it may."""
        from pipelines.sources.inbox import InboxCache

        return InboxCache(self.site.restricted / "cache" / "inbox.json", code_hash(_READING))

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the channels that are told where the state of an alert changes."""
        from flows.channels import channels_of

        return tuple(channels_of(self.site))

    def run_record(self) -> RunRecord:
        """Return this run's row of `ops.run`, as it starts."""
        from warehouse.store import RunRecord

        return RunRecord(
            run_id=self.run_id,
            site_id=self.site.site.id,
            started_at=self.started_at,
            software_version=metadata.version("dripwatch"),
            conductor="prefect_server" if configured_url(self.site) else "in_process",
        )

    def closing_record(self) -> RunRecord:
        """Return this run's row as it ends if nothing goes wrong from here on."""
        return replace(
            self.run_record(),
            status="held" if self.held else "done",
            finished_at=datetime.now(UTC),
            exit_code=int(ExitCode.HELD if self.held else ExitCode.OK),
            n_batches_applied=self.n_applied,
            n_batches_held=len(self.held),
            message=f"{plural(self.n_new, 'new batch', 'new batches')}, {len(self.held)} held.",
        )

    def remark(self, text: str) -> None:
        """Note a sentence for the end of the run, once."""
        if text not in self.remarks:
            self.remarks.append(text)


#: Folders whose code decides what a delivery says about itself.
_READING = ("pipelines/base", "pipelines/ingest", "pipelines/sources", "schemas")

#: Folders whose code decides what linkage and signals come to.
_CODE = ("pipelines/base", "pipelines/linkage", "pipelines/signals", "studies", "warehouse")


@cache
def code_hash(folders: tuple[str, ...] = _CODE) -> str:
    """Return a hash of the code that results, or whatever is made by other folders, depend on.

    A version number alone would not do in a checkout, where code changes under one version.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".sql", ".csv", ".toml"}:
                digest.update(f"{path.relative_to(root)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
