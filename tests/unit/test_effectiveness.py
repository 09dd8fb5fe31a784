"""`signals.effectiveness`: each rule by a patient worked by hand; the sums: test_before_after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from studies.load import Study, load_study
from tests.store_kit import store_of
from tests.unit.store_batches import event, make_batch
from warehouse.row_signals import Rows, density_patients, effectiveness, fracture_patients

ZONE = "Asia/Kolkata"
THROUGH = {
    name: datetime.fromisoformat("2025-12-31T18:30")
    for name in ("BoneDensityMeasured", "DiagnosisRecorded")
}
#: 1 March 2022, nine in the morning.
START = datetime.fromisoformat("2022-03-01T03:30")


def day(text: str) -> datetime:
    """Local midnight as naive UTC."""
    return datetime.fromisoformat(text) - timedelta(hours=5, minutes=30)


class Ward:
    """Patients in a store, as their events and first units tell of them."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.units: list[dict[str, Any]] = []

    def add(self, event_type: str, patient: str, at: datetime, **fields: Any) -> Ward:
        told = self.events.setdefault(event_type, [])
        told.append(
            event(event_type, f"{event_type}-{len(told)}", patient_key=patient, occurred_at=at,
                  zone=ZONE, **{"time_precision": "day"} | fields)
        )  # fmt: skip
        return self

    def scan(self, patient: str, at: str, z: float | None, **fields: Any) -> Ward:
        told = {"code": "85394-5", "code_system": "loinc", "z_score": z} | fields
        return self.add("BoneDensityMeasured", patient, day(at), **told)

    def fracture(self, patient: str, *dates: str, code: str = "S72.301A") -> Ward:
        for at in dates:
            self.add("DiagnosisRecorded", patient, day(at), code=code, code_system="icd10cm")
        return self

    def unit(self, patient: str, start: datetime = START, **fields: Any) -> Ward:
        local = start + timedelta(hours=5, minutes=30)
        told = {
            "study_id": "iv_bisphosphonate",
            "site_id": "north",
            "unit_id": f"{patient}-{len(self.units)}",
            "patient_key": patient,
            "drug": "pamidronate",
            "indication_type": "primary",
            "started_at": start,
            "index_date": local.date(),
            "is_eligible": True,
            "record_started_at": day("2020-12-01"),
            "follow_up_ended_at": None,
        }
        self.units.append(told | fields)
        return self


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("iv_bisphosphonate")


@pytest.fixture
def ward() -> Ward:
    return Ward()


class Asked:
    """What the store says of the patients of a ward."""

    def __init__(self, con: duckdb.DuckDBPyConnection, study: Study) -> None:
        self.con, self.study, self.rows = con, study, Rows(con, ZONE, THROUGH)

    def density(self, patient: str = "p") -> tuple[Any, ...]:
        found = density_patients(self.rows, self.study).to_pylist()
        [row] = [one for one in found if one["patient_key"] == patient]
        return (row["status"], row["z_before"], row["z_after"], row["is_adjusted"])

    def fractures(self, patient: str = "p") -> tuple[int, ...]:
        found = fracture_patients(self.rows, self.study).to_pylist()
        [row] = [one for one in found if one["patient_key"] == patient]
        return (row["days_before"], row["n_before"], row["days_after"], row["n_after"])


@contextmanager
def ask(ward: Ward, study: Study) -> Iterator[Asked]:
    with store_of([make_batch("b", ward.events)]) as con:
        if ward.units:
            con.register("given", pa.Table.from_pylist(ward.units))
            con.execute("INSERT INTO linkage.course BY NAME SELECT * FROM given")
            con.unregister("given")
        yield Asked(con, study)


def density(ward: Ward, study: Study, **settings: int) -> tuple[Any, ...]:
    with ask(ward, changed(study, **settings)) as asked:
        return asked.density()


def fractures(ward: Ward, study: Study, **settings: int) -> tuple[int, ...]:
    with ask(ward, changed(study, **settings)) as asked:
        return asked.fractures()


def changed(study: Study, **settings: int) -> Study:
    told = study.model.effectiveness.model_copy(update=settings)
    return replace(study, model=study.model.model_copy(update={"effectiveness": told}))


# Bone density -----------------------------------------------------------------------------------


def test_the_baseline_is_the_last_scan_up_to_the_day_of_the_start(ward: Ward, study: Study) -> None:
    ward.unit("p").scan("p", "2021-10-01", -3.0).scan("p", "2022-03-01", -2.5)
    ward.scan("p", "2022-03-02", -9.0).scan("p", "2023-03-01", -2.0)
    assert density(ward, study) == ("compared", -2.5, -2.0, False)


