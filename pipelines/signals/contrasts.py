"""Which risks are compared: rows of counts set beside one another, still in whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.base import duck
from pipelines.signals.counts import COUNTS, PAIRED, SHARED

#: What the rows of all comparisons are about.
ABOUT = (
    "study_id",
    "site_id",
    "outcome",
    "window_name",
    "contrast",
    "within",
    "stratum",
    "stratum_value",
    "other_value",
    "denominator",
)
_SIDE = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2", "person_us")
SIDE = _SIDE[:-1]
OTHER = tuple(f"other_{name}" for name in SIDE)
BOTH = ("shared_patients", "sum_ee", "sum_ex", "sum_xe", "sum_xx")

_SAME = ("study_id", "site_id", "outcome", "window_name", "stratum", "denominator")
_CELL = ", ".join(_SAME)

#: Side by side: a value and all others (by difference from all), two drugs, and the first two units
#: of the same patients, each with one unit a side.
_CRUDE = f"""
WITH told AS (
    SELECT c.*, coalesce(s.n_patients, 0) AS shared_patients, coalesce(s.n_again, 0) AS n_again,
        coalesce(s.sum_ee, 0) AS ee, coalesce(s.sum_en, 0) AS ex,
        coalesce(s.sum_ne, 0) AS xe, coalesce(s.sum_nn, 0) AS xx
    FROM counts AS c
    LEFT JOIN (FROM shared WHERE contrast = 'rest') AS s USING ({_CELL}, stratum_value)
    -- Crossed strata are for adjusting; quarters are the trend's, and a site has no other here.
    WHERE NOT contains(stratum, ' x ') AND stratum NOT IN ('all', 'site', 'calendar_quarter')
),
everything AS (
    SELECT {_CELL},
        sum(n_events)::BIGINT AS e, sum(n_units)::BIGINT AS n,
        sum(n_patients - n_again)::BIGINT AS g, sum(sum_e2 + ee)::BIGINT AS e2,
        sum(sum_en + ex)::BIGINT AS en, sum(sum_n2 + xx)::BIGINT AS n2,
        sum(person_us)::BIGINT AS us
    FROM told GROUP BY ALL
),
rest AS (
    SELECT t.*,
        a.e - t.n_events AS other_n_events, a.n - t.n_units AS other_n_units,
        a.g - t.n_patients + t.shared_patients AS other_n_patients,
        a.e2 - t.sum_e2 - 2 * ee AS other_sum_e2, a.en - t.sum_en - ex - xe AS other_sum_en,
        a.n2 - t.sum_n2 - 2 * xx AS other_sum_n2, a.us - t.person_us AS other_person_us
    FROM told AS t JOIN everything AS a USING ({_CELL})
),
paired_units AS (
    SELECT *, n_both + n_first_only AS first_e, n_both + n_second_only AS second_e,
        n_both + n_first_only + n_second_only + n_neither AS pairs
    FROM paired
)
SELECT {", ".join(ABOUT)}, {", ".join((*_SIDE, *(f"other_{name}" for name in _SIDE), *BOTH))},
    n_first_only, n_second_only
