"""The report of 200 strata x 20 outcomes: a published file is filled up, and its page written."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

HEADING = "# What the report costs"
N_OUTCOMES = 20
#: Values of each stratum, with the row of all units 200 together.
STRATA = (
    ("all", 1),
    ("ordinal", 2),
    ("drug", 100),
    ("indication_type", 50),
    ("setting", 45),
    ("premedicated", 2),
)

_FILL = """
CREATE TEMP TABLE made AS
SELECT
    s.study_id, f.value AS site_id, 'outcome' || printf('%02d', o.n) AS outcome,
    'risk' AS window_name, v.stratum,
    CASE v.stratum WHEN 'all' THEN 'all'
        WHEN 'ordinal' THEN ['first', 'later'][v.value + 1]
        WHEN 'premedicated' THEN ['no', 'yes'][v.value + 1]
        ELSE v.stratum || printf('%03d', v.value) END AS stratum_value,
    d.denominator, d.denominator = 'complete' AS is_headline,
    (120000 // v.n_values)::BIGINT AS n_units,
    ((120000 // v.n_values) * (2 + o.n) // 100)::BIGINT AS n_events,
    (40000 // v.n_values)::BIGINT AS n_patients
FROM reference.study AS s, (SELECT value FROM ops.state WHERE name = 'site_id') AS f,
    range(?) AS o(n), strata AS v, (VALUES ('all'), ('complete')) AS d(denominator);
DELETE FROM signals.risk; DELETE FROM signals.counts; DELETE FROM reference.outcome;
DELETE FROM reference.window;
INSERT INTO reference.outcome BY NAME
SELECT DISTINCT study_id, outcome, outcome AS label, 'symptom' AS kind, true AS is_published
FROM made;
INSERT INTO reference.window BY NAME
SELECT DISTINCT study_id, outcome, window_name, 'start' AS start_anchor, 0 AS start_offset_hours,
    'end' AS end_anchor, 72 AS end_offset_hours FROM made;
INSERT INTO signals.counts BY NAME
SELECT * EXCLUDE (is_headline), n_events AS sum_e2, n_events AS sum_en, n_units AS sum_n2 FROM made;
INSERT INTO signals.risk BY NAME
SELECT *, n_events / n_units AS risk, 0.9 * risk AS ci_low, 1.1 * risk AS ci_high,
    ci_low AS wilson_low, ci_high AS wilson_high, 0 AS n_open,
    concat_ws('/', study_id, outcome, window_name, stratum || '=' || stratum_value, denominator)
        AS signal_key
FROM made;
"""


def measure(warehouse: Path) -> list[str]:
    """Return the lines of bench/RESULTS.md: seconds of CPU and of the clock, and the size.

    Args:
        warehouse: a published file, of a demo; it is copied.
    """
    import duckdb

    from warehouse.report import write_report

    n_strata = sum(n for _, n in STRATA)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "warehouse.duckdb"
        shutil.copy(warehouse, copy)
        with duckdb.connect(str(copy)) as con:
            con.execute(
                "CREATE TEMP TABLE strata AS SELECT k AS stratum, v AS n_values, "
                "unnest(range(v)) AS value FROM (SELECT unnest(?) AS k, unnest(?) AS v)",
                [[name for name, _ in STRATA], [n for _, n in STRATA]],
            )
            for statement in _FILL.split(";\n"):
                con.execute(statement, [N_OUTCOMES] if "range(?)" in statement else [])
        began, cpu = time.perf_counter(), time.process_time()
        written = write_report(copy, Path(folder) / "index.html", 11)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return [
        HEADING,
        "",
        f"{n_strata} strata x {N_OUTCOMES} outcomes, {written.n_figures} figures, with imports:",
        f"{cpu:.1f} s of CPU, {seconds:.1f} s by the clock, {written.n_bytes / 1e6:.1f} MB.",
        "",
    ]
