"""Clean windows, ends of events, time at risk, and events without a start.

Every expectation was counted by hand from docs/windows.md, sections 1 and 5.
"""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import Linked, Patient, link, utc
from tests.oracles.kit import REPORT, symptom

START = "2024-03-01 09:00"
HOUR = 1 / 24
TEN_DAYS = [{"end_anchor": "start", "end_offset_hours": 240}]
FEVER = {"label": "fever", "kind": "fever", "window": TEN_DAYS}


def study_of(resolution: str) -> Study:
    shipped = load_study("iv_bisphosphonate")
    before = {"name": "control", "start_offset_hours": -72, "end_anchor": "start",
              "end_offset_hours": 0}  # fmt: skip
    outcomes: list[dict[str, Any]] = [
        symptom("plain", window=[*TEN_DAYS, before]),
        symptom("clean", clean_window_days=5, window=TEN_DAYS),
        symptom("each", same_episode_gap_hours="none", window=TEN_DAYS),
        symptom("undated", missing_start="emergent"),
        symptom("undated_peak", missing_start="emergent", window=[{"name": "peak"}]),
        symptom("undated_merged", missing_start="emergent", overlap="merge", window=TEN_DAYS),
        FEVER | {"name": "fever_clean", "clean_window_days": 2, "min_grade": 2},
        FEVER | {"name": "fever_each", "same_episode_gap_hours": "none", "clean_window_days": 1},
        FEVER | {"name": "fever_undated", "missing_start": "emergent", "min_grade": 2,
                 "report_concepts": ["fever"]},
        {"name": "any", "label": "any", "kind": "composite", "of": [["undated"]]},
    ]  # fmt: skip
    model = StudyModel.model_validate(
        {
            "study": {"id": "clean", "title": "Clean", "version": "1",
                      "unit": "administration", "resolution": resolution},
            "drug": [{"name": "zol", "concept": "zoledronic_acid", "drug_class": "bis"}],
            "outcome": outcomes,
        }
    )  # fmt: skip
    return Study(model, shipped.codelist, {}, shipped.folder)


def infused(key: str) -> Patient:
    """Infused once on 1 March at 9:00, in a record that is older, and looked at afterwards."""
    patient = Patient(key).born("2016-01-01").encounter("2024-01-01 09:00", "2024-01-01 10:00")
    return patient.infusion(START).temperature("2024-03-03 09:00", 36.8)


def told(patient: Patient, start: str | None, end: str | None = None, **fields: Any) -> Patient:
    ended = {} if end is None else {"ended_at": utc(end)}
    coded = {"code": REPORT, "code_system": "icd10cm"}
    return patient.add("AdverseEventReported", start, **(coded | ended | fields))


def earlier(key: str, **fields: Any) -> Patient:
    """An event from 27 February 9:00 to 28 February 9:00: clean until 4 March 9:00."""
    return told(infused(key), "2024-02-27 09:00", "2024-02-28 09:00", **fields)


PATIENTS = [
    told(earlier("held"), "2024-03-03 10:00", "2024-03-03 10:00"),
    told(earlier("last-moment"), "2024-03-04 09:00", "2024-03-04 09:00"),
    told(earlier("moment-after"), "2024-03-04 09:00:01", "2024-03-04 09:00:01"),
    told(earlier("worse", grade=1), "2024-03-03 10:00", "2024-03-03 11:00", grade=2),
    told(earlier("as-bad", grade=2), "2024-03-03 10:00", "2024-03-03 11:00", grade=2),
    told(earlier("unknown-before"), "2024-03-03 10:00", "2024-03-03 11:00", grade=3),
    earlier("quiet"),
    told(infused("no-time"), "2024-01-05 09:00", "2024-03-08 09:00"),
    told(
        told(infused("twice"), "2024-03-02 09:00", "2024-03-02 09:00"),
        "2024-03-08 09:00",
        "2024-03-08 09:00",
    ),
    told(told(told(infused("thrice"), "2024-03-02 09:00"), "2024-03-02 09:00"), "2024-03-02 10:00"),
    # An end told as midnight is known by its day: 4 March is the last day that is kept clean.
    told(
        told(infused("end-by-day"), "2024-02-27 09:00", "2024-02-28"),
        "2024-03-04 20:00",
        "2024-03-04 20:00",
    ),
    told(
        told(infused("day-after"), "2024-02-27 09:00", "2024-02-28"),
        "2024-03-05 00:00",
        "2024-03-05 00:00",
    ),
    # Fever of grade 2 on 28 February at 9:00, over at 13:00: clean until 1 March at 13:00.
    infused("fever-over")
    .temperature("2024-02-28 09:00", 39.5)
    .temperature("2024-02-28 13:00", 37.9)
    .temperature("2024-03-03 09:01", 39.5),
    # Nobody measured: over after 72 h, on 2 March at 9:00; clean until 4 March at 9:00.
    infused("fever-unmeasured")
    .temperature("2024-02-28 09:00", 39.5)
    .temperature("2024-03-03 09:01", 39.5),
    infused("fever-slight")
    .temperature("2024-02-28 09:00", 38.5)
    .temperature("2024-03-03 09:01", 39.5),
    infused("fever-again")
    .temperature("2024-03-02 09:00", 38.5)
    .temperature("2024-03-02 12:00", 38.5)
    .temperature("2024-03-05 09:00", 38.5),
    Patient("new-record").born("2016-01-01").infusion(START),
    told(infused("undated"), None),
    told(infused("ended-before"), None, "2024-03-01 08:59"),
    told(infused("ended-at-start"), None, START),
    told(infused("ended-that-day"), None, "2024-03-01"),
    told(infused("two-units").infusion("2024-03-05 09:00"), None, "2024-03-05 12:00"),
    told(infused("first-of-two").infusion("2024-03-05 09:00"), None),
    told(infused("by-month"), "2024-03-01 09:00", time_precision="month"),
    told(told(infused("both"), None), "2024-03-02 09:00"),
    told(infused("slight-fever"), None, code="R50.9", grade=1),
    infused("fever-code").add("DiagnosisRecorded", code="R50.9", code_system="icd10cm"),
]


