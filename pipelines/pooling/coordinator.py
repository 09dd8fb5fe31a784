"""coordinator.toml: whose packs are awaited, by when, and where what is pooled of them lies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from pipelines.base.site import PrefectTable
from pipelines.base.tomlcheck import Checked, read_settings, read_toml
from studies.surveillance import MAX_ALPHA, PairTable

SiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class CoordinatorTable(Checked):
    """Who coordinates, and which sites are expected each quarter."""

    id: SiteName = Field(description="Short name of the network; part of what is recorded.")
    sites: tuple[SiteName, ...] = Field(
        min_length=1, description="Ids of the sites; packs of others are refused."
    )
    deadline_days: int = Field(
        30,
        ge=1,
        le=90,
        description="Day of the quarter, in UTC, on which its packs are due. Until its end an "
        "incomplete quarter is not pooled; after it, what is there is.",
    )

    @field_validator("sites")
    @classmethod
    def _each_once(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(sites)) < len(sites):
            msg = "names a site twice; its patients would count twice"
            raise ValueError(msg)
        return sites


class PlacesTable(Checked):
    """Where things lie; relative paths start at the folder of coordinator.toml."""

    inbox: Path = Field(Path("inbox"), description="Where packs arrive, a folder each.")
    keys: Path = Field(
        Path("keys"), description="Each site's public key as SITE.pub; came another way than packs."
    )
    packs: Path = Field(Path("packs"), description="Packs that were verified, moved here.")
    refused: Path = Field(
        Path("refused"), description="Packs that were not believed, moved here with the reason."
    )
    pooled: Path = Field(Path("pooled.duckdb"), description="What is pooled.")
    state: Path = Field(
        Path("state"), description="Lock, recorded facts and Prefect's own files (0700)."
    )


class RhythmTable(Checked):
    """How often is looked for packs."""

    cron: str = Field("0 6 * * *", description="When the deployment looks, in UTC; empty: never.")
    poll_seconds: float = Field(
        300.0, ge=0.1, description="How often `coordinate --wait` looks into the inbox."
    )
    settle_seconds: float = Field(
        60.0,
        ge=0,
        description="A pack that cannot be verified is refused when nothing of it has changed for "
        "this long; until then it may still be arriving.",
    )


class PooledPairTable(PairTable):
    """A pair of a study, looked at on all sites together, with an alpha and an end of its own.

    Without rates and counts the reference is that of the study's pair; it must be no baseline.
    """

    study: str = Field(description="Id of the study that watches the pair at each site.")


class Coordinator(Checked):
    """The whole of coordinator.toml, with paths made absolute."""

    coordinator: CoordinatorTable
    paths: PlacesTable = PlacesTable()
    watch: RhythmTable = RhythmTable()
    prefect: PrefectTable = PrefectTable()
    pair: list[PooledPairTable] = Field(
        default_factory=list, description="What is looked at of all sites together."
    )
    config_path: Path = Field(Path("coordinator.toml"), exclude=True, description="(set on load)")

    @model_validator(mode="after")
    def _adds_up(self) -> Coordinator:
        for study in {one.study for one in self.pair}:
            pairs = [one for one in self.pair if one.study == study]
            total = math.fsum(one.alpha for one in pairs)
            if total > MAX_ALPHA + 1e-12:
                msg = f"the alpha of all pairs of {study} adds up to {total:g}; at most "
                raise ValueError(msg + f"{MAX_ALPHA:g} may be spent")
            if len({(one.outcome, one.window, one.watched) for one in pairs}) < len(pairs):
                msg = f"a pair of {study} is there twice; leave one out"
                raise ValueError(msg)
        return self

    @property
    def root(self) -> Path:
        """Folder of coordinator.toml; relative paths start here."""
        return self.config_path.parent

    def at(self, path: Path) -> Path:
        """Return a configured path as an absolute one."""
        return path if path.is_absolute() else self.root / path

    @property
    def restricted(self) -> Path:
        """Folder of the lock and of what is recorded; only its owner may enter it."""
        return self.at(self.paths.state)

    @property
    def prefect_home(self) -> Path:
        """PREFECT_HOME of the flow."""
        return self.restricted / "prefect"


def load_coordinator(path: Path) -> Coordinator:
    """Read and check coordinator.toml (a folder means the coordinator.toml in it).

    Errors:
        ConfigError: naming each wrong line, its cause and its remedy.
    """
    return read_settings(Coordinator, path, "coordinator.toml")


def is_coordinator(path: Path) -> bool:
    """Whether a configuration, or a folder's, is a coordinator's and not a site's."""
    if path.is_dir():
        return (path / "coordinator.toml").is_file() and not (path / "site.toml").exists()
    return path.is_file() and "coordinator" in read_toml(path)[0]
