"""Who owns what falls into two windows: the worked cases of `overlap`, one study a resolution.

Every expectation was counted by hand from docs/windows.md, sections 3 and 4. The same report is
read by one outcome for each setting, so that one patient shows them all.
"""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.signals.counts import KEY_COLUMNS, SUM_COLUMNS
from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import Linked, Patient, link
from tests.oracles.kit import DRUGS, REPORT, symptom

#: Zoledronic acid and pamidronate, here of two classes.
BIS, OTHER = DRUGS
HOUR = 1 / 24
WINDOWS = [
    {"name": "risk", "end_offset_hours": 24},
    {"name": "control", "start_offset_hours": -72, "end_anchor": "start", "end_offset_hours": 0},
]


def study_of(resolution: str) -> Study:
    shipped = load_study("iv_bisphosphonate")
    outcomes: list[dict[str, Any]] = [
        symptom(how + across, overlap=how, overlap_across_classes=bool(across))
        for how in ("latest", "all", "merge")
        for across in ("", "_across")
    ]
    outcomes.append(symptom("around", overlap="merge", window=WINDOWS))
    outcomes.append(
        {"name": "either", "label": "either", "kind": "composite", "of": [["merge"]],
         "overlap": "merge"}
    )  # fmt: skip
    calcium = {"label": "low", "kind": "threshold", "concept": "calcium_total", "operator": "<",
               "value": 8, "unit": "mg/dL"}  # fmt: skip
    outcomes += [
        calcium | {"name": "low"},
        calcium | {"name": "low_across", "overlap_across_classes": True},
        calcium | {"name": "low_around", "overlap": "merge", "window": WINDOWS},
    ]
    model = StudyModel.model_validate(
        {
            "study": {"id": "overlap", "title": "Overlap", "version": "1",
                      "unit": "administration", "resolution": resolution},
            "eligibility": {"max_age_years": 8},
            "drug": [
                {"name": "zol", "concept": "zoledronic_acid", "drug_class": "bis"},
                {"name": "pam", "concept": "pamidronate", "drug_class": "other"},
            ],
            "outcome": outcomes,
        }
    )  # fmt: skip
    return Study(model, shipped.codelist, {}, shipped.folder)


def child(key: str, born: str = "2020-01-01") -> Patient:
    """A child whose record begins long before any infusion."""
    return Patient(key).born(born).encounter("2024-01-01 09:00", "2024-01-01 10:00")


def half_hour(patient: Patient, start: str, code: str = BIS) -> Patient:
    return patient.infusion(start, f"{start[:14]}30", code=code)


def twice(key: str, second: str = "2024-03-03 09:00", code: str = BIS) -> Patient:
    """Infused on 1 March from 9:00 to 9:30, and again for half an hour."""
    return half_hour(half_hour(child(key), "2024-03-01 09:00"), second, code)


def row(linked: Linked, key: str, outcome: str, nth: int, name: str = "risk") -> dict[str, Any]:
    """The row of a patient's nth unit, in the order of starts (equal starts: of ends)."""
    units = sorted(
        (unit for unit in linked.units if unit["patient_key"] == key),
        key=lambda unit: (unit["started_at"], unit["ended_at"]),
    )
    [found] = [
        one
        for one in linked.outcomes
        if (one["unit_id"], one["outcome"], one["window_name"])
        == (units[nth - 1]["unit_id"], outcome, name)
    ]
    return found


