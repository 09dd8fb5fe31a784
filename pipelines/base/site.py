"""site.toml: one hospital's sources, studies, folders, thresholds and privacy rules."""

from __future__ import annotations

import zoneinfo
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.base import vault
from pipelines.base.generations import newest
from pipelines.base.site_nights import AnnounceTable, FeedsTable, WatchTable
from pipelines.base.site_privacy import PrivacyTable as PrivacyTable
from pipelines.base.site_privacy import RowColumn as RowColumn
from pipelines.base.tomlcheck import Checked, read_settings

Share = Annotated[float, Field(ge=0, le=1)]


class SiteTable(Checked):
    """Who the site is and which studies it runs."""

    id: str = Field(
        description="Short name of the site; part of every key, so it can never change.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
    )
    zone: str = Field(description="IANA time zone of the hospital's clocks, such as Europe/Berlin.")
    studies: list[str] = Field(
        min_length=1,
        description="Names of shipped studies, or paths of folders that hold a study.toml.",
    )
    scope: Literal["studies", "all"] = Field(
        "studies",
        description="Which codes are ingested: the union of the studies' code lists, or all.",
    )
    patients: Literal["delivered", "implied"] = Field(
        "delivered",
        description="`implied` where no source delivers patients: naming one makes one.",
    )
    row_level: Literal["none", "internal", "deidentified"] = Field(
        "none",
        description="Which rows of patients the published warehouse holds: none; `internal`: all, "
        "under keys, with times and values; `deidentified`: without any, and only where `[privacy] "
        "row_columns` single out nobody.",
    )
    synthetic: bool = Field(
        default=False,
        strict=True,
        description="Marks every page and summary SYNTHETIC: invented patients.",
    )

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in zoneinfo.available_timezones():
            msg = "not an IANA time zone; write one like Europe/Berlin or America/New_York"
            raise ValueError(msg)
        return zone


class PathsTable(Checked):
    """Where things lie; relative paths start at the folder of site.toml."""

    warehouse: Path = Field(Path("warehouse.duckdb"), description="The published warehouse.")
    report: Path = Field(Path("report"), description="Folder of the summary and the Data Docs.")
    restricted: Path = Field(
        Path("restricted"),
        description="Folder of everything at patient level: log, store, quarantine, key (0700).",
    )


class KeyTable(Checked):
    """Where the site's secret key is; it turns identifiers into keys and is never stored by us."""

    env: str = Field(
        "DRIPWATCH_KEY",
        description="Environment variable with the key (64 or more hex digits); wins over the "
        "others.",
    )
    keyring: str = Field(
        "",
        description="Service name in the system's keyring, where the key lies under the site's id; "
        "needs Python's `keyring`. Empty: the file is used.",
    )
    file: Path = Field(
        Path("restricted/site.key"),
        description="File with the key, readable by its owner alone (0600).",
    )