FROM (
    SELECT * RENAME (ee AS sum_ee, ex AS sum_ex, xe AS sum_xe, xx AS sum_xx),
        CASE stratum WHEN 'ordinal' THEN 'first_v_later' ELSE 'value_v_rest' END AS contrast,
        CASE stratum WHEN 'ordinal' THEN 'later' ELSE 'rest' END AS other_value, 'all' AS within
    FROM rest WHERE NOT (stratum = 'ordinal' AND stratum_value = 'later')
    UNION ALL BY NAME
    SELECT a.*, b.stratum_value AS other_value, 'drug_v_drug' AS contrast, 'all' AS within,
        {", ".join(f"b.{name} AS other_{name}" for name in _SIDE)},
        coalesce(s.n_patients, 0) AS shared_patients, coalesce(s.sum_ee, 0) AS sum_ee,
        coalesce(s.sum_en, 0) AS sum_ex, coalesce(s.sum_ne, 0) AS sum_xe,
        coalesce(s.sum_nn, 0) AS sum_xx
    FROM counts AS a
    JOIN counts AS b USING ({_CELL})
    LEFT JOIN (FROM shared WHERE contrast = 'pair') AS s
      ON {" AND ".join(f"s.{name} = a.{name}" for name in (*_SAME, "stratum_value"))}
     AND s.other_value = b.stratum_value
    WHERE a.stratum = 'drug' AND a.stratum_value < b.stratum_value
    UNION ALL BY NAME
    SELECT *, 'first_v_second' AS contrast, drug_class AS within, 'ordinal' AS stratum,
        'first' AS stratum_value, 'second' AS other_value,
        first_e AS n_events, pairs AS n_units, pairs AS n_patients,
        first_e AS sum_e2, first_e AS sum_en, pairs AS sum_n2,
        second_e AS other_n_events, pairs AS other_n_units, pairs AS other_n_patients,
        second_e AS other_sum_e2, second_e AS other_sum_en, pairs AS other_sum_n2,
        pairs AS shared_patients, n_both AS sum_ee, first_e AS sum_ex, second_e AS sum_xe,
        pairs AS sum_xx
    FROM paired_units
    UNION ALL BY NAME
    -- Of all first units, those that the second one cut among them: else who came back is missing.
    SELECT * EXCLUDE (n_first_only, n_second_only),
        'given_again' AS contrast, drug_class AS within, 'first_unit' AS stratum,
        'event' AS stratum_value, 'none' AS other_value,
        n_event_again AS n_events, n_event AS n_units, n_event AS n_patients,
        n_event_again AS sum_e2, n_event_again AS sum_en, n_event AS sum_n2,
        n_none_again AS other_n_events, n_first - n_event AS other_n_units,
        n_first - n_event AS other_n_patients, n_none_again AS other_sum_e2,
        n_none_again AS other_sum_en, n_first - n_event AS other_sum_n2,
        0 AS shared_patients, 0 AS sum_ee, 0 AS sum_ex, 0 AS sum_xe, 0 AS sum_xx
    FROM paired WHERE denominator = 'all'
)
ORDER BY {", ".join(ABOUT)}
"""

#: Strata crossed with the one that is compared, cut in two: the side, and what is held equal.
_CELLS = f"""
WITH crossed AS (
    SELECT c.*, split_part(stratum, ' x ', 1) AS first, split_part(stratum, ' x ', 2) AS second
    FROM counts AS c WHERE contains(stratum, ' x ')
),
sided AS (
    SELECT k.number AS comparison, x.first = k.stratum AS is_first,
        CASE WHEN is_first THEN x.second ELSE x.first END AS adjusted_for,
        v.is_other, x.stratum AS crossed, x.stratum_value AS crossed_value,
        CASE WHEN is_first THEN x.stratum_value[len(v.value) + 4:]
             ELSE x.stratum_value[:-len(v.value) - 4] END AS held,
        {", ".join(f"x.{name}" for name in SIDE)}
    FROM crude AS k
    CROSS JOIN LATERAL (
        VALUES (k.stratum_value, false), (k.other_value, true)
    ) AS v(value, is_other)
    JOIN crossed AS x
      ON {" AND ".join(f"x.{name} = k.{name}" for name in _SAME if name != "stratum")}
     AND (x.first = k.stratum AND starts_with(x.stratum_value, v.value || ' x ')
          OR x.second = k.stratum AND ends_with(x.stratum_value, ' x ' || v.value))
    WHERE k.contrast IN ('first_v_later', 'drug_v_drug')
    -- A pair of strata that a study crosses both ways is one.
    QUALIFY crossed = min(crossed) OVER (PARTITION BY comparison, adjusted_for)
)
SELECT * EXCLUDE (is_first), row_number() OVER (ORDER BY comparison, crossed, held, is_other) - 1
    AS cell
FROM sided ORDER BY cell
"""

_CELL_PAIRS = f"""
SELECT a.cell, b.cell AS other_cell, s.sum_ee, s.sum_en, s.sum_ne, s.sum_nn
FROM cells AS a
JOIN cells AS b USING (comparison, crossed)
JOIN crude AS k ON k.number = a.comparison
JOIN shared AS s
  ON {" AND ".join(f"s.{name} = k.{name}" for name in _SAME if name != "stratum")}
 AND s.stratum = a.crossed AND s.contrast = 'pair'
 AND s.stratum_value = a.crossed_value AND s.other_value = b.crossed_value
ORDER BY ALL
"""


class Contrasts(NamedTuple):
    """Tables of whole numbers, in an order that depends on nothing but their content.

    Attributes:
        crude: one row a comparison: `ABOUT`, sums of both sides and of the patients in both.
        cells: one row a side of a stratum that is held equal; `comparison` is a row of `crude`.
        pairs: patients in two cells of a comparison; `cell` and `other_cell` are rows of `cells`.
    """

    crude: pa.Table
    cells: pa.Table
    pairs: pa.Table


def contrasts(counts: Mapping[str, pa.Table]) -> Contrasts:
    """Set counts side by side.

    First in record v later, two drugs, a value of a stratum v all its others, the first v the
    second unit of the same patients, and how many were given a second one, after an event v none.
    """
    n_rows = sum(table.num_rows for table in counts.values())
    with duck.connect(threads=duck.threads_for(n_rows)) as con:
        for name, table in (("counts", COUNTS), ("shared", SHARED), ("paired", PAIRED)):
            con.register(name, counts[table.name])
        crude = con.execute(_CRUDE).to_arrow_table()
        numbered = pa.array(np.arange(crude.num_rows))
        con.register("crude", crude.append_column("number", numbered))
        con.execute(f"CREATE TABLE cells AS {_CELLS}")
        cells = con.execute("FROM cells ORDER BY cell").to_arrow_table()
        return Contrasts(crude, cells, con.execute(_CELL_PAIRS).to_arrow_table())