@pytest.fixture(scope="module")
def hours() -> Linked:
    patients = [
        twice("two").report("2024-03-03 21:00", REPORT),
        # 72 h after 9:30 is 9:30: the windows touch.
        child("touch").infusion("2024-03-01 09:00", "2024-03-01 09:30")
        .infusion("2024-03-04 09:30", "2024-03-04 10:00").report("2024-03-04 09:30", REPORT),
        twice("share", "2024-03-04 09:00").report("2024-03-04 09:30", REPORT),
        half_hour(child("tie"), "2024-03-01 09:00").infusion(
            "2024-03-01 09:00", "2024-03-01 10:00", code=OTHER
        ).report("2024-03-01 12:00", REPORT),
        twice("classes", "2024-03-02 09:00", OTHER).report("2024-03-02 12:00", REPORT),
        half_hour(twice("three"), "2024-03-05 09:00").report("2024-03-07 12:00", REPORT),
        twice("old-enough", "2024-03-02 09:00").report("2024-03-02 12:00", REPORT),
        half_hour(child("grown", "2016-03-02"), "2024-03-01 09:00").infusion("2024-03-02 09:00")
        .report("2024-03-02 12:00", REPORT),
        child("by-day").infusion("2024-03-01").infusion("2024-03-03 10:00")
        .infusion("2024-06-01 10:00").report("2024-03-05 12:00", REPORT),
        twice("next-day").report("2024-03-03", REPORT),
        twice("lost-control").report("2024-03-02 12:00", REPORT),
        twice("in-risk").report("2024-03-01 12:00", REPORT),
        twice("from-risk").report("2024-03-01 12:00", REPORT).report("2024-03-03 00:00", REPORT),
        twice("lab-control").calcium("2024-03-01 12:00", 7.0).calcium("2024-03-02 12:00", 7.5),
        twice("lab-lost").calcium("2024-03-01 12:00", 7.0),
        half_hour(half_hour(child("nadir"), "2024-03-01 09:00", OTHER), "2024-03-05 09:00")
        .calcium("2024-03-02 09:00", 7.0).calcium("2024-03-06 09:00", 7.0),
        half_hour(child("look"), "2024-03-01 09:00").infusion("2024-03-02 09:00")
        .temperature("2024-03-01 20:00", 36.6),
    ]  # fmt: skip
    return link(patients, study_of("instant"))


def test_the_latest_index_owns_the_event_and_cuts_the_window_before_it(hours: Linked) -> None:
    first, second = (row(hours, "two", "latest", nth) for nth in (1, 2))
    assert (first["status"], first["cut_reason"]) == ("censored", "next_unit")
    assert first["person_days"] == 2
    assert (second["status"], second["onset_hours"]) == ("event", 12)


def test_all_windows_that_hold_an_event_own_it(hours: Linked) -> None:
    first, second = (row(hours, "two", "all", nth) for nth in (1, 2))
    assert (first["status"], first["onset_hours"], first["cut_reason"]) == ("event", 60, None)
    assert (second["status"], second["onset_hours"]) == ("event", 12)


def test_merged_windows_are_one_of_the_first_unit_and_count_the_event_once(hours: Linked) -> None:
    first, second = (row(hours, "two", "merge", nth) for nth in (1, 2))
    assert (first["status"], first["onset_hours"]) == ("event", 60)
    assert first["person_days"] == 2.5
    assert first["at_risk_days"] == pytest.approx(5 + 0.5 * HOUR)
    assert first["window_end_at"] == second["window_end_at"]
    assert (second["status"], second["person_days"], second["n_events"]) == ("merged", 0, 0)
    composites = [row(hours, "two", "either", nth)["status"] for nth in (1, 2)]
    assert composites == ["event", "merged"]


def test_three_windows_of_which_each_meets_the_next_are_one(hours: Linked) -> None:
    assert [row(hours, "three", "merge", nth)["status"] for nth in (1, 2, 3)] == [
        "event", "merged", "merged",
    ]  # fmt: skip


@pytest.mark.parametrize("outcome", ["latest", "all", "merge"])
def test_candidate_units_are_the_same_whoever_owns_the_event(hours: Linked, outcome: str) -> None:
    found = [row(hours, "two", outcome, nth) for nth in (1, 2)]
    counts = {one["n_candidate_units"] for one in found if one["status"] == "event"}
    assert counts == {2}


