"""A batch's verdict: counts, flags, thresholds, disagreement, sentinels, silence about values."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from expectations import sqlpass, suites
from expectations.sqlpass import fails
from expectations.table import Check, checks, checks_of
from expectations.validate import CheckError, Validation, validate
from pipelines.base.errors import DeliveryError
from pipelines.base.site import ThresholdTable
from schemas import CLINICAL_TYPES
from studies.analytes import analytes, known_units
from tests.checks_staging import (
    AT,
    CONCEPTS,
    DATA_THROUGH,
    THROUGH,
    Rows,
    as_sql_says,
    good,
    staged,
)

LAB, DRIP = "LabResulted", "InfusionRecorded"


def judge(
    con: duckdb.DuckDBPyConnection,
    types: Sequence[str] = (LAB,),
    docs_dir: Path | None = None,
    **thresholds: Any,
) -> Validation:
    return validate(
        con,
        event_types=types,
        data_through=DATA_THROUGH,
        concepts=CONCEPTS,
        thresholds=ThresholdTable(**thresholds),
        docs_dir=docs_dir,
    )


def failures(con: duckdb.DuckDBPyConnection) -> Counter[tuple[str, str, int]]:
    rows = con.execute("SELECT event_type, check_id, source_row FROM judge.failure").fetchall()
    return Counter(rows)


def flags(con: duckdb.DuckDBPyConnection, event_type: str = LAB) -> list[list[str] | None]:
    query = f'SELECT flags FROM event."{event_type}" ORDER BY source_row'
    return [row[0] for row in con.execute(query).fetchall()]


# --- Three independent opinions ---------------------------------------------------------------


def dirty(seed: int, n_rows: int) -> Rows:
    """Return rows in which every field may be absent, absurd or at an edge."""
    draw = random.Random(seed)  # noqa: S311 - not a secret
    latest = THROUGH.replace(tzinfo=None) + timedelta(days=1)
    common: Mapping[str, Sequence[Any]] = {
        "record_key": ("k", "k", "k", None, " "),
        "version": (1, 1, 1, None),
        "operation": ("upsert", "upsert", "upsert", "retract", None, "x"),
        "patient_key": ("p", "p", "p", None),
        "occurred_at": (AT, AT, latest, latest + timedelta(seconds=1), None, datetime(1800, 1, 1)),  # noqa: DTZ001
        "time_precision": ("instant", "day", None, "hour"),
        "flags": (None, [], ["bad_time"], ["bad_end_time", "end_missing"], ["bad_value"]),
        "code_system": ("loinc", "loinc", "rxnorm", None, "http://loinc.org"),
    }
    lab = {
        "code": ("17861-6", "17861-6", "2823-3", "1988-5", "9", None),
        "value": (9.1, 9.1, 1.0, 32.0, 0.5, 1e9, -1.0, None, float("nan"), float("inf")),
        "unit": ("mg/dL", "mg/dL", "mmol/L", "UNK", None, " "),
        "low_limit": (8.8, None, 12.0),
        "high_limit": (10.8, None),
        "status": ("final", "odd", None),
    }
    drip = {
        "code": ("77655", "77655", "1", None),
        "code_system": ("rxnorm", "rxnorm", None, "a b"),
        "dose_value": (2.0, 2.0, 0.0, 500.0, 501.0, -1.0, None, float("nan")),
        "dose_unit": ("mg", "mg", "g", "mg/kg", None),
        "ended_at": (AT, AT - timedelta(hours=2), AT - timedelta(hours=30), latest, None),
        "end_precision": ("instant", "day", "month", "year", None),
        "status": ("completed", "not-done", "odd", None),
        "route": ("intravenous", "odd", None),
        "evidence": ("administered", "odd", None),
    }

    def row(event_type: str, choices: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        drawn = {name: draw.choice(options) for name, options in choices.items()}
        return good(event_type, **drawn)

    return {
        LAB: [row(LAB, {**common, **lab}) for _ in range(n_rows)],
        DRIP: [row(DRIP, {**common, **drip}) for _ in range(n_rows)],
    }


UNITS = {(one.concept, one.unit): one for one in analytes()}
CODES = {(one.event_type, one.code_system, one.code): one.concept for one in CONCEPTS}


def told(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is not None and not (isinstance(value, str) and not value.strip())


def by_hand(row: Mapping[str, Any]) -> set[str]:
    """Judge one row slowly and obviously, from the words of the checks and none of their code."""
    found = set()
    if not told(row, "record_key"):
        found.add("key_present")
    if row["version"] is None:
        found.add("version_present")
    if row["operation"] not in ("upsert", "retract"):
        found.add("operation_known")
    if row["operation"] == "retract":
        return found
    if not told(row, "patient_key"):
        found.add("patient_present")
    if not told(row, "code"):
        found.add("code_present")
    system = row["code_system"]
    if system is not None and (":" in system or " " in system):
        found.add("code_system_shaped")
    if "bad_time" in (row["flags"] or []):
        found.add("time_readable")
    if "bad_value" in (row["flags"] or []):
        found.add("value_readable")
    found |= times_by_hand(row)
    return found | (lab_by_hand(row) if row["event_type"] == LAB else drip_by_hand(row))


def times_by_hand(row: Mapping[str, Any]) -> set[str]:
    at = row["occurred_at"]
    if at is None:
        return {"time_present"}
    found = set()
    if at.year < 1900:
        found.add("time_not_ancient")
    if at - THROUGH.replace(tzinfo=None) > timedelta(days=1):
        found.add("time_in_extract")
    if row["time_precision"] not in ("instant", "day", "month", "year"):
        found.add("precision_known")
    return found


def lab_by_hand(row: Mapping[str, Any]) -> set[str]:
    found = set()
    value, unit = row["value"], row["unit"]
    concept = CODES.get((LAB, row["code_system"], row["code"]))
    measured = concept in {one.concept for one in analytes()}
    if value is None:
        found.add("no_number")
    elif measured and (concept, unit) not in UNITS:
        found.add("unknown_unit")
    elif measured:
        bounds = UNITS[str(concept), unit]
        if not bounds.possible_low <= value <= bounds.possible_high:
            found.add("value_possible")
    elif told(row, "unit") and unit not in known_units():
        found.add("unknown_unit")
    low, high = row["low_limit"], row["high_limit"]
    if low is not None and high is not None and high < low:
        found.add("limits_in_order")
    if row["status"] == "odd":
        found.add("result_status_known")
    return found


def drip_by_hand(row: Mapping[str, Any]) -> set[str]:
    found = {f"{name}_known" for name in ("status", "route") if row[name] == "odd"}
    if row["evidence"] != "administered":
        found.add("evidence_known")
    if "bad_end_time" in (row["flags"] or []):
        found.add("end_readable")
    slack = {"day": 25, "month": 32 * 24, "year": 367 * 24}.get(row["end_precision"], 0)
    start, end = row["occurred_at"], row["ended_at"]
    if start is not None and end is not None and end + timedelta(hours=slack) < start:
        found.add("times_in_order")
    if (DRIP, row["code_system"], row["code"]) in CODES:
        factor = {"mg": 1.0, "g": 1000.0}.get(row["dose_unit"])
        if factor is None or row["dose_value"] is None:
            found |= set() if row["status"] == "not-done" else {"dose_not_judged"}
        elif not 0 <= row["dose_value"] * factor <= 500:
            found.add("dose_possible")
    return found


@pytest.mark.parametrize("seed", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_gx_sql_and_a_judge_by_hand_agree_on_dirty_rows(seed: int) -> None:
    rows = dirty(seed, 600)
    con = staged(rows)
    verdict = judge(con, (LAB, DRIP), min_rows=100_000)

    expected = Counter(
        (event_type, check_id, number)
        for event_type, some in rows.items()
        for number, row in enumerate(some, start=1)
        for check_id in by_hand(row)
    )
    assert failures(con) == expected

    per_check = Counter((name, check_id) for name, check_id, _ in expected.elements())
    for result in verdict.checks:
        if result.event_type in rows:
            counted = per_check[result.event_type, result.check_id]
            assert (result.n_failed_gx, result.n_failed_sql) == (counted, counted), result.check_id
    assert verdict.hold_reasons == ()
    # The rows are dirty enough to say something about nearly every check of the two types.
    untouched = {check.id for name in rows for check in checks_of(name)} - {
        check_id for _, check_id in per_check
    }
    assert untouched == {"event_type_known"}


# --- What the verdict holds -------------------------------------------------------------------


def test_every_check_of_a_type_that_is_there_has_a_result_and_absent_types_cost_nothing() -> None:
    con = staged({LAB: [good(LAB)]})
    verdict = judge(con, CLINICAL_TYPES)
    expected = {
        (check.id, name) for check in checks() for name in (LAB, "*") if name in check.types
    }
    assert {(one.check_id, one.event_type) for one in verdict.checks} == expected
    assert all(one.agrees and one.n_failed_gx == 0 for one in verdict.checks)
    assert verdict.hold_reasons == ()
    assert verdict.rejected_by_type == dict.fromkeys(CLINICAL_TYPES, 0)
    stored = con.execute('SELECT check_id, event_type FROM judge."check"').fetchall()
    assert set(stored) == expected


def test_a_good_row_of_every_type_passes_every_check_and_every_sentinel_is_found() -> None:
    con = staged({name: [good(name)] for name in CLINICAL_TYPES})
    verdict = judge(con, CLINICAL_TYPES)
    assert verdict.hold_reasons == ()
    assert len(verdict.checks) == sum(len(check.types) for check in checks())
    assert {one.n_failed_gx for one in verdict.checks} == {0}


def test_a_rejected_row_is_listed_once_however_many_checks_it_fails() -> None:
    con = staged({LAB: [good(LAB), good(LAB, record_key=None, code=None, value=None)]})
    verdict = judge(con)
    assert con.execute("FROM judge.rejected").fetchall() == [(LAB, "f" * 64, 2, None)]
    assert verdict.rejected_by_type == {LAB: 1}
    assert failures(con).keys() == {
        (LAB, "key_present", 2),
        (LAB, "code_present", 2),
        (LAB, "no_number", 2),
    }


def test_warnings_are_appended_to_the_flags_once_and_in_table_order() -> None:
    rows = [
        good(LAB, flags=None, unit="UNK"),
        good(LAB, flags=["bad_number"], value=None),
        good(LAB, flags=["unknown_unit"], unit="UNK"),
        good(LAB, flags=["x"]),
        good(LAB, flags=["bad_value"]),
        good(LAB, flags=None, status="odd"),
    ]
    con = staged({LAB: rows})
    expected: list[list[str] | None]
    expected = [["unknown_unit"], ["bad_number", "no_number"], ["unknown_unit"], ["x"]]
    expected += [["bad_value", "value_readable"], None]
    judge(con)
    assert flags(con) == expected
    judge(con)
    assert flags(con) == expected


def test_nothing_of_the_scratch_tables_stays_in_the_staging_database() -> None:
    con = staged({LAB: [good(LAB)]})
    judge(con)
    found = con.execute("SELECT DISTINCT schema_name FROM duckdb_tables()").fetchall()
    assert {name for (name,) in found} == {"event", "fate", "judge"}
    assert con.execute('SELECT count(*) FROM event."LabResulted"').fetchone() == (1,)


def test_the_wall_clock_is_never_asked() -> None:
    far = dict.fromkeys(CLINICAL_TYPES, THROUGH.replace(year=2150))
    con = staged({LAB: [good(LAB, occurred_at=AT.replace(year=2150))]})
    verdict = validate(
        con, event_types=[LAB], data_through=far, concepts=CONCEPTS, thresholds=ThresholdTable()
    )
    assert verdict.rejected_by_type == {LAB: 0}


def test_a_type_without_data_through_is_refused() -> None:
    con = staged({LAB: [good(LAB)]})
    with pytest.raises(DeliveryError, match="how far its LabResulted"):
        validate(con, event_types=[LAB], data_through={}, concepts=(), thresholds=ThresholdTable())


# --- Thresholds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_bad", "n_unread", "thresholds", "is_held"),
    [
        (5, 0, {}, False),  # 5 % of 100 is the tolerated share itself
        (6, 0, {}, True),
        (3, 3, {}, True),  # rows that became no event count for the type they were sent as
        (2, 3, {}, False),
        (6, 0, {"reject_share_by_type": {LAB: 0.06}}, False),
        (6, 0, {"reject_share": 0.5, "reject_share_by_type": {LAB: 0.01}}, True),
        (6, 0, {"min_rows": 101}, False),
        (6, 0, {"min_rows": 100}, True),
        (100, 0, {"reject_share": 1.0}, False),
        (1, 0, {"reject_share": 0.0}, True),
    ],
)
def test_the_share_of_rejected_rows_decides_whether_a_batch_is_held(
    n_bad: int,
    n_unread: int,
    thresholds: dict[str, Any],
    is_held: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GX has no part in this: the share is counted from the rows that SQL names.
    monkeypatch.setattr(suites, "run", as_sql_says)
    bad = [good(LAB, record_key=None)] * n_bad
    con = staged({LAB: [*bad, *[good(LAB)] * (100 - n_bad - n_unread)]})
    con.execute(
        "INSERT INTO fate.row SELECT repeat('f', 64), 1000 + i, ?, 'quarantined', 'x', "
        "NULL, NULL, NULL, NULL FROM range(?) t(i)",
        [LAB, n_unread],
    )
    reasons = [one for one in judge(con, **thresholds).hold_reasons if "reject_share" in one]
    assert bool(reasons) == is_held
    if reasons:
        assert f"{n_bad + n_unread} of 100 LabResulted rows" in reasons[0]


def test_records_of_no_known_type_are_set_against_the_whole_delivery() -> None:
    con = staged({LAB: [good(LAB)] * 50})
    con.execute("UPDATE fate.file SET n_rows = 100")
    con.execute(
        "INSERT INTO fate.row SELECT repeat('f', 64), 50 + i, NULL, 'quarantined', "
        "CASE WHEN i < 20 THEN 'unreadable_record' ELSE 'unknown_event_type' END, "
        "NULL, NULL, NULL, NULL FROM range(50) t(i)"
    )
    verdict = judge(con)
    counted = {one.check_id: one for one in verdict.checks if one.event_type == "*"}
    assert counted["record_readable"].n_failed_gx == 20
    assert counted["record_type_known"].n_failed_sql == 30
    assert counted["record_readable"].n_rows == 100
    assert verdict.hold_reasons == (
        "reject_share: 50 of 100 records without a known event type are quarantined (50.0%), "
        "more than the 5.0% that the site allows.",
    )
    assert con.execute("SELECT count(*) FROM judge.rejected").fetchone() == (0,)


# --- Failing open is noticed --------------------------------------------------------------------


def held_for(con: duckdb.DuckDBPyConnection, kind: str) -> set[str]:
    return {
        one.split("LabResulted.")[1].split()[0].strip(".")
        for one in judge(con, min_rows=10_000).hold_reasons
        if one.startswith(kind)
    }


def test_a_custom_expectation_that_a_suite_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = suites.suite

    def without_custom(event_type: str, rows: str, share: float) -> Any:
        found = whole(event_type, rows, share)
        kept = [one for one in found.expectations if "Possible" not in type(one).__name__]
        found.expectations = kept
        return found

    monkeypatch.setattr(suites, "suite", without_custom)
    con = staged({LAB: [good(LAB)] * 3})
    assert held_for(con, "sentinel_missed") == {"value_possible"}
    assert held_for(con, "checks_disagree") == {"value_possible"}


def test_an_expectation_that_sees_nothing_is_noticed_even_where_nothing_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = suites.expectation

    def blind(check: Check, event_type: str, tolerated: float) -> Any:
        if check.id == "unknown_unit":
            seeing = next(one for one in checks_of(event_type) if one.id == "version_present")
            check = check.model_copy(update={"on": seeing.on})
        return compiled(check, event_type, tolerated)

    monkeypatch.setattr(suites, "expectation", blind)
    con = staged({LAB: [good(LAB)] * 3})
    assert held_for(con, "sentinel_missed") == {"unknown_unit"}
    assert held_for(con, "checks_disagree") == set()


def test_a_sql_predicate_that_sees_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(check: Check, event_type: str) -> str:
        return "false" if check.id == "value_possible" else fails(check, event_type)

    monkeypatch.setattr(sqlpass, "fails", blind)
    con = staged({LAB: [good(LAB, value=1e6), good(LAB)]})
    assert held_for(con, "sentinel_missed") == {"value_possible"}
    assert held_for(con, "checks_disagree") == {"value_possible"}


def test_an_error_inside_gx_is_no_verdict_and_its_text_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled = suites.expectation

    def broken(check: Check, event_type: str, tolerated: float) -> Any:
        if check.id == "no_number":
            check = check.model_copy(update={"on": ("no_such_column",)})
        return compiled(check, event_type, tolerated)

    monkeypatch.setattr(suites, "expectation", broken)
    con = staged({LAB: [good(LAB)] * 3})
    verdict = judge(con, docs_dir=tmp_path)
    result = next(one for one in verdict.checks if one.check_id == "no_number")
    assert (result.n_failed_gx, result.agrees) == (None, False)
    assert any("gave no verdict on LabResulted.no_number" in one for one in verdict.hold_reasons)
    written = "".join(page.read_text() for page in tmp_path.iterdir())
    assert "no_such_column" not in written
    assert "Traceback" not in written
    assert "no verdict" in (tmp_path / "index.html").read_text()


# --- Silence about values -----------------------------------------------------------------------


def test_an_error_of_duckdb_is_reported_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> str:
        return "SELECT CAST('Jane Doe' AS INTEGER)"

    monkeypatch.setattr(sqlpass, "failures_sql", failing)
    with pytest.raises(CheckError) as caught:
        judge(staged({LAB: [good(LAB)]}))
    assert "Jane" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_result_of_gx_holds_a_value_or_a_key() -> None:
    from expectations import judged as tables

    secret = good(LAB, value=123456.789, unit="SECRETUNIT", patient_key="SECRETPATIENT", code="S1",
                  record_key=None, status="SECRETSTATUS")  # fmt: skip
    con = staged({LAB: [secret, {**secret, "record_key": "SECRETKEY", "code": "17861-6",
                                 "unit": "mg/dL"}]})  # fmt: skip
    tables.prepare_vocabulary(con, CONCEPTS)
    table = tables.prepare(con, LAB, tables.latest(DATA_THROUGH, LAB))
    results = suites.run(con, table, 0.0)
    text = "".join(str(one.raw) for one in results.values())
    assert results["value_possible"].n_failed == 1
    assert results["unknown_unit"].n_failed == 1
    assert "SECRET" not in text
    assert "123456" not in text
    assert "f" * 64 not in text


def test_two_parts_of_one_record_are_judged_apart_and_named_apart() -> None:
    parts = [
        good(LAB, record_key=f"k{part}", source_row=1, source_part=part, unit=unit, value=value)
        for part, (unit, value) in enumerate([("mg/dL", 9.1), ("furlong", 9.1), ("mg/dL", 1e12)], 1)
    ]
    con = staged({LAB: parts})
    judge(con)
    assert con.execute("FROM judge.rejected").fetchall() == [(LAB, "f" * 64, 1, 3)]
    flagged = con.execute(f'SELECT source_part, flags FROM event."{LAB}" ORDER BY 1').fetchall()
    assert [(part, flags or []) for part, flags in flagged] == [
        (1, []),
        (2, ["unknown_unit"]),
        (3, []),
    ]


def test_records_that_made_no_event_fail_one_check_whatever_the_reason() -> None:
    reasons = ("too_deep", "unknown_event_type", "missing_id", None)
    con = staged({LAB: [good(LAB)]})
    con.execute("UPDATE fate.file SET n_rows = 5")
    for row, reason in enumerate(reasons, start=2):
        con.execute(
            "INSERT INTO fate.row VALUES (repeat('f', 64), ?, NULL, 'quarantined', ?, "
            "NULL, NULL, NULL, NULL)",
            [row, reason],
        )
    verdict = judge(con)
    told = {one.check_id: one.n_failed_sql for one in verdict.checks if one.event_type == "*"}
    assert told == {"record_readable": 2, "record_type_known": 1, "record_resolved": 1}