@pytest.fixture(scope="module")
def hours() -> Linked:
    return link(PATIENTS, study_of("instant"))


def statuses(linked: Linked, outcome: str, *keys: str) -> list[str]:
    return [linked.of(key, outcome)["status"] for key in keys]


def test_an_event_within_the_clean_window_of_an_earlier_one_is_not_incident(hours: Linked) -> None:
    row = hours.of("held", "clean")
    assert (row["status"], row["n_events"], row["n_events_uncleaned"]) == ("no_event", 0, 1)
    assert (row["is_pre_existing"], row["flags"]) == (False, ["in_clean_window"])
    # It keeps the window clean all the same, until 8 March 10:00.
    assert row["at_risk_days"] == pytest.approx(2 + 23 * HOUR)
    assert row["at_risk_days_uncleaned"] == 10
    [evidence] = [
        one
        for one in hours.evidence
        if (one["unit_id"], one["outcome"], one["role"]) == (row["unit_id"], "clean", "event")
    ]
    assert (evidence["is_counted"], evidence["reason"]) == (False, "in_clean_window")
    assert hours.of("held", "plain")["status"] == "event"


def test_the_last_moment_of_a_clean_window_belongs_to_it(hours: Linked) -> None:
    assert statuses(hours, "clean", "last-moment", "moment-after") == ["no_event", "event"]
    assert hours.of("moment-after", "clean")["person_days"] == pytest.approx(1 / 86400)


def test_an_event_worse_than_all_that_keep_it_clean_counts(hours: Linked) -> None:
    worse = hours.of("worse", "clean")
    assert (worse["status"], worse["is_worsened"], worse["grade"]) == ("event", True, 2)
    assert worse["person_days"] == 0
    assert worse["at_risk_days"] == pytest.approx(2 + 22 * HOUR)
    assert statuses(hours, "clean", "as-bad", "unknown-before") == ["no_event", "no_event"]


def test_what_a_clean_window_takes_is_not_at_risk(hours: Linked) -> None:
    row = hours.of("quiet", "clean")
    assert (row["status"], row["is_at_risk"]) == ("no_event", True)
    assert (row["at_risk_days"], row["person_days"], row["at_risk_days_uncleaned"]) == (7, 7, 10)


def test_a_unit_without_any_time_left_is_not_at_risk(hours: Linked) -> None:
    row = hours.of("no-time", "clean")
    assert (row["status"], row["is_at_risk"], row["at_risk_days"]) == ("not_at_risk", False, 0)
    assert hours.of("no-time", "plain")["status"] != "not_at_risk"


def test_person_time_ends_with_the_first_event_and_time_at_risk_with_the_cut(hours: Linked) -> None:
    clean = hours.of("twice", "clean")
    assert (clean["n_events"], clean["person_days"], clean["at_risk_days"]) == (2, 1, 2)
    plain = hours.of("twice", "plain")
    assert (plain["n_events"], plain["person_days"], plain["at_risk_days"]) == (2, 1, 10)


def test_without_a_gap_every_record_is_an_event(hours: Linked) -> None:
    assert hours.of("thrice", "each")["n_events"] == 3
    assert hours.of("thrice", "plain")["n_events"] == 1
    row = hours.of("fever-again", "fever_each")
    assert (row["n_events"], row["n_events_uncleaned"]) == (2, 3)
    # 27 h after the first two readings and 24 h after the third are lost.
    assert row["at_risk_days"] == pytest.approx(10 - 51 * HOUR)


def test_an_end_told_as_midnight_keeps_whole_days_clean(hours: Linked) -> None:
    assert statuses(hours, "clean", "end-by-day", "day-after") == ["no_event", "event"]
    assert hours.of("day-after", "clean")["person_days"] == 0


def test_a_fever_ends_with_the_first_later_reading_below_38_or_after_the_gap(
    hours: Linked,
) -> None:
    assert statuses(hours, "fever_clean", "fever-over", "fever-unmeasured") == ["event", "no_event"]
    assert hours.of("fever-over", "fever_clean")["person_days"] == pytest.approx(
        2 + HOUR / 60 - 4 * HOUR
    )