def test_windows_that_touch_stay_two_and_an_hour_in_common_makes_them_one(hours: Linked) -> None:
    touch = [row(hours, "touch", "merge", nth)["status"] for nth in (1, 2)]
    assert touch == ["unobserved", "event"]
    assert [row(hours, "share", "merge", nth)["status"] for nth in (1, 2)] == ["event", "merged"]


def test_equal_starts_are_a_tie_unless_windows_merge_or_classes_are_apart(hours: Linked) -> None:
    found = {
        outcome: [
            (one["status"], "tie" in one["flags"])
            for one in (row(hours, "tie", outcome, 1), row(hours, "tie", outcome, 2))
        ]
        for outcome in ("latest", "latest_across", "all_across", "merge_across")
    }
    assert found == {
        "latest": [("event", False), ("event", False)],
        "latest_across": [("not_at_risk", True), ("event", False)],
        "all_across": [("event", True), ("event", False)],
        "merge_across": [("event", False), ("merged", False)],
    }


def test_classes_compete_only_where_the_outcome_says_so(hours: Linked) -> None:
    found = {
        how + across: [
            (row(hours, "classes", how + across, nth)["status"],
             row(hours, "classes", how + across, nth)["n_candidate_units"])
            for nth in (1, 2)
        ]
        for how in ("latest", "all", "merge")
        for across in ("", "_across")
    }  # fmt: skip
    apart, none = [("event", 1), ("event", 1)], None
    assert found == {
        "latest": apart,
        "all": apart,
        "merge": apart,
        "latest_across": [("censored", none), ("event", 2)],
        "all_across": [("event", 2), ("event", 2)],
        "merge_across": [("event", 2), ("merged", none)],
    }


def test_only_eligible_units_merge(hours: Linked) -> None:
    assert [row(hours, "old-enough", "merge", nth)["status"] for nth in (1, 2)] == [
        "event", "merged",
    ]  # fmt: skip
    first, second = (row(hours, "grown", "merge", nth) for nth in (1, 2))
    assert (first["status"], second["status"]) == ("event", "ineligible")
    assert first["at_risk_days"] == pytest.approx(3 + 0.5 * HOUR)


def test_units_that_may_merge_are_placed_by_days_where_one_is_known_by_its_day(
    hours: Linked,
) -> None:
    found = [row(hours, "by-day", "merge", nth) for nth in (1, 2, 3)]
    assert [one["status"] for one in found] == ["event", "merged", "unobserved"]
    assert all("day_resolution" in one["flags"] for one in found)
    # 1 to 6 March; the event's own day, the fifth, is at risk.
    assert (found[0]["at_risk_days"], found[0]["person_days"]) == (6, 5)
    assert "day_resolution" not in row(hours, "by-day", "latest", 2)["flags"]


def test_a_day_that_is_the_next_index_belongs_to_both_where_all_own(hours: Linked) -> None:
    found = {how: [row(hours, "next-day", how, nth) for nth in (1, 2)] for how in ("latest", "all")}
    assert [one["status"] for one in found["latest"]] == ["censored", "event"]
    assert [one["status"] for one in found["all"]] == ["event", "event"]
    assert found["latest"][1]["n_candidate_units"] == 2
    assert [one["n_candidate_units"] for one in found["all"]] == [2, 2]


def test_a_merged_control_window_loses_the_time_and_events_of_risk_windows(hours: Linked) -> None:
    # Controls of both, 27 February 9:00 to 3 March 9:00, without 1 March 9:00 to 2 March 9:30.
    held = row(hours, "lost-control", "around", 1, "control")
    assert held["at_risk_days"] == pytest.approx(5 - 24.5 * HOUR)
    assert held["status"] == "event"
    # Three days before the first infusion, and 9:30 to 12:00 on 2 March.
    assert held["person_days"] == pytest.approx(3 + 2.5 * HOUR)
    assert row(hours, "lost-control", "around", 2, "control")["status"] == "merged"
    for key in ("in-risk", "from-risk"):
        assert row(hours, key, "around", 1, "risk")["n_events"] == 1
        assert row(hours, key, "around", 1, "control")["n_events"] == 0
    assert row(hours, "from-risk", "around", 1, "control")["is_pre_existing"]


