"""The report of a pooled file: its tables are the file's, masked is no zero, few are called few."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.pooling.cells import cells_of
from pipelines.pooling.glmm import pool_risks
from pipelines.pooling.risks import pooled_risk
from tests.pooled_kit import HOSPITALS, pack_of, pooled_file
from tests.report_page import links, read_tables
from warehouse.pooled_report import told, write_pooled_report
from warehouse.query import run_query

Row = dict[str, Any]

SITES = tuple(HOSPITALS)
KEY = "concat_ws('/', study_id, outcome, window_name, stratum || '=' || stratum_value, denominator)"
NBSP = "\u00a0"


def rows(file: Path, sql: str) -> list[dict[str, Any]]:
    found = run_query(file, sql)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def percent(share: float) -> str:
    return f"{100 * share:.2f}" if 0 < share < 0.001 else f"{100 * share:.1f}"


def made(folder: Path, n_sites: int, expected: Sequence[Row] = ()) -> tuple[Path, str]:
    file = pooled_file(folder / f"pooled-{n_sites}.duckdb", SITES[:n_sites], expected)
    written = write_pooled_report(file, file.with_suffix(".html"), known=["castle"])
    return file, written.path.read_text("utf-8")


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return made(tmp_path_factory.mktemp("six"), 6)


def cells(page: str) -> dict[str, dict[str, str]]:
    """The cells of every row of the page by the row's key; equal keys say the same."""
    return {key: told for table in read_tables(page) for key, told in table.rows}


def test_every_pooled_risk_on_the_page_is_the_file_s(six: tuple[Path, str]) -> None:
    file, page = six
    shown_rows = cells(page)
    truth = rows(
        file, f"SELECT *, {KEY} AS key FROM pooled.risk WHERE is_headline AND stratum = 'all'"
    )
    assert len(truth) == 2
    for row in truth:
        shown = shown_rows[row["key"]]
        if row["risk"] is None:
            low, high = row["risk_lowest"], row["risk_highest"]
            assert shown["risk"] == f"{percent(low)} to {percent(high)}{NBSP}%"
        else:
            assert shown["risk"] == f"{percent(row['risk'])}{NBSP}%"
            assert shown["ci"] == f"{percent(row['ci_low'])} to {percent(row['ci_high'])}{NBSP}%"
    assert {row["risk"] is None for row in truth} == {True, False}


def test_every_hospital_s_row_is_the_file_s_with_the_age_of_its_data(
    six: tuple[Path, str],
) -> None:
    file, page = six
    shown_rows = cells(page)
    truth = rows(
        file,
        f"SELECT *, {KEY} || '/' || site_id AS key FROM pooled.forest "
        "WHERE stratum = 'all' AND denominator = 'complete'",
    )
    assert len(truth) == 12
    through = {row["site_id"]: row["data_through"] for row in rows(file, "FROM pooled.site")}
    for row in truth:
        shown = shown_rows[row["key"]]
        assert through[row["site_id"]] in shown["data"]
        assert "rejected" in shown["data"]
        if row["risk"] is None:
            assert shown["n_events"] == "1 to 10"
            assert shown["risk"] != f"0.0{NBSP}%"
        else:
            assert shown["n_events"] == f"{row['n_events']:,}"
            assert shown["risk"] == f"{percent(row['risk'])}{NBSP}%"


def test_a_hospital_is_outside_where_its_interval_lies_beyond_what_the_others_predict(
    six: tuple[Path, str],
) -> None:
    file, page = six
    truth = rows(
        file,
        "FROM pooled.forest WHERE outcome = 'headache' AND stratum = 'all' "
        "AND denominator = 'complete'",
    )
    for row in truth:
        others = [one for one in truth if one["site_id"] != row["site_id"]]
        found = pool_risks(
            [one["risk"] * one["effective_n"] for one in others],
            [one["effective_n"] for one in others],
        )
        assert found.risk is not None
        assert row["expected_low"] < found.risk < row["expected_high"]
        outside = row["ci_low"] > row["expected_high"] or row["ci_high"] < row["expected_low"]
        assert row["is_outside"] == outside
    assert [row["site_id"] for row in truth if row["is_outside"]] == ["hill"]
    assert "Outside: hill (Headache)." in page
    assert "no finding about care" in page


def test_one_hospital_is_told_as_its_own_and_equal_files_give_equal_pages(tmp_path: Path) -> None:
    """Whom a coordinator expects counts for more than whose key is there."""
    expected = [
        {"site_id": "east", "period": "2027-Q1", "state": "late", "exported": "2026-Q4"},
        {"site_id": "cape", "period": "2027-Q1", "state": "missing"},
    ]
    file, page = made(tmp_path, 1, expected)
    for said in ("cape: no pack", "east: exported 2026-Q4, others 2027-Q1"):
        assert said in page
    assert "castle" not in page
    assert "the row is its own" in page
    assert "another hospital</text>" not in page
    again = write_pooled_report(file, file.with_name("again.html"), known=["castle"])
    assert again.path.read_text("utf-8") == page


@pytest.mark.parametrize(
    ("n_sites", "said", "has_crude"), [(2, "Two", True), (4, "Fewer", True), (6, "", False)]
)
def test_few_hospitals_are_called_few(n_sites: int, said: str, *, has_crude: bool) -> None:
    packs = [pack_of(site, place) for place, site in enumerate(SITES[:n_sites])]
    told_all = [cell for cell in cells_of(packs).items() if cell[0][1] == "headache"]
    row = {**NOTHING, **pooled_risk(told_all[0][1])}
    assert told.few(row).startswith(said)
    assert bool(told.few(row)) == bool(said)
    assert bool(told.crude(row)) == has_crude
    assert bool(told.expected(row)) == (n_sites > 2)


NOTHING = dict.fromkeys(("prediction_low", "prediction_high"))


def test_who_is_gone_old_or_stale_is_said_before_any_number_is_believed(
    six: tuple[Path, str],
) -> None:
    _, page = six
    cards = page[page.index('class="cards"') : page.index("<nav")]
    for said in ("castle: no pack", "isle: no pack", "valley: exported 2026-Q2", "LabResulted"):
        assert said in cards


def test_the_page_is_one_file_without_script_that_asks_nobody(six: tuple[Path, str]) -> None:
    _, page = six
    assert "<script" not in page
    assert all(one.startswith("#") for one in links(page))
    assert set(re.findall(r"https?://[^\"'<> ]+", page)) <= {"http://www.w3.org/2000/svg"}
