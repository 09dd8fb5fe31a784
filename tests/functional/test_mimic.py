"""A real extract through the whole road: the MIMIC-IV demo as one site with two flat sources.

The expected counts come from one SQL query over the raw files and from the standard library's
zoneinfo, with none of the product's code.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from pipelines.base.keys import new_key

FIXTURES = Path(__file__).parents[1] / "fixtures" / "icu_adult"

SITE = """
[site]
id = "mimic"
zone = "America/New_York"
studies = ["{study}"]
scope = "all"
patients = "implied"
row_level = "internal"

[[source]]
name = "icu"
mapping = "{fixtures}/administrations.toml"
path = "inbox/icu"

[[source]]
name = "laboratory"
mapping = "{fixtures}/labs.toml"
path = "inbox/laboratory"
"""


def dripwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("dripwatch"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def raw(shared_dir: Path) -> Path:
    return shared_dir / "data" / "mimic-iv-demo"


@pytest.fixture(scope="module")
def site(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose two inboxes hold the real files, refreshed once."""
    folder = tmp_path_factory.mktemp("mimic")
    for source, name in (("icu", "icu_administrations"), ("laboratory", "labs")):
        inbox = folder / "inbox" / source / "2026-01-01"
        inbox.mkdir(parents=True)
        shutil.copy(raw / f"{name}.csv.gz", inbox)
    text = SITE.format(study=FIXTURES / "study", fixtures=FIXTURES)
    (folder / "site.toml").write_text(text)
    (folder / "restricted").mkdir(mode=0o700)
    key = folder / "restricted" / "site.key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    return folder


