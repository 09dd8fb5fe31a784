"""What a batch tells otherwise than the 28 days before: each drift is found, nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import duckdb
import pytest

from expectations import judged, sqlpass, suites
from expectations.drift import Earlier, hold_reasons, judge
from expectations.drift_cells import prepare
from expectations.validate import Validation, validate
from pipelines.base.site import ThresholdTable
from pipelines.ingest.facts import Drift
from tests.checks_staging import CONCEPTS, as_sql_says, staged

#: A Monday; so 28 days before it are four whole weeks.
SINCE = datetime(2024, 2, 26)  # noqa: DTZ001 - staging holds naive UTC
UNTIL = datetime(2024, 2, 27, tzinfo=UTC)
EARLIER = Earlier("ehr", {"LabResulted": SINCE}, ("earlier",), {"LabResulted": (30, 1000)})

#: A panel of three for each patient of a day, one of them outside of the vocabulary.
_PANEL = """
INSERT INTO {table} BY NAME
SELECT 'here' AS site_id, 'ehr' AS source, 'LabResulted' AS event_type, 'upsert' AS operation,
    hash(d.day, p.patient, c.code)::VARCHAR AS record_key, 1 AS version,
    'instant' AS time_precision, 'UTC' AS zone, 'f' AS source_file_sha,
    row_number() OVER () AS source_row,
    'patient ' || d.day || '/' || p.patient AS patient_key,
    TIMESTAMP '2024-02-26 08:00' + to_days(d.day) AS occurred_at, 'loinc' AS code_system, c.code,
    c.value, c.unit, 8.5 AS low_limit, 10.5 AS high_limit, 'final' AS status
FROM (SELECT unnest(range({first}, {last}))::INTEGER AS day) AS d
JOIN range({most}) AS p(patient)
    ON p.patient < {usual} * CASE WHEN (d.day + 28) % 7 >= 5 THEN 0.2 ELSE 1 END
        + {spread} * (hash(d.day, {seed}) % 1000 / 1000 - 0.5)
JOIN (VALUES ('17861-6', 9.0, 'mg/dL'), ('2823-3', 4.0, 'mmol/L'), ('1988-5', 2.0, 'mg/L'))
    AS c(code, value, unit) ON hash(d.day, p.patient, c.code, {seed}) % 10 > 0