def test_a_scan_older_than_the_baseline_may_be_is_none(ward: Ward, study: Study) -> None:
    # 2 September is 180 days before 1 March.
    ward.unit("p").scan("p", "2021-09-02", -3.0).scan("p", "2023-03-01", -2.0)
    assert density(ward, study)[:2] == ("compared", -3.0)
    assert density(ward, study, baseline_days=179)[:2] == ("no_before", None)


def test_the_follow_up_is_the_scan_nearest_to_a_year_later_and_the_earlier_of_two(
    ward: Ward, study: Study
) -> None:
    ward.unit("p").scan("p", "2022-02-01", -3.0)
    ward.scan("p", "2023-02-01", -2.9).scan("p", "2023-02-24", -2.8)  # 28 and 5 days too early
    ward.scan("p", "2023-03-06", -2.7).scan("p", "2023-06-01", -2.6)  # 5 and 92 days too late
    assert density(ward, study) == ("compared", -3.0, -2.8, False)


def test_a_scan_out_of_the_margin_is_no_follow_up(ward: Ward, study: Study) -> None:
    ward.unit("p").scan("p", "2022-02-01", -3.0).scan("p", "2023-05-30", -2.0)  # 90 days late
    assert density(ward, study)[:3] == ("compared", -3.0, -2.0)
    assert density(ward, study, follow_up_margin_days=89)[0] == "no_after"


def test_height_adjusted_scores_are_compared_only_with_their_like(ward: Ward, study: Study) -> None:
    ward.unit("p").unit("q").unit("r")
    for patient, first, then in (("p", -1.0, -0.5), ("q", -1.0, None), ("r", -1.0, -0.5)):
        z = None if patient == "r" else -2.0
        ward.scan(patient, "2022-02-01", z, height_adjusted_z_score=first)
        ward.scan(patient, "2023-03-01", -1.8, height_adjusted_z_score=then)
    ward.unit("s").scan("s", "2022-02-01", None, height_adjusted_z_score=-1.0)
    ward.scan("s", "2023-03-01", -1.8)
    with ask(ward, study) as asked:
        assert asked.density("p") == ("compared", -1.0, -0.5, True)
        assert asked.density("q") == ("compared", -2.0, -1.8, False)
        assert asked.density("r") == ("compared", -1.0, -0.5, True)
        assert asked.density("s")[0] == "measure_switch"


def test_a_window_that_a_nearer_scan_may_still_fall_into_is_open(ward: Ward, study: Study) -> None:
    # Scans are complete before 1 January 2026; the margin ends 455 days after the start.
    ward.unit("p", day("2024-10-03")).unit("q", day("2024-10-02"))
    for patient in ("p", "q"):
        ward.scan(patient, "2024-09-01", -3.0).scan(patient, "2025-10-01", -2.0)
    with ask(ward, study) as asked:
        assert asked.density("p")[0] == "open"
        assert asked.density("q")[0] == "compared"
        asked.rows = Rows(asked.con, ZONE, {})
        assert asked.density("q")[0] == "open"


def test_scans_of_other_sites_without_a_day_or_a_number_are_passed_over(
    ward: Ward, study: Study
) -> None:
    ward.unit("p").scan("p", "2022-02-01", -3.0).scan("p", "2023-03-01", -2.0)
    ward.scan("p", "2022-03-01", -9.0, time_precision="month")
    ward.scan("p", "2022-02-20", None, bmd_g_cm2=0.5)
    ward.scan("p", "2022-02-21", -9.0, code="38267-1")
    assert density(ward, study)[:3] == ("compared", -3.0, -2.0)


def test_before_and_after_are_counted_from_the_first_unit_and_only_if_it_counts(
    ward: Ward, study: Study
) -> None:
    later = START + timedelta(days=200)
    ward.unit("p").unit("p", later).unit("q", is_eligible=False).unit("q", later)
    ward.scan("p", "2022-02-01", -3.0).scan("p", "2023-03-01", -2.0)
    with ask(ward, study) as asked:
        assert asked.density("p")[0] == "compared"
        assert density_patients(asked.rows, study).num_rows == 1


# Fractures --------------------------------------------------------------------------------------


