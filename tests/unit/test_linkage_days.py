"""Windows of days, days that are all that is known, and hours where the clock changes."""

from __future__ import annotations

from studies.load import load_study
from tests.edge_kit import END, START
from tests.linkage_cases import child, link, utc, with_settings


def test_in_day_resolution_windows_are_closed_and_days_are_counted_by_ceiling() -> None:
    study = with_settings(load_study("iv_bisphosphonate"), study={"resolution": "day"})
    cases = {
        # The infusion is at 9:00: by the hour, what was there before is no consequence of it.
        "hour-before": ("2024-03-01 08:00", "no_event"),
        "day-0": ("2024-03-01 10:00", "event"),
        "day-3": ("2024-03-04 23:59", "event"),
        "day-4": ("2024-03-05 00:00", "no_event"),
        "day-before": ("2024-02-29 23:59", "no_event"),
    }
    patients = [
        child(key).infusion(START, END).report(at, "R51.9").temperature("2024-03-03 09:00", 36.6)
        for key, (at, _) in cases.items()
    ]
    linked = link(patients, study)
    found = {key: linked.of(key, "headache")["status"] for key in cases}
    assert found == {key: status for key, (_, status) in cases.items()}


def test_two_units_on_one_date_in_day_resolution_leave_the_later_one() -> None:
    study = with_settings(load_study("iv_bisphosphonate"), study={"resolution": "day"})
    patient = child("same-date").infusion("2024-03-01 09:00").infusion("2024-03-01 15:00")
    linked = link([patient], study)
    assert linked.of("same-date", "fever", 1)["status"] == "superseded_same_day"
    assert linked.of("same-date", "fever", 2)["status"] == "unobserved"


def test_an_infusion_known_by_its_day_is_linked_by_days_and_flagged() -> None:
    patient = child("day-index").infusion("2024-03-01").temperature("2024-03-04 23:00", 38.5)
    row = link([patient]).of("day-index", "fever")
    assert (row["status"], row["onset_hours"]) == ("event", None)
    assert "day_resolution" in row["flags"]


def test_a_day_that_is_the_next_index_belongs_to_the_next_unit() -> None:
    patient = (
        child("shared-day")
        .infusion("2024-03-01 09:00", "2024-03-01 09:30")
        .infusion("2024-03-03 09:00", "2024-03-03 09:30")
        .report("2024-03-03", "R51.9")
    )
    linked = link([patient])
    assert linked.of("shared-day", "headache", 1)["status"] == "censored"
    assert linked.of("shared-day", "headache", 2)["status"] == "event"


def test_daylight_saving_shifts_no_hour_of_a_window() -> None:
    # Clocks go back in Adelaide on 2024-04-07 at 03:00: 72 hours end an hour earlier by the wall.
    patient = child("dst").infusion("2024-04-05 09:00").temperature("2024-04-08 08:30", 38.5)
    row = link([patient]).of("dst", "fever")
    assert (row["status"], row["window_end_at"]) == ("unobserved", utc("2024-04-08 08:00"))
    assert (row["window_end_at"] - row["window_start_at"]).total_seconds() == 72 * 3600


def test_days_in_record_are_local_dates_since_the_first_administration() -> None:
    # Half an hour before and after midnight in Adelaide, a day apart in UTC; then clocks change.
    patient = (
        child("days")
        .infusion("2024-04-04 23:30", "2024-04-04 23:40")
        .infusion("2024-04-06 00:30", "2024-04-06 00:40")
        .infusion("2024-07-01 09:00", code="11473")
        .infusion("2024-07-02 09:00", code="11473")
    )
    linked = link([patient])
    assert [unit["day_in_record"] for unit in linked.units_of("days")] == [0, 2, 88]
    assert sorted(one["day_in_record"] for one in linked.infusions) == [0, 2, 88, 89]