"""


def laboratory(
    *, usual: int = 40, spread: float = 0, seed: int = 0, days: int = 1
) -> duckdb.DuckDBPyConnection:
    """A laboratory that draws at weekends a fifth of its usual patients; the batch is new days."""
    con = staged({}, types=["LabResulted"])
    con.execute("CREATE SCHEMA earlier")
    con.execute('CREATE TABLE earlier."LabResulted" AS FROM event."LabResulted"')
    con.execute("CREATE SCHEMA judge")
    con.execute(sqlpass.TABLES)
    judged.prepare_vocabulary(con, CONCEPTS)
    for table, first, last in (("earlier", -28, 0), ("event", 0, days)):
        con.execute(
            _PANEL.format(
                table=f'{table}."LabResulted"',
                first=first,
                last=last,
                most=2 * usual,
                usual=usual,
                spread=spread,
                seed=seed,
            )
        )
    con.execute(
        "INSERT INTO fate.row (event_type, fate) SELECT 'LabResulted', 'out_of_scope' FROM range(3)"
    )
    return con


def drifts(con: duckdb.DuckDBPyConnection, days: int = 1) -> list[Drift]:
    until = UNTIL + timedelta(days=days - 1)
    cells = prepare(con, EARLIER, {"LabResulted": until})
    assert cells is not None
    with patch.object(suites, "run", as_sql_says):
        results, found = judge(con, cells)
    con.close()
    assert sum(one.n_failed_sql for one in results) == len(found)
    assert {one.check_id for one in results} == {
        "drift_volume", "drift_null", "drift_unit", "drift_code", "drift_unmapped",
    }  # fmt: skip
    return found


PLANTED = {
    "drift_volume": ('DELETE FROM event."LabResulted" WHERE hash(record_key) % 10 > 2', {""}),
    "drift_null": ('UPDATE event."LabResulted" SET low_limit = NULL', {"low_limit"}),
    "drift_unit": (
        """UPDATE event."LabResulted" SET unit = 'mmol/L', value = value / 4
        WHERE code = '17861-6'""",
        {"loinc 17861-6"},
    ),
    "drift_code": (
        "UPDATE event.\"LabResulted\" SET code = '17861-6', unit = 'mg/dL' WHERE code = '2823-3'",
        {""},
    ),
    "drift_unmapped": (
        "INSERT INTO fate.row (event_type, fate) SELECT 'LabResulted', 'out_of_scope' "
        "FROM range(40)",
        {""},
    ),
}


@pytest.mark.parametrize("check_id", PLANTED)
def test_a_planted_drift_is_found_and_no_other(check_id: str) -> None:
    statement, what = PLANTED[check_id]
    con = laboratory()
    con.execute(statement)
    found = drifts(con)
    assert {one.check_id for one in found} == {check_id}
    assert {one.what for one in found} == what
    assert all(not one.low <= one.observed <= one.high for one in found)


def test_an_ordinary_day_or_week_or_weekend_is_no_drift() -> None:
    for seed in range(6):
        days = (1, 5, 7)[seed % 3]
        con = laboratory(usual=25, spread=15, seed=seed, days=days)
        assert drifts(con, days) == []


def test_a_sunday_is_set_against_sundays() -> None:
    con = laboratory(days=7)
    con.execute("DELETE FROM event.\"LabResulted\" WHERE occurred_at < TIMESTAMP '2024-03-02'")
    sunday = Earlier("ehr", {"LabResulted": datetime(2024, 3, 3)}, ("earlier",), {})  # noqa: DTZ001
    con.execute(
        'INSERT INTO earlier."LabResulted" FROM event."LabResulted" '
        "WHERE occurred_at < TIMESTAMP '2024-03-03'"
    )
    assert prepare(con, sunday, {"LabResulted": UNTIL + timedelta(days=6)}) is not None
    [bounds] = con.execute(
        "SELECT drift_volume, before FROM judge_in._drift WHERE drift_volume IS NOT NULL"
    ).fetchall()
    assert bounds[1] < 40
    con.close()


def test_nothing_is_compared_of_a_first_delivery_or_where_no_day_is_new() -> None:
    con = laboratory()
    assert prepare(con, Earlier("ehr", {}, ("earlier",), {}), {"LabResulted": UNTIL}) is None
    again = {"LabResulted": SINCE.replace(tzinfo=UTC)}
    assert prepare(con, EARLIER, again) is None
    con.close()


def test_of_two_that_tell_of_one_day_the_one_that_tells_more_stands() -> None:
    con = laboratory()
    con.execute(
        'CREATE SCHEMA again; CREATE TABLE again."LabResulted" AS FROM earlier."LabResulted"'
    )
    twice = Earlier("ehr", EARLIER.since, ("earlier", "again"), EARLIER.unmapped)
    prepare(con, twice, {"LabResulted": UNTIL})
    [(n_before,)] = con.execute(
        "SELECT DISTINCT n_rows_before FROM judge_in._drift WHERE drift_volume IS NOT NULL"
    ).fetchall()
    [(n,)] = con.execute('SELECT count(*) FROM earlier."LabResulted"').fetchall()
    assert n_before == n
    con.close()


def verdict(hold_on: tuple[str, ...]) -> Validation:
    con = laboratory()
    con.execute(PLANTED["drift_unit"][0])
    try:
        return validate(
            con,
            event_types=["LabResulted"],
            data_through={"LabResulted": UNTIL},
            concepts=CONCEPTS,
            thresholds=ThresholdTable(reject_share=1.0),
            earlier=EARLIER,
            hold_on=hold_on,
        )
    finally:
        con.close()


def test_great_expectations_counts_what_sql_names_and_only_site_toml_holds() -> None:
    warned = verdict(())
    results = {one.check_id: one for one in warned.checks if one.check_id.startswith("drift_")}
    assert results["drift_unit"].n_failed_gx == results["drift_unit"].n_failed_sql == 1
    assert all(one.agrees for one in results.values())
    assert warned.hold_reasons == ()
    reasons = hold_reasons(warned.drift, ("drift_unit", "drift_code"))
    assert [reason.partition(":")[0] for reason in reasons] == ["drift_unit"]
