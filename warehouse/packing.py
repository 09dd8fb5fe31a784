"""What a pack says: the counts of a published warehouse, masked, and facts about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from expectations.table import checks_hash
from pipelines.base.errors import ConfigError
from pipelines.base.site import Site
from pipelines.disclosure import FEW, PATIENTS, SMALL, by_weight, nested_counts
from pipelines.disclosure.release import Release
from pipelines.disclosure.rule import SMALLEST_THRESHOLD
from pipelines.disclosure.tables import REASON, mask_counts
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.disclosure.watched import masked_watched
from pipelines.pooling.content_rows import RISK
from pipelines.pooling.rounds import quarter
from pipelines.signals.counts import COUNT_TABLES, COUNTS
from studies.load import Study
from warehouse.counts import counts_of, risks_of
from warehouse.query import open_reader
from warehouse.told import EXPORTED, load_told

__all__ = ["EXPORTED", "Content", "export_path", "pack_content"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """What a pack will hold.

    Attributes:
        facts: of its manifest.
        tables: masked, by name.
        releases: by study: what is told from now on.
        data_through_at: naive UTC; up to which the counted data is complete, for the log alone.
    """

    facts: Row
    tables: Mapping[str, pa.Table]
    releases: Mapping[str, Release]
    data_through_at: datetime | None

    @property
    def n_cells(self) -> int:
        """Number of counts, masked ones included."""
        return sum(
            table.num_rows * len(COUNT_TABLES[name].sums)
            for name, table in self.tables.items()
            if name in COUNT_TABLES
        )


def pack_content(
    site: Site, studies: Sequence[Study], recorded: Sequence[Row], at: datetime
) -> Content:
    """Return what may leave the site now.

    Args:
        site: whose published warehouse is read.
        studies: those of the site.
        recorded: its `PackExported` facts so far, oldest first.
        at: aware; only its quarter is told.

    Errors:
        ConfigError: the threshold protects nothing, or the warehouse is of another study.
        NotKnownError: what pages have told last is not known.
        StorageError: there is no warehouse.
    """
    threshold = site.privacy.min_cell
    if threshold < SMALLEST_THRESHOLD:
        raise ConfigError(
            f"A threshold of {threshold} protects nobody: a count known to be below it is known.",
            where=f"{site.config_path}: [privacy] min_cell",
            remedy=f"Set it to {SMALLEST_THRESHOLD} or more (11 is usual). Nothing was exported.",
        )
    last = load_told(site, recorded).releases
    with open_reader(site.warehouse) as con:
        _check_studies(con, site, studies)
        masked = {
            study.id: mask_counts(
                counts_of(con, site.site.id, study.id),
                threshold,
                last.get(study.id),
                nested=nested_counts(study),
                outcomes=by_weight(study.model.model_dump(mode="json")),
            )
            for study in studies
        }
        through, feeds = _feeds(con, site)
    tables = {
        name: pa.concat_tables([one.tables[name] for one in masked.values()])
        for name in (*COUNT_TABLES, WATCHED)
    }
    if not site.privacy.tell_watched:
        tables[WATCHED] = masked_watched(tables[WATCHED], {})
    tables[RISK] = risks_of(tables[COUNTS.name])
    number = max((row["pack_number"] or 0 for row in recorded), default=0) + 1
    facts = {
        "site_id": site.site.id,
        "number": number,
        "previous": recorded[-1]["pack_sha"] if recorded else None,
        "exported": quarter(at.date()),
        "data_through": None if through is None else quarter(through.date()),
        "software_version": metadata.version("dripwatch"),
        "checks_hash": checks_hash(),
        "is_synthetic": site.site.synthetic,
        "threshold": threshold,
        "feeds": feeds,
        "studies": [_about(study) for study in studies],
        "n_rows": {name: _n_rows(table) for name, table in tables.items()},
    }
    return Content(facts, tables, {name: one.release for name, one in masked.items()}, through)


def _about(study: Study) -> Row:
    return {
        "study_id": study.id,
        "version": study.model.study.version,
        "study_hash": study.study_hash,
        "settings": json.loads(study.settings_json),
    }


def _n_rows(table: pa.Table) -> Row:
    if REASON not in table.column_names:
        return {"told": table.num_rows}
    reasons = table[REASON].to_pylist()
    n_masked = reasons.count(SMALL) + reasons.count(FEW)
    return {
        "told": len(reasons) - n_masked,
        "without_patients": reasons.count(PATIENTS),
        "masked": n_masked,
    }


def _check_studies(con: duckdb.DuckDBPyConnection, site: Site, studies: Sequence[Study]) -> None:
    there = dict(con.execute("SELECT study_id, study_hash FROM reference.study").fetchall())
    if any(there.get(study.id) != study.study_hash for study in studies):
        raise ConfigError(
            "The warehouse was published under another definition of a study.",
            where=str(site.warehouse),
            remedy="Run `dripwatch refresh` first. Nothing was exported.",
        )
    tables = con.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
    if {*COUNT_TABLES, WATCHED} - {name for (name,) in tables}:
        raise ConfigError(
            "The warehouse was published by another version of Dripwatch.",
            where=str(site.warehouse),
            remedy="Run `dripwatch refresh` first. Nothing was exported.",
        )


def _feeds(con: duckdb.DuckDBPyConnection, site: Site) -> tuple[datetime | None, list[Row]]:
    """Return up to when all feeds are complete, and how good each is, without a count of rows."""
    least = 100 * site.privacy.min_cell
    rows = con.execute(_FEEDS, [least, site.site.id, site.site.id]).fetchall()
    through = [at for _, at, _, _ in rows]
    feeds = [
        {
            "event_type": name,
            "complete_through": None if at is None else quarter(at.date()),
            "is_stale": stale,
            # Whole percents of so many rows that each stands for no small number of them: in a
            # feed of fifty, 2 % is a row, and 4 % in the next pack another one.
            "quarantined_percent": share,
        }
        for name, at, stale, share in rows
    ]
    known = [at for at in through if at is not None]
    return (min(known) if known and len(known) == len(through) else None), feeds


_FEEDS = """
SELECT
    f.event_type,
    min(f.complete_through_at),
    bool_or(f.stale_since_at IS NOT NULL),
    any_value(r.share)
FROM reference.freshness AS f
LEFT JOIN (
    SELECT event_type, CASE WHEN sum(n_read) >= ?
        THEN round(100 * sum(n_quarantined) / sum(n_read))::BIGINT END AS share
    FROM quality.reconciliation WHERE site_id = ? GROUP BY event_type
) AS r USING (event_type)
WHERE f.site_id = ?
GROUP BY f.event_type
ORDER BY f.event_type
"""


def export_path(site: Site) -> Path:
    """Return the file of the key that signs the site's packs."""
    return site.restricted / "pack.key"