def test_a_fever_below_the_outcomes_grade_keeps_nothing_clean(hours: Linked) -> None:
    assert statuses(hours, "fever_clean", "fever-slight") == ["event"]


def test_time_before_the_record_is_not_at_risk(hours: Linked) -> None:
    assert hours.of("new-record", "plain", window="control")["status"] == "not_at_risk"
    assert hours.of("twice", "plain", window="control")["at_risk_days"] == 3


def test_a_report_without_a_start_is_an_event_without_an_onset(hours: Linked) -> None:
    row = hours.of("undated", "undated")
    assert (row["status"], row["flags"], row["n_events"]) == ("event", ["missing_start"], 1)
    assert row["onset_at"] is row["onset_hours"] is row["n_candidate_units"] is None
    assert (row["person_days"], row["is_worsened"]) == (3, False)
    [evidence] = [
        one
        for one in hours.evidence
        if (one["unit_id"], one["outcome"]) == (row["unit_id"], "undated")
    ]
    assert (evidence["rule"], evidence["is_counted"]) == ("report without a start", True)
    assert hours.of("undated", "any")["status"] == "event"
    assert hours.of("undated", "plain")["status"] == "no_event"


def test_it_is_none_where_it_ended_before_the_first_infusion(hours: Linked) -> None:
    keys = ("ended-before", "ended-at-start", "ended-that-day", "by-month")
    assert statuses(hours, "undated", *keys) == ["no_event", "event", "event", "no_event"]


def test_it_belongs_to_the_latest_unit_at_its_end_or_to_the_first(hours: Linked) -> None:
    found = {
        key: [hours.of(key, "undated", unit)["status"] for unit in (1, 2)]
        for key in ("two-units", "first-of-two")
    }
    assert found == {"two-units": ["no_event", "event"], "first-of-two": ["event", "unobserved"]}
    merged = [hours.of("two-units", "undated_merged", unit)["status"] for unit in (1, 2)]
    assert merged == ["event", "merged"]


def test_it_enters_the_first_window_where_none_is_called_risk(hours: Linked) -> None:
    assert hours.of("undated", "undated_peak", window="peak")["status"] == "event"


def test_an_event_with_an_onset_beside_it_tells_the_onset(hours: Linked) -> None:
    row = hours.of("both", "undated")
    assert (row["onset_hours"], row["n_events"], row["person_days"]) == (24, 2, 1)
    assert "missing_start" in row["flags"]


def test_a_grade_below_the_outcomes_does_not_count_and_a_missing_one_does(hours: Linked) -> None:
    assert statuses(hours, "fever_undated", "slight-fever", "fever-code") == ["no_event", "event"]


def test_only_what_no_outcome_took_is_counted_as_never_linked(hours: Linked) -> None:
    [n] = [
        row[-1]
        for row in hours.attrition
        if row[3] == "never linked, no day known: AdverseEventReported"
    ]
    assert n == 2  # ended-before and by-month


@pytest.fixture(scope="module")
def days() -> Linked:
    patients = [
        told(earlier("held"), "2024-03-04 23:00", "2024-03-04 23:30"),
        told(earlier("day-after"), "2024-03-05 00:30", "2024-03-05 00:30"),
        told(infused("third-day"), "2024-03-03 23:00"),
        told(infused("no-time"), "2024-01-05 09:00", "2024-03-08 09:00"),
        infused("fever-same-date")
        .temperature("2024-02-28 09:00", 39.5)
        .temperature("2024-02-28 13:00", 37.9)
        .temperature("2024-03-03 09:00", 39.5),
        infused("fever-next-date")
        .temperature("2024-02-28 09:00", 39.5)
        .temperature("2024-02-29 01:00", 37.9)
        .temperature("2024-03-03 09:00", 39.5),
        told(infused("ended-that-date"), None, "2024-03-01 08:00"),
    ]
    return link(patients, study_of("day"))


def test_by_days_a_clean_window_ends_with_a_day(days: Linked) -> None:
    assert statuses(days, "clean", "held", "day-after") == ["no_event", "event"]
    # The fifth, the day of the event; and the eleventh, after its own clean window.
    row = days.of("day-after", "clean")
    assert (row["person_days"], row["at_risk_days"], row["at_risk_days_uncleaned"]) == (1, 2, 11)
    assert statuses(days, "clean", "no-time") == ["not_at_risk"]


def test_by_days_the_day_of_the_event_is_at_risk(days: Linked) -> None:
    row = days.of("third-day", "plain")
    assert (row["person_days"], row["at_risk_days"]) == (3, 11)


def test_by_days_a_later_reading_is_one_of_a_later_date(days: Linked) -> None:
    keys = ("fever-same-date", "fever-next-date")
    assert statuses(days, "fever_clean", *keys) == ["no_event", "event"]


def test_by_days_an_end_on_the_date_of_the_infusion_is_not_before_it(days: Linked) -> None:
    assert statuses(days, "undated", "ended-that-date") == ["event"]
