"""What the MIMIC-IV demo answers to the adult questions, told by one query and the zoneinfo module.

None of the product's code stands here: the raw files are read as they lie.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

# Written from the window rules: an administration is one record, or several with a duration that
# overlap or follow within two hours; the latest unit of a drug owns what follows; a baseline is the
# last result up to 30 minutes after the start, within 90 days, outside the window of any earlier
# unit; equal times take the smaller value. A draw up to 30 minutes after the next unit's start is
# no effect of that one, and still the earlier unit's.
EXPECTED = """
WITH dose AS (
    SELECT patient, started, coalesce(ended, started) AS ended, ended > started AS lasts,
        0 AS script
    FROM given
    WHERE item IN ({items}) AND coalesce(method, '') NOT IN ({not_infused}) AND prescription IS NULL
    UNION ALL
    SELECT DISTINCT patient, started, started, false, dense_rank() OVER (ORDER BY prescription)
    FROM given
    WHERE item IN ({items}) AND coalesce(method, '') NOT IN ({not_infused})
      AND prescription IS NOT NULL
),
mark AS (
    SELECT *, row_number() OVER () AS id, coalesce(started > max(ended) OVER (
        PARTITION BY patient, lasts ORDER BY started, ended
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + INTERVAL 2 HOUR, true) AS breaks
    FROM dose
),
run AS (
    SELECT *, CASE WHEN lasts THEN -sum(breaks::INT) OVER (
        PARTITION BY patient, lasts ORDER BY started, ended ROWS UNBOUNDED PRECEDING)
        ELSE id END AS run
    FROM mark
),
spell AS (
    SELECT patient, min(started) AS started, max(ended) AS ended FROM run GROUP BY patient, run
),
unit AS (
    SELECT *, row_number() OVER (PARTITION BY patient ORDER BY started, ended) AS nth,
        lead(started) OVER (PARTITION BY patient ORDER BY started, ended) AS next_start,
        ended + INTERVAL {hours} HOUR AS until
    FROM spell
),
risk AS (
    SELECT *, least(until, coalesce(next_start, until)) AS cut,
        until <= (SELECT max(started) FROM given) AND until <= (SELECT max(taken) FROM result)
            AS closed
    FROM unit
),
drawn AS (SELECT patient, taken, value FROM result WHERE item = '{lab}' AND value IS NOT NULL),
base AS (
    SELECT u.patient, u.nth, d.value
    FROM risk AS u JOIN drawn AS d ON d.patient = u.patient
    WHERE d.taken <= u.started + INTERVAL 30 MINUTE AND d.taken >= u.started - INTERVAL 90 DAY
      AND NOT EXISTS (
        FROM risk AS e WHERE e.patient = u.patient AND e.nth < u.nth
          AND d.taken > e.started + INTERVAL 30 MINUTE AND d.taken < e.until)
    QUALIFY row_number() OVER (
        PARTITION BY u.patient, u.nth ORDER BY d.taken DESC, d.value) = 1
),
judged AS (
    SELECT u.*, b.value AS before,
        (SELECT count(*) FROM drawn AS d WHERE d.patient = u.patient
            AND d.taken > u.started + INTERVAL 30 MINUTE AND d.taken < u.until
            AND (u.next_start IS NULL OR d.taken <= u.next_start + INTERVAL 30 MINUTE)
        ) > 0 AS tested,
        EXISTS (FROM drawn AS d WHERE d.patient = u.patient
            AND d.taken > u.started + INTERVAL 30 MINUTE AND d.taken < u.until
            AND (u.next_start IS NULL OR d.taken <= u.next_start + INTERVAL 30 MINUTE)
            AND {event}) AS event
    FROM risk AS u LEFT JOIN base AS b ON b.patient = u.patient AND b.nth = u.nth
),
counted AS (
    SELECT *, NOT event AND cut < until AS censored
    FROM judged WHERE closed AND cut > started
)
SELECT
    count(*) AS n_all, count(*) FILTER (event) AS n_events,
    count(*) FILTER (censored) AS n_censored,
    count(*) FILTER (NOT censored AND tested) AS n_tested,
    count(*) FILTER (NOT censored AND tested AND before IS NOT NULL) AS n_with_baseline,
    count(DISTINCT patient) AS n_patients,
    (SELECT count(*) FROM judged WHERE NOT closed) AS n_open,
    (SELECT count(*) FROM judged WHERE closed AND cut <= started) AS n_not_at_risk
FROM counted
"""

QUESTIONS = {
    "low_potassium": {
        "items": "'221794', '228340'",
        "hours": "24",
        "lab": "50971",
        "not_infused": "'Non Iv Meds'",
        "event": "d.value < 3.5 AND NOT coalesce(b.value < 3.5, false)",
    },
    "creatinine_rise": {
        "items": "'225798'",
        "hours": "168",
        "lab": "50912",
        "not_infused": "'Non Iv Meds'",
        # Half as much again, and at least twice the laboratory's step of 0.1 mg/dL.
        "event": "b.value > 0 AND d.value::DECIMAL(9, 3) >= 1.5 * b.value::DECIMAL(9, 3)"
        " AND d.value::DECIMAL(9, 3) - b.value::DECIMAL(9, 3) >= 0.2",
    },
    "ionised_calcium_rise": {
        "items": "'221456', '227525'",
        "hours": "24",
        "lab": "50808",
        "not_infused": "'Non Iv Meds'",
        "event": "d.value::DECIMAL(9, 3) - b.value::DECIMAL(9, 3) >= 0.1",
    },
    "total_calcium_rise": {
        "items": "'221456', '227525'",
        "hours": "24",
        "lab": "50893",
        "not_infused": "'Non Iv Meds'",
        "event": "d.value::DECIMAL(9, 3) - b.value::DECIMAL(9, 3) >= 1",
    },
}

#: What the product says to one question, in the order of `EXPECTED`.
FOUND = """
    SELECT any_value(n_units) FILTER (denominator = 'all'),
           any_value(n_events) FILTER (denominator = 'all'),
           any_value(n_censored),
           any_value(n_units) FILTER (denominator = 'tested'),
           any_value(n_units) FILTER (denominator = 'tested_with_baseline'),
           any_value(n_patients) FILTER (denominator = 'all'),
           any_value(n_open), any_value(n_not_at_risk)
    FROM signals.risk WHERE study_id = ? AND outcome = ? AND stratum = 'all'
"""

_NEW_YORK = ZoneInfo("America/New_York")


def utc(text: str | None) -> datetime | None:
    """Read a time as naive UTC; without offset it is New York's clock."""
    if not text:
        return None
    parsed = datetime.fromisoformat(text)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=_NEW_YORK)
    return aware.astimezone(UTC).replace(tzinfo=None)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a gzipped CSV."""
    with gzip.open(path, "rt", newline="") as stream:
        return list(csv.DictReader(stream))


def resources_of(path: Path) -> list[dict[str, Any]]:
    """Read a gzipped NDJSON."""
    with gzip.open(path, "rt") as stream:
        return [json.loads(line) for line in stream]


def doses(rows: Iterable[tuple[str | None, ...]]) -> pa.Table:
    """Return `given`: patient, item, method, start and end as told, prescription."""
    columns = list(zip(*rows, strict=True))
    stamp = pa.timestamp("us")
    return pa.table(
        {
            "patient": columns[0],
            "item": columns[1],
            "method": pa.array(columns[2], pa.string()),
            "started": pa.array([utc(text) for text in columns[3]], stamp),
            "ended": pa.array([utc(text) for text in columns[4]], stamp),
            "prescription": pa.array(columns[5], pa.string()),
        }
    )


def results(path: Path) -> pa.Table:
    """Return `result`: patient, item, when it was drawn, value."""
    rows = rows_of(path)
    return pa.table(
        {
            "patient": [row["subject_id"] for row in rows],
            "item": [row["itemid"] for row in rows],
            "taken": pa.array([utc(row["charttime_local"]) for row in rows], pa.timestamp("us")),
            "value": [float(row["value"]) if row["value"] else None for row in rows],
        }
    )
