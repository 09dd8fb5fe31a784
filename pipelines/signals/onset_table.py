"""The table `signals.onset`: curves of all outcomes, from counts of who leaves the risk when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipelines.base import duck
from pipelines.signals.columns import first_note, make_table, numbers, texts
from pipelines.signals.counts import COUNTS, ONSET, WATCHED_STRATA
from pipelines.signals.onset import estimate_curves
from studies.load import Study
from studies.outcomes import Episodic

METHOD = "kaplan-meier; aalen-johansen, death competes; log-log limits, units taken as independent"

NOT_FROM_INDEX = "the window does not begin with the infusion"
NO_UNITS = "no units"
NO_HOURS = "no unit is placed by hours"
UNTIMED = "events without a time on this scale: no curve"
CLEAN = "clean window: units are not at risk all the time: no curve"
BEYOND = "beyond the shortest window only units with longer ones are left: no curve"
NO_EVENT = "no event so far: no limits"
ALL_EVENTS = "all had the event: no limits"
NOBODY_LEFT = "nobody is left, some died: no limits of the share without the event"

#: A curve; its rows are bins.
CURVE = tuple(name for name in ONSET.keys if name != "bin")
_LEAVING = ("n_events", "n_died", "n_censored", "n_completed")
_VALUES = {
    "event_free": "event_free",
    "event_free_low": "free_low",
    "event_free_high": "free_high",
    "cumulative_incidence": "incidence",
    "cumulative_incidence_low": "incidence_low",
    "cumulative_incidence_high": "incidence_high",
}
#: By how many tenths of the events a quantile is reached: whole numbers leave no dust.
_QUANTILES = {"onset_p10": 1, "onset_median": 5, "onset_p90": 9}

ONSET_SCHEMA = pa.schema(
    [(name, pa.string()) for name in CURVE]
    + [(name, pa.int64()) for name in ("bin_end", "bin", "n_at_risk", *_LEAVING)]
    + [(name, pa.float64()) for name in _VALUES]
    + [(name, pa.int64()) for name in ("n_units", "n_all_events", "n_untimed_events")]
    + [(name, pa.int64()) for name in _QUANTILES]
    + [("method", pa.string()), ("note", pa.string())]
)

_WINDOWS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study_id", "outcome", "window_name")]
    + [(name, pa.bool_()) for name in ("is_from_index", "has_clean_window", "has_hours")]
)

#: One row a curve, also where nobody was counted; numbered in the order of the table.
_CURVES = f"""
SELECT row_number() OVER (ORDER BY {", ".join(CURVE)}) - 1 AS curve, *
FROM (
    SELECT {", ".join(CURVE)}, sum(n_left)::BIGINT AS n_units,
        sum(n_events)::BIGINT AS n_all_events,
        coalesce(sum(n_events) FILTER (bin < 0), 0)::BIGINT AS n_untimed_events,
        CASE WHEN n_untimed_events > 0 THEN '{UNTIMED}'
             WHEN bool_or(w.has_clean_window) THEN '{CLEAN}' END AS reason
    FROM onset LEFT JOIN windows AS w USING (study_id, outcome, window_name)
    GROUP BY {", ".join(CURVE)}
    UNION ALL
    SELECT {", ".join(f"c.{name}" for name in CURVE[:-1])}, s.scale,
        CASE WHEN w.is_from_index THEN 0 END, CASE WHEN w.is_from_index THEN 0 END,
        CASE WHEN w.is_from_index THEN 0 END,
        CASE WHEN NOT w.is_from_index THEN '{NOT_FROM_INDEX}'
             WHEN c.n_units = 0 THEN '{NO_UNITS}' ELSE '{NO_HOURS}' END
    FROM counts AS c
    JOIN windows AS w USING (study_id, outcome, window_name)
    JOIN (VALUES ('day'), ('hour')) AS s(scale) ON s.scale = 'day' OR w.has_hours
    WHERE c.denominator = 'all' AND c.stratum IN {WATCHED_STRATA}
      AND NOT EXISTS (
          FROM onset AS o
          WHERE o.scale = s.scale AND {" AND ".join(f"o.{name} = c.{name}" for name in CURVE[:-1])}
      )
)
"""

#: One row a bin in which somebody leaves, and one before all of them.
_BINS = f"""
WITH bins AS (
    SELECT c.curve, o.bin, {", ".join(f"o.{name}" for name in (*_LEAVING, "n_left"))}
    FROM onset AS o JOIN curves AS c USING ({", ".join(CURVE)})
    WHERE o.bin >= 0
    UNION ALL
    SELECT curve, -1, 0, 0, 0, 0, 0 FROM curves
),
summed AS (
    SELECT *,
        sum(n_left) OVER (PARTITION BY curve ORDER BY bin DESC)::BIGINT AS n_at_risk,
        sum(n_events) OVER (PARTITION BY curve ORDER BY bin)::BIGINT AS n_so_far,
        bin > min(bin) FILTER (n_completed > 0) OVER (PARTITION BY curve) AS is_beyond
    FROM bins
),
-- The bin in which so many of the events have come; none where some have no bin.
quantile AS (
    SELECT s.curve, {
    ", ".join(
        f"min(s.bin) FILTER (10 * s.n_so_far >= {tenths} * c.n_all_events) AS {name}"
        for name, tenths in _QUANTILES.items()
    )
}
    FROM summed AS s JOIN curves AS c USING (curve)
    WHERE s.bin >= 0 AND c.n_all_events > 0 AND c.n_untimed_events = 0
    GROUP BY s.curve
)
SELECT *, s.bin + 1 AS bin_end, c.reason IS NULL AS has_curve,
    coalesce(c.reason, CASE WHEN s.is_beyond THEN '{BEYOND}' END) AS missing,
    missing IS NULL AS is_told
