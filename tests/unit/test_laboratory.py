"""`signals.laboratory`: days, units of measurement and quantiles, worked by hand."""

from __future__ import annotations

import statistics
from datetime import timedelta
from typing import Any

import pytest

from studies.load import Study, load_study
from tests.unit.test_effectiveness import START, Ward, ask, day
from warehouse.laboratory import graded, laboratory

CALCIUM = {"code": "17861-6", "code_system": "loinc", "unit": "mg/dL"}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("iv_bisphosphonate")


def draw(ward: Ward, patient: str, hours: float, value: float | None, **fields: Any) -> None:
    told = CALCIUM | {"value": value, "time_precision": "instant"} | fields
    ward.add("LabResulted", patient, START + timedelta(hours=hours), **told)


def made(ward: Ward, study: Study) -> dict[tuple[str, int], dict[str, Any]]:
    with ask(ward, study) as asked:
        rows = laboratory(asked.rows, study).to_pylist()
    return {(row["concept"], row["day"]): row for row in rows}


def test_a_day_is_24_hours_and_the_start_belongs_to_the_first(study: Study) -> None:
    ward = Ward().unit("p")
    for hours in (-24, -0.1, 0, 23.9, 24, 13.9 * 24, 14 * 24, -14.1 * 24):
        draw(ward, "p", hours, 9.0)
    told = made(ward, study)
    assert {key: row["n_results"] for key, row in told.items()} == {
        ("calcium_total", -1): 2,
        ("calcium_total", 0): 2,
        ("calcium_total", 1): 1,
        ("calcium_total", 13): 1,
    }


def test_a_patient_counts_once_a_day_with_the_median_and_quantiles_are_over_patients(
    study: Study,
) -> None:
    ward = Ward()
    values = {"a": [8.0, 9.0, 11.0], "b": [7.0], "c": [9.4, 9.6], "d": [10.0]}
    for patient, told in values.items():
        ward.unit(patient)
        for place, value in enumerate(told):
            draw(ward, patient, 30 + place, value)
    [row] = made(ward, study).values()
    each = sorted(statistics.median(told) for told in values.values())
    assert (row["n_patients"], row["n_results"], row["unit"]) == (4, 7, "mg/dL")
    assert row["median"] == pytest.approx(statistics.median(each))
    quartiles = statistics.quantiles(each, n=4, method="inclusive")
    assert [row["p25"], row["p75"]] == pytest.approx([quartiles[0], quartiles[2]])
    tenths = statistics.quantiles(each, n=10, method="inclusive")
    assert [row["p10"], row["p90"]] == pytest.approx([tenths[0], tenths[8]])


def test_results_are_told_in_one_unit(study: Study) -> None:
    ward = Ward().unit("p")
    draw(ward, "p", 5, 2.0, code="2000-8", unit="mmol/L")
    [row] = made(ward, study).values()
    assert row["unit"] == "mg/dL"
    assert row["median"] == pytest.approx(2.0 / 0.2495, rel=1e-4)


def test_a_result_belongs_to_the_latest_unit_at_or_before_it(study: Study) -> None:
    ward = Ward().unit("p").unit("p", START + timedelta(days=5))
    draw(ward, "p", 5 * 24 + 1, 9.0)
    draw(ward, "p", 4 * 24, 9.0)
    assert sorted(key[1] for key in made(ward, study)) == [0, 4]


def test_a_draw_known_by_its_day_counts_by_dates_and_never_on_the_index_date(study: Study) -> None:
    ward = Ward().unit("p")
    for date in ("2022-02-28", "2022-03-01", "2022-03-03"):
        ward.add("LabResulted", "p", day(date), value=9.0, **CALCIUM)
    assert sorted(key[1] for key in made(ward, study)) == [-1, 2]


def test_what_is_no_usable_result_of_a_counted_unit_is_left_out(study: Study) -> None:
    ward = Ward().unit("p").unit("q", is_eligible=False)
    draw(ward, "p", 5, None)
    draw(ward, "p", 5, 9.0, status="cancelled")
    draw(ward, "p", 5, 9.0, specimen_quality="haemolysed")
    draw(ward, "p", 5, 9.0, unit="furlong")
    draw(ward, "p", 5, 4.0, code="1751-7", unit="g/dL")  # albumin: no outcome grades it
    draw(ward, "q", 5, 9.0)
    assert made(ward, study) == {}


def test_only_analytes_of_published_outcomes_are_told(study: Study) -> None:
    assert graded(study) == ["calcium_total", "phosphate"]
