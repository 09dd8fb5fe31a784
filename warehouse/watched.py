"""What surveillance watches: units at risk and first events of patients, counted from the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb

from pipelines.signals.surveillance import Pair
from studies.load import Study
from studies.surveillance import PairTable, pair_hash
from warehouse.models import model
from warehouse.results import stage_rows

TABLE = "signals.counts_watched"

#: Units at risk and events, of first and of later units.
Counts = tuple[Pair, Pair]

# Complete units in closed windows, as in the headline risk: censored ones tell of no whole window.
_COUNT = """
WITH unit AS (
    SELECT u.patient_key, u.unit_id, c.started_at, c.ordinal_in_record = 1 AS is_first,
        u.status = 'event' AS is_event, coalesce(c.index_date >= $starts_on, true) AS is_watched
    FROM linkage.unit_outcome AS u JOIN linkage.course AS c USING (study_id, unit_id)
    WHERE u.study_id = $study AND u.outcome = $outcome AND u.window_name = $window
        AND u.status IN ('event', 'no_event', 'untested', 'unobserved', 'undetermined')
        AND ($drugs::VARCHAR[] IS NULL OR list_contains($drugs::VARCHAR[], c.drug))
        AND coalesce(c.index_date >= $since, true)
), at_risk AS (
    SELECT *, sum(is_event::BIGINT) OVER (
        PARTITION BY patient_key ORDER BY started_at, unit_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS n_before
    FROM unit
)
SELECT is_watched, is_first, count(*), count(*) FILTER (is_event), count(DISTINCT patient_key)
FROM at_risk WHERE coalesce(n_before, 0) = 0 GROUP BY ALL
"""


def count_pair(
    con: duckdb.DuckDBPyConnection, study: Study, pair: PairTable
) -> tuple[Counts, Counts]:
    """Return units at risk and first events of patients, watched and of the baseline."""
    told = _told(con, study, pair)

    def counts(is_watched: bool) -> Counts:  # noqa: FBT001 - private
        first, later = (told.get((is_watched, is_first), (0, 0, 0)) for is_first in (True, False))
        return first[:2], later[:2]

    return counts(True), counts(False)  # noqa: FBT003 - private


def stage_watched(con: duckdb.DuckDBPyConnection, site_id: str, studies: Sequence[Study]) -> None:
    """Stage what `signals.counts_watched` must become: what a look would see now, look or not."""
    rows = []
    for study in studies:
        for pair in study.model.surveillance.pair:
            told = _told(con, study, pair)
            first, later = (told.get((True, is_first), (0, 0, 0)) for is_first in (True, False))
            rows.append(
                {
                    "study_id": study.id,
                    "site_id": site_id,
                    "outcome": pair.outcome,
                    "window_name": pair.window,
                    "watched": pair.watched,
                    "pair_hash": pair_hash(study, pair),
                    "n_units_first": first[0],
                    "n_units_later": later[0],
                    "n_patients_later": later[2],
                    "n_events": first[1] + later[1],
                }
            )
    stage_rows(con, model(TABLE), rows)


def _told(
    con: duckdb.DuckDBPyConnection, study: Study, pair: PairTable
) -> dict[tuple[bool, bool], tuple[int, int, int]]:
    """Return units, events and patients, by whether watched and whether first in record."""
    settings = study.model.surveillance
    since: date | None = (
        settings.baseline_from if pair.reference == "baseline" else settings.starts_on
    )
    rows = con.execute(
        _COUNT,
        {
            "study": study.id,
            "outcome": pair.outcome,
            "window": pair.window,
            "drugs": _drugs(study, pair),
            "since": since,
            "starts_on": settings.starts_on,
        },
    ).fetchall()
    return {(is_watched, is_first): (n, e, g) for is_watched, is_first, n, e, g in rows}


def _drugs(study: Study, pair: PairTable) -> list[str] | None:
    """Return the names of the drugs whose units are watched; None for all."""
    if pair.drug is None and pair.drug_class is None:
        return None
    return [one.name for one in study.model.drug if pair.watched in (one.concept, one.drug_class)]