class SourceTable(Checked):
    """One system that delivers extracts."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Short name of the source; part of every record key, so it can never change.",
    )
    kind: Literal["flat", "fhir"] = Field(
        "flat",
        description="`flat`: CSV or Parquet; `fhir`: FHIR R4 bulk exports, NDJSON or JSON. Each "
        "has a mapping of its own.",
    )
    mapping: Path = Field(description="The mapping TOML of this source.")
    path: Path = Field(description="Folder that the deliveries arrive in.")
    layout: Literal["folder", "folder_per_delivery"] = Field(
        "folder_per_delivery",
        description="`folder`: the path is one delivery; else each of its subfolders is one.",
    )
    marker: str | None = Field(
        None,
        description="File that the sender writes last; folders without it are left alone.",
    )


class ThresholdTable(Checked):
    """When a batch is held instead of committed."""

    reject_share: Share = Field(
        0.05,
        description="Largest share of rejected rows per event type; above it the batch is held.",
    )
    reject_share_by_type: dict[str, Share] = Field(
        default_factory=dict,
        description="The same for single event types, such as LabResulted = 0.1.",
    )
    min_rows: int = Field(
        20,
        ge=0,
        description="Types with fewer rows than this in a batch are never held for their share.",
    )
    snapshot_drop: Share = Field(
        0.5,
        description="Largest share of an event type's rows that may be missing from a snapshot, "
        "against the snapshot before; above it, or where none is left, the batch is held.",
    )

    def share_of(self, event_type: str) -> float:
        """Return the threshold in force for an event type."""
        return self.reject_share_by_type.get(event_type, self.reject_share)


class PrefectTable(Checked):
    """Which Prefect server conducts the refresh."""

    api_url: str = Field(
        "",
        description="Address of a running server's API; empty runs the same stages in-process. "
        "The environment's PREFECT_API_URL wins.",
    )


class ResourceTable(Checked):
    """How much of the machine a run may take."""

    memory_limit: str = Field(
        "4GB",
        pattern=r"^\d+(\.\d+)?(MB|GB)$",
        description="Memory limit of each DuckDB connection.",
    )
    buckets: int = Field(
        16, ge=1, le=1024, description="Patient buckets that linkage works through."
    )


class Site(Checked):
    """The whole of site.toml, with paths made absolute."""

    site: SiteTable
    paths: PathsTable = PathsTable()
    key: KeyTable = KeyTable()
    source: list[SourceTable] = Field(min_length=1, description="One table per source system.")
    thresholds: ThresholdTable = ThresholdTable()
    privacy: PrivacyTable = PrivacyTable()
    prefect: PrefectTable = PrefectTable()
    resources: ResourceTable = ResourceTable()
    feeds: FeedsTable = FeedsTable()
    watch: WatchTable = WatchTable()
    announce: AnnounceTable = AnnounceTable()
    config_path: Path = Field(Path("site.toml"), exclude=True, description="(set on load)")

    @model_validator(mode="after")
    def _sources_have_own_names(self) -> Site:
        names = [source.name for source in self.source]
        if len(set(names)) < len(names):
            msg = "two sources have one name; names are part of every record's key"
            raise ValueError(msg)
        return self

    @property
    def root(self) -> Path:
        """Folder of site.toml; relative paths start here."""
        return self.config_path.parent

    def at(self, path: Path) -> Path:
        """Return a configured path as an absolute one (symlinks kept, `..` resolved)."""
        return Path(path) if Path(path).is_absolute() else self.root / path

    @property
    def restricted(self) -> Path:
        """Folder of everything at patient level."""
        return self.at(self.paths.restricted)

    @property
    def log_root(self) -> Path:
        """The event log: batches that are committed, held or being written; its generation."""
        return newest(self.restricted)

    @property
    def staging(self) -> Path:
        """Scratch databases of the batches that a run is reading."""
        return self.restricted / "staging"

    @property
    def store_path(self) -> Path:
        """The site store: a DuckDB cache of the log, at patient level."""
        return self.restricted / "store" / "site.duckdb"

    @property
    def shards(self) -> Path:
        """Parquet shards that one run of linkage reads and writes."""
        return self.restricted / "shards"

    @property
    def prefect_home(self) -> Path:
        """PREFECT_HOME of every flow of this site."""
        return self.restricted / "prefect"

    @property
    def spill(self) -> Path:
        """Folder of DuckDB's spill files, which can hold rows of patients."""
        return self.restricted / "tmp"

    @property
    def warehouse(self) -> Path:
        """The published warehouse."""
        return self.at(self.paths.warehouse)

    @property
    def report(self) -> Path:
        """Folder of the summary and the Data Docs."""
        return self.at(self.paths.report)


def load_site(path: Path) -> Site:
    """Read and check site.toml (a folder means the site.toml in it).

    Errors:
        ConfigError: naming each wrong line, its cause and its remedy.
    """
    site = read_settings(Site, path, "site.toml")
    vault.know(site)
    return site
