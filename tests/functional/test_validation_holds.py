"""What holds a batch: too many rejected rows, and a check that fails open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from expectations import sqlpass, suites
from expectations.sentinels import _plant
from expectations.sqlpass import fails
from expectations.table import Check, checks_of
from pipelines.base.duck import quote
from tests.checks_staging import THROUGH, as_sql_says, good, staged
from tests.verdict_kit import LAB, judge


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


def test_every_bad_row_is_planted_once_where_there_is_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suites, "run", as_sql_says)
    con = staged({LAB: [good(LAB)]})
    con.execute("SET threads = 1; CREATE SCHEMA judge_in")
    _plant(con, LAB, f"event.{quote(LAB)}", THROUGH)
    planted = con.execute("SELECT source_row FROM judge_in._planted ORDER BY ALL").fetchall()
    assert planted == [(number,) for number in range(len(checks_of(LAB)) + 1)]


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
