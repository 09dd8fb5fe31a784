"""What the report reads of a published warehouse, as plain rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.disclosure.release import Column, Release
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.disclosure.watched_pairs import Key
from warehouse.counts import counts_of
from warehouse.report.held import Held
from warehouse.report.masking import is_small, told_risks
from warehouse.report.words import STRATA
from warehouse.told import Told

Row = dict[str, Any]

#: What a look counts, and `signals.counts_watched` of the same night.
LOOKED = ("n_units_first", "n_units_later", "n_events")

#: The counts of a row of risks.
RISKS = ("n_units", "n_events", "n_patients")

#: The order of a stratum's values where the alphabet would be odd; the unknown comes last.
_ORDER = {"first": "0", "later": "1", "unknown": "~"}


class Source:
    """A published warehouse, open for reading, and the smallest count that the page may show.

    Args:
        con: connection whose current catalog is the published file.
        min_cell: `[privacy] min_cell` of the site.
        told: what the site has told so far; None for a file alone, whose page stands for itself.

    Attributes:
        is_alone: whether the page stands for itself.
        held: figures besides risks that stay until their change may be told.
        releases: of each study that was read, the counts that are told from now on.
        moved: of each, the rows of all units that are told anew, before and now.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, min_cell: int, told: Told | None = None
    ) -> None:
        self.con = con
        self.min_cell = min_cell
        self.is_alone = told is None
        self.releases: dict[str, Release] = dict(told.releases) if told else {}
        self.moved: dict[str, Sequence[Row]] = {}
        self._told = told or Told()
        self._tables = {
            f"{schema}.{name}"
            for schema, name in con.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() "
                "UNION SELECT schema_name, view_name FROM duckdb_views()"
            ).fetchall()
        }
        self.held = Held(min_cell, None if told is None else told.figures, self.day())

    def has(self, table: str) -> bool:
        """Whether the file has a table: one that an older version made may lack it."""
        return table in self._tables

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Return the rows of a query."""
        self.con.execute(sql, values)
        names = [column[0] for column in self.con.description or []]
        return [dict(zip(names, row, strict=True)) for row in self.con.fetchall()]

    def facts(self) -> dict[str, str]:
        """Return `ops.state`: what the file is."""
        return {row["name"]: row["value"] for row in self.rows("FROM ops.state")}

    def day(self) -> date | None:
        """Return how far the newest data reach; None where no source says."""
        if not self.has("reference.freshness"):
            return None
        (row,) = self.rows("SELECT max(complete_through_at) AS day FROM reference.freshness")
        return row["day"].date() if row["day"] else None

    def studies(self) -> list[Row]:
        """Return the studies, with their settings read."""
        rows = self.rows("FROM reference.study ORDER BY study_id")
        return [{**row, "settings": json.loads(row["settings_json"])} for row in rows]

    def risks(self, study: Row) -> list[Row]:
        """Return the masked risks of a study's main windows, one way, that the page shows.

        Only one window an outcome: a longer window holds the shorter one. The headline's
        denominator, and `all` of outcomes that are held against published numbers.

        Args:
            study: a row of `studies`.
        """
        name, facts = study["study_id"], self.facts()
        rows = self.unmasked_risks(name)
        found: list[Row] = []
        # A file of several hospitals is nobody's own: its page is held against none.
        for site_id in dict.fromkeys(row["site_id"] for row in rows):
            some = [row for row in rows if row["site_id"] == site_id]
            counts = counts_of(self.con, site_id, name) if self.min_cell > 1 else {}
            # A page tells of looks alone: what is watched is told anew where a look saw just that.
            anew = self.looked_at(counts[WATCHED], name) if WATCHED in counts else None
            last = self.releases.get(name) if site_id == facts["site_id"] else None
            shown, release = told_risks(
                some, counts, self.min_cell, study["settings"], last, anew=anew
            )
            if site_id == facts["site_id"]:
                self.releases[name] = release
                shown = [self._dated(row) for row in shown]
                # A page that is made again for the same state says what the first one said.
                is_again = self._told.state == facts["state_hash"]
                moved = self._told.moved.get(name, ()) if is_again else _moved(shown, last)
                self.moved[name] = moved
            found += shown
        return sorted(found, key=_place)

    def _dated(self, row: Row) -> Row:
        """Return a row with `as_of`: how far data reached when it was told, if not tonight."""
        name, figures = f"risk/{row['signal_key']}", [row[one] for one in RISKS]
        if row["n_events"] is None:
            return {**row, "as_of": ""}
        self.held.decided(name, figures, is_now=row["is_current"])
        return {**row, "as_of": self.held.as_of(name)}

    def looked_at(self, watched: pa.Table, study_id: str) -> set[Key]:
        """Return the pairs of which a look saw just what is watched now."""
        names = ("outcome", "window_name", "watched", *LOOKED)
        seen = (
            self.con.execute(
                f"SELECT DISTINCT {', '.join(names)} FROM signals.sequential WHERE study_id = ?",
                [study_id],
            ).fetchall()
            if self.has("signals.sequential")
            else []
        )
        now = zip(*(watched[name].to_pylist() for name in names), strict=True)
        return {(outcome, window, what) for outcome, window, what, *_ in {*now} & {*seen}}

    def may_show(self, look: Row, key: str) -> bool:
        """Whether the numbers of a look may be told: as they were, or as what is watched is now.

        Args:
            look: a row of `signals.sequential`.
            key: of the look, the same every night.
        """
        name, figures = f"look/{key}", [{one: look[one] for one in LOOKED}]
        release = self.releases.get(look["study_id"])
        pairs = release.other.get(WATCHED, {}) if release else {}
        pair = pairs.get((look["outcome"], look["window_name"], look["watched"]))
        is_told = pair is not None and figures == [{one: pair[one] for one in LOOKED}]
        if not is_told and self.held.told(name) != figures:
            return False
        self.held.rows(name, figures, {})
        return not any(is_small(look[one], self.min_cell) for one in LOOKED)

    def _compared(self, study_id: str) -> list[str]:
        """Return the outcomes that are held against published numbers."""
        if not self.has("signals.benchmark"):
            return []
        sql = "SELECT DISTINCT outcome FROM signals.benchmark WHERE study_id = ? ORDER BY outcome"
        return [row["outcome"] for row in self.rows(sql, [study_id])]

    def unmasked_risks(self, study_id: str) -> list[Row]:
        """Return the same before masking."""
        return self.rows(
            f"""SELECT r.site_id, r.study_id, r.outcome, o.label, r.window_name, r.stratum,
                r.stratum_value, r.denominator, r.is_headline, r.n_events, r.n_units, r.n_patients,
                c.sum_e2, c.sum_en, c.sum_n2, r.risk, r.ci_low, r.ci_high, r.wilson_low,
                r.wilson_high, r.note, r.signal_key
            FROM signals.risk AS r
            JOIN reference.outcome AS o USING (study_id, outcome)
            JOIN ({MAIN_WINDOW}) AS w USING (study_id, outcome, window_name)
            LEFT JOIN signals.counts AS c USING (site_id, study_id, outcome, window_name, stratum,
                stratum_value, denominator)
            WHERE r.study_id = $study AND list_contains($strata, r.stratum)
                AND (r.is_headline OR r.denominator = 'all' AND list_contains($compared, r.outcome))
            ORDER BY r.outcome, r.denominator, r.stratum, r.stratum_value""",
            {"study": study_id, "strata": ["all", *STRATA], "compared": self._compared(study_id)},
        )


def _moved(rows: Sequence[Row], last: Release | None) -> list[Row]:
    """Return the undivided headline rows that are told anew, with what was told before."""
    found = []
    for row in rows:
        column = Column(row["outcome"], row["window_name"], row["denominator"])
        before = last.whole.get(column) if last and row["stratum"] == "all" else None
        if before is None or not row["is_headline"] or row["n_events"] is None:
            continue
        names = ("n_events", "n_units")
        if any(row[name] != before[name] for name in names):
            then = {f"{name}_before": before[name] for name in names}
            found.append({"label": row["label"], **then, **{name: row[name] for name in names}})
    return sorted(found, key=lambda one: str(one["label"]))


#: The window that the page tells of each outcome: `risk`, else the first by name.
MAIN_WINDOW = """SELECT study_id, outcome,
    CASE WHEN bool_or(window_name = 'risk') THEN 'risk' ELSE min(window_name) END AS window_name
    FROM reference.window GROUP BY study_id, outcome"""


def _place(row: Row) -> tuple[str, str, str]:
    value = row["stratum_value"]
    return row["outcome"], row["stratum"], _ORDER.get(value, "5") + value