@pytest.fixture(scope="module")
def first_run(site: Path) -> dict[str, Any]:
    done = dripwatch("refresh", "--config", str(site / "site.toml"), "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def warehouse(site: Path, first_run: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    assert first_run
    con = duckdb.connect()
    con.execute(f"ATTACH '{site / 'warehouse.duckdb'}' AS w (READ_ONLY)")
    con.execute("USE w")
    return con


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as stream:
        return list(csv.DictReader(stream))


# Written from the window rules: an administration is one record, or several with a duration that
# overlap or follow within two hours; the latest unit of a drug owns what follows; a baseline is the
# last result up to 30 minutes after the start, within 90 days, outside the window of any earlier
# unit; equal times take the smaller value.
EXPECTED = """
WITH dose AS (
    SELECT patient, started, coalesce(ended, started) AS ended, ended > started AS lasts
    FROM given
    WHERE item IN ({items}) AND method <> 'Non Iv Meds'
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
            AND d.taken > u.started + INTERVAL 30 MINUTE AND d.taken < u.cut) > 0 AS tested,
        EXISTS (FROM drawn AS d WHERE d.patient = u.patient
            AND d.taken > u.started + INTERVAL 30 MINUTE AND d.taken < u.cut
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
        "event": "d.value < 3.5 AND NOT coalesce(b.value < 3.5, false)",
    },
    "creatinine_rise": {
        "items": "'225798'",
        "hours": "168",
        "lab": "50912",
        "event": "b.value > 0 AND round(d.value, 6) >= round(1.5 * b.value, 6)",
    },
}


@pytest.fixture(scope="module")
def independent(raw: Path) -> duckdb.DuckDBPyConnection:
    """The raw files with UTC times, made by the standard library alone."""
    con = duckdb.connect()
    new_york = ZoneInfo("America/New_York")

    def utc(text: str) -> datetime | None:
        if not text:
            return None
        parsed = datetime.fromisoformat(text)
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=new_york)
        return aware.astimezone(UTC).replace(tzinfo=None)

    doses = rows_of(raw / "icu_administrations.csv.gz")
    results = rows_of(raw / "labs.csv.gz")
    stamp = pa.timestamp("us")
    given = pa.table(
        {
            "patient": [row["subject_id"] for row in doses],
            "item": [row["itemid"] for row in doses],
            "method": [row["method"] for row in doses],
            "started": pa.array([utc(row["effective_iso"]) for row in doses], stamp),
            "ended": pa.array([utc(row["end_iso"]) for row in doses], stamp),
        }
    )
    result = pa.table(
        {
            "patient": [row["subject_id"] for row in results],
            "item": [row["itemid"] for row in results],
            "taken": pa.array([utc(row["charttime_local"]) for row in results], stamp),
            "value": [float(row["value"]) if row["value"] else None for row in results],
        }
    )
    con.register("given", given)
    con.register("result", result)
    return con


@pytest.mark.parametrize("outcome", list(QUESTIONS))
def test_counts_equal_an_independent_query_over_the_raw_files(
    outcome: str, independent: duckdb.DuckDBPyConnection, warehouse: duckdb.DuckDBPyConnection
) -> None:
    [expected] = independent.execute(EXPECTED.format(**QUESTIONS[outcome])).fetchall()
    [found] = warehouse.execute(
        """
        SELECT any_value(n_units) FILTER (denominator = 'all'),
               any_value(n_events) FILTER (denominator = 'all'),
               any_value(n_censored),
               any_value(n_units) FILTER (denominator = 'tested'),
               any_value(n_units) FILTER (denominator = 'tested_with_baseline'),
               any_value(n_patients) FILTER (denominator = 'all'),
               any_value(n_open), any_value(n_not_at_risk)
        FROM signals.risk WHERE outcome = ? AND stratum = 'all'
        """,
        [outcome],
    ).fetchall()
    assert found == expected
    # A question that finds nothing would compare nothing.
    assert expected[0] > 100
    assert expected[1] > 10
    assert expected[2] > 0


def test_every_row_is_accounted_for_and_lands_where_the_rules_say(
    raw: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    doses = rows_of(raw / "icu_administrations.csv.gz")
    results = rows_of(raw / "labs.csv.gz")
    fates = {
        source: dict(pairs)
        for source, pairs in (
            (source, warehouse.execute(FATES, [source]).fetchall())
            for source in ("icu", "laboratory")
        )
    }
    for source, rows in (("icu", doses), ("laboratory", results)):
        exact_duplicates = len(rows) - len({tuple(row.values()) for row in rows})
        assert fates[source]["read"] == len(rows)
        assert fates[source]["duplicate"] == exact_duplicates
        assert fates[source]["accepted"] == len(rows) - exact_duplicates
    by_mouth = {"13-Enteral Nutrition", "14-Oral/Gastric Intake"}
    no_infusion = {
        tuple(row.values())
        for row in doses
        if row["method"] == "Non Iv Meds"
        or "Non IV" in row["category"]
        or row["category"] in by_mouth
    }
    [(given,)] = warehouse.execute(
        "SELECT sum(n_accepted) FROM quality.reconciliation WHERE event_type = 'MedicationGiven'"
    ).fetchall()
    assert given == len(no_infusion)


FATES = """
    UNPIVOT (
        SELECT sum(n_read) AS read, sum(n_accepted) AS accepted, sum(n_duplicate) AS duplicate,
               sum(n_quarantined) AS quarantined
        FROM quality.reconciliation WHERE source = ?
    ) ON COLUMNS (*) INTO NAME fate VALUE n
"""


def test_results_without_a_number_and_unknown_units_are_accepted_and_counted(
    raw: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    rows = {tuple(row.values()): row for row in rows_of(raw / "labs.csv.gz")}.values()
    counted = dict(
        warehouse.execute(
            """SELECT check_id, sum(n_failed) FROM quality.check_result
               WHERE event_type = 'LabResulted' GROUP BY check_id"""
        ).fetchall()
    )
    assert counted["no_number"] == sum(not row["value"] for row in rows)
    # What stands in a unit's place without being one; a unit matters only beside a number, and
    # codes that no study reads may have none.
    assert counted["unknown_unit"] == sum(
        bool(row["value"]) and row["unit"] in {"UNK", "units"} for row in rows
    )


def test_the_same_night_twice_changes_nothing_and_says_so(
    site: Path, first_run: dict[str, Any]
) -> None:
    assert first_run
    before = (site / "warehouse.duckdb").read_bytes()
    again = dripwatch("refresh", "--config", str(site / "site.toml"))
    assert again.returncode == 0, again.stderr
    assert (site / "warehouse.duckdb").read_bytes() == before
    assert "nothing" in (again.stdout + again.stderr).lower()


def test_no_identifier_of_the_extract_reaches_what_is_published(site: Path, raw: Path) -> None:
    identifiers = {
        row["subject_id"].encode() for row in rows_of(raw / "icu_administrations.csv.gz")
    }
    for path in [site / "warehouse.duckdb", *(site / "report").rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not [1 for identifier in identifiers if identifier in content]