def test_a_merged_control_window_loses_results_of_risk_windows_too(hours: Linked) -> None:
    held = row(hours, "lab-control", "low_around", 1, "control")
    assert (held["status"], held["worst_value"]) == ("event", 7.5)
    assert row(hours, "lab-lost", "low_around", 1, "control")["status"] == "untested"
    assert row(hours, "lab-lost", "low_around", 1, "risk")["status"] == "event"


def test_a_unit_of_another_class_spoils_a_baseline_only_across_classes(hours: Linked) -> None:
    apart, across = (row(hours, "nadir", outcome, 2) for outcome in ("low", "low_across"))
    assert (apart["status"], apart["is_pre_existing"]) == ("no_event", True)
    assert (across["status"], across["has_baseline"]) == ("event", False)


def test_a_merged_window_is_observed_after_the_last_of_its_infusions(hours: Linked) -> None:
    assert row(hours, "look", "all", 1)["status"] == "no_event"
    assert row(hours, "look", "merge", 1)["status"] == "unobserved"


def test_merged_units_are_in_no_denominator(hours: Linked) -> None:
    columns = (*KEY_COLUMNS, *SUM_COLUMNS)
    counts = [dict(zip(columns, values, strict=True)) for values in hours.counts]
    [everybody] = [
        one
        for one in counts
        if (one["outcome"], one["stratum"], one["denominator"]) == ("merge_across", "all", "all")
    ]
    statuses = [o["status"] for o in hours.outcomes if o["outcome"] == "merge_across"]
    assert statuses.count("merged") > 0
    left = len(statuses) - statuses.count("merged") - statuses.count("ineligible")
    assert everybody["n_units"] == everybody["n_closed_units"] == left
    assert everybody["n_open"] == everybody["n_not_at_risk"] == 0


@pytest.fixture(scope="module")
def days() -> Linked:
    patients = [
        child("touch").infusion("2024-03-01 09:00").infusion("2024-03-05 09:00")
        .report("2024-03-05 20:00", REPORT),
        child("share").infusion("2024-03-01 09:00").infusion("2024-03-04 20:00")
        .report("2024-03-07 23:59", REPORT),
        child("one-date").infusion("2024-03-01 09:00").infusion("2024-03-01 15:00")
        .report("2024-03-02 20:00", REPORT),
        child("next-date").infusion("2024-03-01 09:00").infusion("2024-03-03 15:00")
        .report("2024-03-03 20:00", REPORT),
    ]  # fmt: skip
    return link(patients, study_of("day"))


def test_by_days_windows_merge_where_they_share_a_day(days: Linked) -> None:
    assert [row(days, "touch", "merge", nth)["status"] for nth in (1, 2)] == [
        "unobserved", "event",
    ]  # fmt: skip
    first, second = (row(days, "share", "merge", nth) for nth in (1, 2))
    assert (first["status"], second["status"]) == ("event", "merged")
    assert (first["at_risk_days"], first["person_days"]) == (7, 7)


def test_by_days_a_unit_is_superseded_only_where_the_latest_owns(days: Linked) -> None:
    statuses = {
        how: [row(days, "one-date", how, nth)["status"] for nth in (1, 2)]
        for how in ("latest", "all", "merge")
    }
    assert statuses == {
        "latest": ["superseded_same_day", "event"],
        "all": ["event", "event"],
        "merge": ["event", "merged"],
    }


def test_by_days_the_next_date_may_belong_to_both_where_all_own(days: Linked) -> None:
    latest = [row(days, "next-date", "latest", nth)["status"] for nth in (1, 2)]
    assert latest == ["censored", "event"]
    assert [row(days, "next-date", "all", nth)["status"] for nth in (1, 2)] == ["event", "event"]
