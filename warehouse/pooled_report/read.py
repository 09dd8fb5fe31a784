"""What the page reads of a pooled file: rows, and how old and complete each hospital's data is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb

from warehouse.report import words
from warehouse.report.read import Row, Source

#: What a row of `pooled.risk` and of `pooled.forest` is about, as a table's key on the page.
KEY = "concat_ws('/', study_id, outcome, window_name, stratum || '=' || stratum_value, denominator)"


@dataclass(frozen=True)
class Hospital:
    """A hospital that was pooled: how far its data goes, and how much of it was rejected.

    Attributes:
        through: calendar quarter that its data is complete into; None where a feed never said.
        stale: kinds of records of which a later state should have been there.
        rejected_percent: the greatest share of rows of a kind that a check rejected.
        pack_number, exported: its pack, and the quarter that it is of.
    """

    site_id: str
    through: str | None
    stale: Sequence[str]
    rejected_percent: int | None
    threshold: int
    n_rows_told: int
    n_rows_masked: int
    is_synthetic: bool
    pack_number: int | None
    exported: str | None

    @property
    def data(self) -> str:
        """How old and complete its data is, in the words that stand beside its numbers."""
        stale = "; stale" if self.stale else ""
        return _data(self.through, stale, self.rejected_percent)


class Pooled(Source):
    """A pooled file, open for reading: what it holds was masked by those who sent it."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        super().__init__(con, min_cell=1)
        self.hospitals = {
            row["site_id"]: Hospital(**{**row, "stale": tuple(row["stale"] or ())})
            for row in self.rows(_HOSPITALS)
        }
        self._sites: dict[str, set[str]] = defaultdict(set)
        for row in self.rows(f"SELECT {KEY} AS key, site_id FROM pooled.forest"):
            self._sites[row["key"]].add(row["site_id"])

    def sites_of(self, key: str) -> set[str]:
        """Return the hospitals that have units in a row of `pooled.risk`."""
        return self._sites[key]

    def studies(self) -> list[Row]:
        """Return the studies, with their settings read."""
        rows = self.rows("FROM pooled.study ORDER BY study_id")
        return [{**row, "settings": json.loads(row["settings_json"])} for row in rows]

    def outcomes(self, study: Row) -> dict[str, Row]:
        """Return the settings of a study's outcomes by name; each has its label and windows."""
        return {one["name"]: one for one in study["settings"]["outcome"]}

    def gone(self, known: Collection[str] = ()) -> list[str]:
        """Return the hospitals without a pack in this file's results that were known before.

        Args:
            known: those whose packs could be verified; asked where no coordinator says whom it
                expects.
        """
        before = {row["site_id"] for row in self.rows("FROM pooled.pack")}
        expected = {row["site_id"] for row in self.rows("FROM pooled.expected")}
        return sorted((expected or {*before, *known}) - set(self.hospitals))

    def late(self) -> list[Row]:
        """Return the hospitals of which an earlier quarter's pack was pooled, as far as known."""
        told = self.rows(
            "SELECT site_id, exported, period FROM pooled.expected WHERE state = 'late' "
            "ORDER BY site_id"
        )
        if told or self.rows("FROM pooled.expected LIMIT 1"):
            return told
        newest = max((one.exported or "" for one in self.hospitals.values()), default="")
        return [
            {"site_id": one.site_id, "exported": one.exported, "period": newest}
            for one in self.hospitals.values()
            if one.exported and one.exported < newest
        ]

    def data(self, sites: Collection[str]) -> str:
        """Return how old and complete the data of several hospitals is, by the worst of them."""
        some = [self.hospitals[site] for site in sorted(sites)]
        if not some:
            return "not known"
        through = [one.through for one in some]
        oldest = None if None in through else min(one for one in through if one)
        stale = [one.site_id for one in some if one.stale]
        rejected = [one.rejected_percent for one in some]
        most = None if None in rejected else max(one for one in rejected if one is not None)
        said = f"; stale: {words.listed(stale)}" if stale else ""
        return _data(oldest, said, most)


_HOSPITALS = """
SELECT s.site_id, s.data_through AS through, f.stale, f.rejected_percent, s.threshold,
    s.n_rows_told, s.n_rows_masked, s.is_synthetic, p.pack_number, p.exported
FROM pooled.site AS s
LEFT JOIN (
    SELECT site_id, list(event_type ORDER BY event_type) FILTER (is_stale) AS stale,
        CASE WHEN count(quarantined_percent) > 0 THEN max(quarantined_percent) END
            AS rejected_percent
    FROM pooled.feed GROUP BY site_id
) AS f USING (site_id)
LEFT JOIN pooled.pack AS p ON p.site_id = s.site_id AND p.is_pooled
ORDER BY s.site_id
"""


def _data(through: str | None, stale: str, percent: int | None) -> str:
    until = f"complete into {through}" if through else "completeness not known"
    share = (
        f"up to {percent}{words.NBSP}% rejected" if percent is not None else "rejected: not known"
    )
    return f"{until}{stale}; {share}"


def main_window(outcome: Row) -> str:
    """Return the window of an outcome that the page draws: `risk`, else the first by name."""
    names = sorted(one["name"] for one in outcome["window"])
    return "risk" if "risk" in names else str(names[0])