def test_person_years_leave_out_ninety_days_before_and_thirty_after(
    ward: Ward, study: Study
) -> None:
    # Record from 1 December 2020 (365 days to 1 December 2021, which is 90 days before the start);
    # from 31 March 2022 to 1 January 2026 are 1,372 days.
    ward.unit("p")
    ward.fracture("p", "2020-12-01", "2021-11-30")  # first and last day before
    ward.fracture("p", "2022-06-29", "2025-12-31")
    assert fractures(ward, study) == (365, 2, 1372, 2)


@pytest.mark.parametrize(
    "at", ["2020-11-30", "2021-12-01", "2022-03-01", "2022-03-30", "2026-01-01"]
)
def test_a_fracture_of_time_that_is_left_out_counts_on_no_side(
    ward: Ward, study: Study, at: str
) -> None:
    ward.unit("p").fracture("p", at)
    assert fractures(ward, study) == (365, 0, 1372, 0)


def test_codes_that_follow_each_other_closely_are_one_fracture_dated_by_the_first(
    ward: Ward, study: Study
) -> None:
    # 1 February to 1 May are 89 days, to 2 May 90, to 3 May 91.
    ward.unit("p").fracture("p", "2023-02-01", "2023-05-02", "2023-07-31", "2023-10-30")
    assert fractures(ward, study)[3] == 2
    assert fractures(ward, study, fracture_gap_days=91)[3] == 1


def test_a_fracture_that_goes_on_after_the_time_left_out_began_in_it(
    ward: Ward, study: Study
) -> None:
    ward.unit("p").fracture("p", "2022-02-20", "2022-05-01")
    assert fractures(ward, study) == (365, 0, 1372, 0)


def test_time_after_ends_with_follow_up(ward: Ward, study: Study) -> None:
    ward.unit("p", follow_up_ended_at=day("2022-04-10") + timedelta(hours=14))
    ward.fracture("p", "2022-04-09", "2022-07-20")
    assert fractures(ward, study) == (365, 0, 10, 1)


def test_a_record_that_begins_with_treatment_has_no_time_before(ward: Ward, study: Study) -> None:
    ward.unit("p", record_started_at=START).fracture("p", "2021-06-01")
    assert fractures(ward, study) == (0, 0, 1372, 0)


def test_where_nobody_says_up_to_when_diagnoses_are_complete_there_is_no_time_after(
    ward: Ward, study: Study
) -> None:
    ward.unit("p").fracture("p", "2023-01-01")
    with ask(ward, study) as asked:
        asked.rows = Rows(asked.con, ZONE, {})
        assert asked.fractures() == (365, 0, 0, 0)


# Estimates --------------------------------------------------------------------------------------


def test_the_table_of_nobody_is_empty_and_of_a_study_without_settings_too(
    ward: Ward, study: Study
) -> None:
    with ask(ward, study) as asked:
        assert effectiveness(asked.rows, study).num_rows == 0
    unset: dict[str, Any] = {"density_concept": None, "fracture_concepts": []}
    with ask(ward.unit("p"), study) as asked:
        assert effectiveness(asked.rows, study).num_rows == 6
        without = study.model.model_copy(
            update={"effectiveness": study.model.effectiveness.model_copy(update=unset)}
        )
        assert effectiveness(asked.rows, replace(study, model=without)).num_rows == 0


def test_the_order_of_arrival_changes_no_digit(ward: Ward, study: Study) -> None:
    rng = np.random.default_rng(2)
    for number in range(25):
        ward.unit(f"{number:03d}")
        for at in ("2022-02-01", "2023-03-01"):
            ward.scan(f"{number:03d}", at, float(rng.normal(-2, 1)))
    told: list[pa.Table] = []
    for _ in range(2):
        with ask(ward, study) as asked:
            told.append(effectiveness(asked.rows, study))
        ward.units.reverse()
        ward.events["BoneDensityMeasured"].reverse()
    assert told[0].num_rows == 6
    assert told[0].equals(told[1])


def test_dates_are_those_of_the_zone(ward: Ward, study: Study) -> None:
    # In the evening of 1 March UTC it is the morning of the second there: after the start.
    late = datetime.fromisoformat("2022-03-01T20:00")
    ward.unit("p").scan("p", "2022-02-01", -3.0).scan("p", "2023-03-01", -2.0)
    ward.add("BoneDensityMeasured", "p", late, code="85394-5", code_system="loinc",
             z_score=-9.0, time_precision="instant")  # fmt: skip
    assert density(ward, study)[:2] == ("compared", -3.0)
