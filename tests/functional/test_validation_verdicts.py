"""A batch's verdict: counts, flags, nothing of the wall clock, silence about values."""

from __future__ import annotations

import pytest

from expectations import sqlpass, suites
from expectations.judged import DRIFT
from expectations.table import checks
from expectations.validate import CheckError, validate
from pipelines.base.errors import DeliveryError
from pipelines.base.site import ThresholdTable
from schemas import CLINICAL_TYPES
from tests.checks_staging import AT, CONCEPTS, DATA_THROUGH, THROUGH, good, staged
from tests.verdict_kit import LAB, failures, flags, judge


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
    assert len(verdict.checks) == sum(
        len(check.types) for check in checks() if DRIFT not in check.types
    )
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