FROM summed AS s JOIN curves AS c USING (curve) LEFT JOIN quantile AS q USING (curve)
ORDER BY curve, s.bin
"""


def onset_table(counts: Mapping[str, pa.Table], studies: Sequence[Study]) -> pa.Table:
    """Return `signals.onset` (ONSET_SCHEMA) from all tables of counts.

    Estimand: of the closed, eligible units at risk, those that nobody looked at included, the share
    without the event by the end of each bin of time since the index if nothing but it took anybody
    away, and the share that has had it, others having died; quantiles of the time to onset among
    events. Times are known to the bin. A curve ends with the shortest window: where long infusions
    have longer windows, only they are left, and their events are no sample of those of all.
    """
    n_rows = sum(table.num_rows for table in counts.values())
    with duck.connect(threads=duck.threads_for(n_rows)) as con:
        con.register("onset", counts[ONSET.name])
        con.register("counts", counts[COUNTS.name])
        con.register("windows", _windows(studies))
        con.execute(f"CREATE TABLE curves AS {_CURVES}")
        rows = con.execute(_BINS).to_arrow_table()
    curve, at, n_at_risk, events, died = numbers(
        rows, "curve", "bin", "n_at_risk", "n_events", "n_died"
    )
    found = estimate_curves(curve.astype(np.intp), n_at_risk, events, died)
    has_curve, is_told, missing = (
        rows[name].to_numpy(zero_copy_only=False) for name in ("has_curve", "is_told", "missing")
    )
    no_limits = first_note(
        at,
        (found.incidence == 0, NO_EVENT),
        (found.incidence == 1, ALL_EVENTS),
        (found.event_free == 0, NOBODY_LEFT),
    )
    made = {
        "bin": np.where(at < 0, np.nan, at),
        "n_at_risk": np.where(has_curve, n_at_risk, np.nan),
        **{
            name: np.where(is_told, getattr(found, value), np.nan)
            for name, value in _VALUES.items()
        },
        "method": np.where(is_told, texts(METHOD, at), "none"),
        "note": np.where(is_told, no_limits, missing),
    }
    return make_table(ONSET_SCHEMA, made, rows)


def _windows(studies: Sequence[Study]) -> pa.Table:
    """Return what makes a curve of each window of the studies, or keeps it from being one."""
    return pa.Table.from_pylist(
        [
            {
                "study_id": study.id,
                "outcome": one.name,
                "window_name": window.name,
                "is_from_index": window.start_anchor == "start" and not window.start_offset_hours,
                "has_clean_window": isinstance(one, Episodic) and one.clean_window_days is not None,
                "has_hours": study.model.study.resolution == "instant",
            }
            for study in studies
            for one in study.model.outcome
            for window in one.window
        ],
        schema=_WINDOWS_SCHEMA,
    )
