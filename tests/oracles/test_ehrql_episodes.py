"""OpenSAFELY ehrQL: episodes are dates at most a gap apart, counted as its documentation does.

Dates "which are no more than the maximum gap apart" are one episode, chained from date to date; a
missing date is in none. Settings that state it: `same_episode_gap_hours = 72` for its three days,
and a window that holds every date, so that `n_events` is the number of episodes.
"""

from __future__ import annotations

import pytest

from tests.linkage_cases import Patient
from tests.oracles.kit import REPORT, bare_study, linked, rows_of, symptom, window

#: Its example of `count_episodes_for_patient(days(3))` and its specification's other patients:
#: dates (None: missing), and the number of episodes.
EXAMPLES: dict[str, tuple[tuple[str | None, ...], int]] = {
    "documented": (("2020-01-01", "2020-01-04", "2020-01-06", "2020-01-10", "2020-01-12"), 2),
    "one-date": (("2020-01-01",), 1),
    "no-date": ((None,), 0),
    "unsorted-with-missing": (("2020-01-10", None, None, "2020-01-01"), 2),
}


def patient_of(name: str, dates: tuple[str | None, ...], clock: str) -> Patient:
    patient = Patient(name).born("1970-01-01").infusion("2019-12-20", "2019-12-20")
    for one in dates:
        if one is None:
            patient.report(None, REPORT, time_precision=None)
        else:
            patient.report(one + clock, REPORT)
    return patient


@pytest.mark.parametrize("clock", ["", " 12:00"], ids=["dates", "noon"])
@pytest.mark.parametrize("resolution", ["day", "instant"])
def test_episodes_are_counted_as_ehrql_counts_them(resolution: str, clock: str) -> None:
    study = bare_study(resolution, [symptom("episodes", window=[window(0, 60)])])
    people = [patient_of(name, dates, clock) for name, (dates, _) in EXAMPLES.items()]
    result = linked(study, people)
    found = {name: rows_of(result, "episodes", {name})[0]["n_events"] for name in EXAMPLES}
    assert found == {name: count for name, (_, count) in EXAMPLES.items()}
