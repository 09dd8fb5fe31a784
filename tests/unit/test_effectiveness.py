"""`signals.effectiveness`: each rule by a patient worked by hand, the sums against libraries."""

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
from scipy import stats

from pipelines.signals.comparison import FEW
from pipelines.signals.effectiveness import (
    LABEL,
    NO_VARIANCE,
    density_rows,
    fracture_rows,
    mean_changes,
    rate_ratios,
)
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


def test_the_mean_change_has_the_paired_t_interval_and_the_error_of_estimating_equations() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    before = rng.normal(-2.5, 0.8, 17)
    after = before + rng.normal(0.5, 0.4, 17)
    found = mean_changes(before, after)
    interval = stats.ttest_rel(after, before).confidence_interval()
    assert (found.low[0], found.high[0]) == pytest.approx(interval, rel=1e-12)
    long = np.concatenate([before, after])
    visit = np.column_stack([np.ones(34), np.repeat([0.0, 1.0], 17)])
    order = np.argsort(np.tile(np.arange(17), 2), kind="stable")
    gee = sm.GEE(
        long[order], visit[order], groups=np.repeat(np.arange(17), 2),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit()  # fmt: skip
    assert found.estimate[0] == pytest.approx(gee.params[1], rel=1e-9)
    assert found.error[0] == pytest.approx(gee.bse[1] * (17 / 16) ** 0.5, rel=1e-9)


def test_the_ratio_of_rates_has_the_error_of_a_poisson_regression_clustered_by_patient() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(9)
    t0, t1 = rng.uniform(0.5, 3, 40), rng.uniform(0.5, 6, 40)
    frailty = rng.gamma(1.5, 1 / 1.5, 40)
    e0, e1 = rng.poisson(0.8 * frailty * t0), rng.poisson(0.3 * frailty * t1)
    found = rate_ratios((e0, t0), (e1, t1))
    gee = sm.GEE(
        np.column_stack([e0, e1]).ravel(),
        np.column_stack([np.ones(80), np.tile([0.0, 1.0], 40)]),
        groups=np.repeat(np.arange(40), 2),
        offset=np.log(np.column_stack([t0, t1]).ravel()),
        family=sm.families.Poisson(),
        cov_struct=sm.cov_struct.Independence(),
    ).fit(ctol=1e-12)
    assert np.log(found.estimate[0]) == pytest.approx(gee.params[1], rel=1e-8)
    assert found.error[0] == pytest.approx(gee.bse[1] * (40 / 39) ** 0.5, rel=1e-8)
    assert found.low[0] < found.estimate[0] < found.high[0]
    assert LABEL in str(found)


def test_a_ratio_of_few_events_says_that_its_interval_may_be_too_narrow() -> None:
    years = np.full(9, 2.0)
    few, enough = np.array([1] * 3 + [0] * 6), np.array([1] * 6 + [0] * 3)
    found = rate_ratios((enough, years), (few, years))
    assert found.estimate[0] == pytest.approx(0.5)
    assert found.note[0] == FEW
    assert rate_ratios((enough, years), (enough[::-1], years)).note[0] is None


def patients(*rows: dict[str, Any]) -> pa.Table:
    key = {"site_id": "north", "drug": "a", "indication_type": "primary"}
    return pa.Table.from_pylist([key | row for row in rows])


def scans(n: int, **fields: Any) -> list[dict[str, Any]]:
    told = {"status": "compared", "z_before": -2.0, "z_after": -1.0, "is_adjusted": False}
    return [told | {"patient_key": str(number)} | fields for number in range(n)]


def test_too_few_patients_have_no_estimate_and_no_mean() -> None:
    table = density_rows(patients(*scans(4), *scans(1, drug="b")), "s", 5).to_pylist()
    whole, a, b, _ = table
    assert (whole["estimate"], whole["ci_low"], whole["note"]) == (1.0, None, NO_VARIANCE)
    for row, n in ((a, 4), (b, 1)):
        assert (row["stratum"], row["n_patients"]) == ("drug", n)
        assert {row[name] for name in ("estimate", "ci_low", "value_before", "value_after")} == {
            None
        }
        assert (row["note"] is not None, row["ci_method"]) == (True, "none")


def test_the_same_change_in_every_patient_has_no_limits() -> None:
    """One child broke a bone before and one after, nine did not: that is no certainty of 1."""
    told = {"days_before": 365, "days_after": 365, "n_before": 0, "n_after": 0}
    rows = patients({**told, "n_before": 1, "n_after": 1}, *[told] * 9)
    whole = fracture_rows(rows, "s", 5).to_pylist()[0]
    assert (whole["estimate"], whole["ci_low"], whole["ci_high"]) == (1.0, None, None)
    assert (whole["standard_error"], whole["ci_method"], whole["note"]) == (
        None, "none", NO_VARIANCE,
    )  # fmt: skip
    # Decimals that are the same change, but for what the computer loses of them.
    found = mean_changes([-2.1, -1.7, -0.3], [-2.0, -1.6, -0.2])
    assert str(found).startswith(f"0.1 (no limits: {NO_VARIANCE}), 3 patients")


def test_whoever_is_not_compared_is_counted_with_the_reason() -> None:
    told = [*scans(2, status="open"), *scans(3, status="no_before"), *scans(1, status="no_after")]
    whole = density_rows(patients(*told), "s", 2).to_pylist()[0]
    assert (whole["n_treated"], whole["n_patients"]) == (6, 0)
    assert [whole[f"n_{name}"] for name in ("open", "without_before", "without_after")] == [2, 3, 1]
    assert (whole["estimate"], whole["note"]) == (None, "no patient has a value before and after")


def test_without_fractures_on_a_side_there_are_rates_and_no_ratio() -> None:
    told = {"days_before": 1461, "days_after": 1461, "n_before": 1, "n_after": 0}
    whole = fracture_rows(patients(*[told] * 6), "s", 5).to_pylist()[0]
    assert (whole["value_before"], whole["value_after"], whole["estimate"]) == (0.25, 0.0, None)
    assert (whole["note"], whole["n_events_before"]) == ("no event after: no ratio", 6)
    assert whole["person_years_before"] == 24
    swapped = {"days_before": 9, "days_after": 9, "n_before": 0, "n_after": 0}
    never = fracture_rows(patients(*[swapped] * 6), "s", 5).to_pylist()[0]
    assert (never["estimate"], never["value_before"], never["value_after"]) == (None, None, None)
    assert never["note"] == "no event before or after: none, or none recorded"


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
