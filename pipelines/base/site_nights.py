"""Tables of site.toml about what happens night after night."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipelines.base.tomlcheck import Checked

#: What a batch is compared in with the 28 days before; each is a check of its own.
DriftCheck = Literal["drift_volume", "drift_null", "drift_unit", "drift_code", "drift_unmapped"]
FeedName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}(/[A-Z][A-Za-z]{2,40})?$")
]


class FeedsTable(Checked):
    """When a feed that fell silent is called quiet, and what becomes of a delivery that drifts."""

    quiet_after_days: float = Field(
        4.0,
        gt=0,
        description="Days on which a feed should have delivered and did not, from which on it is "
        "quiet and closes no window that ends after its last record.",
    )
    believed: tuple[FeedName, ...] = Field(
        (),
        description="Feeds whose silence is real, each a source or `source/EventType`.",
    )
    hold_on: tuple[DriftCheck, ...] = Field(
        (),
        description="Drift checks that hold a batch; the others only warn.",
    )


class WatchTable(Checked):
    """When `dripwatch watch` takes a delivery as arrived, and the nightly run beside it."""

    poll_seconds: float = Field(
        10.0, ge=0.1, description="How often it looks into the folders of the sources."
    )
    stable_seconds: float = Field(
        60.0,
        ge=0,
        description="Without a `marker` a delivery has arrived when no file of it has changed for "
        "this long; with a manifest.json, when all that it names is there besides.",
    )
    fetch: dict[str, str] = Field(
        default_factory=dict,
        description="Per source, the fsspec address (s3://, sftp://, ...) from which it copies "
        "deliveries, once they are whole, into the source's `path`.",
    )
    cron: str = Field(
        "0 2 * * *",
        description="When the deployment runs besides, in the site's zone; empty: never.",
    )


class AnnounceTable(Checked):
    """Who is told when the state of an alert changes; no message holds a count or a patient.

    Addresses may name variables of the environment as `$NAME`, so that no secret stands here.
    """

    webhook: str = Field(
        "", description="Address that gets each change as a JSON object by POST; empty: none."
    )
    mail: str = Field(
        "",
        description="Address of e-mails in Apprise's form, such as `mailtos://user:$PASSWORD@"
        "smtp.example.org?from=dripwatch@example.org&to=safety@example.org`; empty: none.",
    )
