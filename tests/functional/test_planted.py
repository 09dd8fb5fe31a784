"""Linkage against what the synthetic hospital planted: precision and recall of every outcome."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.functional.planted import (
    RESOLUTIONS,
    Planted,
    arrive,
    assert_cases_as_planted,
    assert_linked_as_planted,
    assert_risks_as_planted,
    make,
)


def hospital(root: Path) -> Planted:
    return make(root, 60, 4, cases=2, silent_days=5, has_strata=True)


@pytest.fixture(scope="module")
def after_one_night(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = hospital(tmp_path_factory.mktemp("tonight"))
    arrive(made, 1)
    return made


@pytest.fixture(scope="module")
def tonight(after_one_night: Planted) -> dict[str, set[str]]:
    """Statuses of each case's patients after the first night."""
    names = {
        after_one_night.key_of(row["patient_id"]): row["name"]
        for row in after_one_night.truth("case")
    }
    found: dict[str, set[str]] = {}
    for row in after_one_night.linked("by_instant"):
        if row["patient_key"] in names:
            found.setdefault(names[row["patient_key"]], set()).add(row["status"])
    return found


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = hospital(tmp_path_factory.mktemp("planted"))
    arrive(made, 1, 2, 3, 4)
    return made


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_event_that_was_planted_is_linked_and_no_other(
    planted: Planted, resolution: str
) -> None:
    assert_linked_as_planted(planted, resolution, f"by_{resolution}")


def test_every_count_of_every_stratum_equals_the_truth(planted: Planted) -> None:
    assert_risks_as_planted(planted, "by_instant")


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_worked_edge_shows_what_was_typed_of_it(planted: Planted, resolution: str) -> None:
    assert_cases_as_planted(planted, resolution)


def test_a_stopped_infusion_and_its_restart_are_one_that_was_interrupted(planted: Planted) -> None:
    named = {row["patient_id"] for row in planted.truth("case") if "restarted" in row["name"]}
    for patient in named:
        [row] = planted.rows(
            """SELECT n_records, flags FROM linkage.infusion
               WHERE study_id = 'by_instant' AND patient_key = ?""",
            planted.key_of(patient),
        )
        assert row["n_records"] == 2
        assert "interrupted" in row["flags"]
    assert named


@pytest.mark.slow
def test_a_patient_whose_record_comes_tomorrow_is_unplaceable_tonight(
    tonight: dict[str, set[str]],
) -> None:
    assert tonight["infusion tonight, its patient record tomorrow"] == {"unplaceable"}


def test_a_laboratory_silent_for_days_holds_its_windows_open_and_no_others(
    planted: Planted,
) -> None:
    # That they are the right ones is the truth's to say; here, that the silence mattered.
    n_open = Counter(
        row["outcome"]
        for row in planted.linked("by_instant")
        if row["status"] in {"open", "open_event"} and row["window_name"] == "risk"
    )
    assert 0 < n_open["fever"] < n_open["hypophosphataemia"] == n_open["hypocalcaemia"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_precision_and_recall_are_one_over_ten_seeds_and_20000_patients(
    seed: int, tmp_path: Path
) -> None:
    made = make(tmp_path, 2000, 4, cases=10, seed=seed)
    arrive(made, 1, 2, 3, 4)
    for resolution in RESOLUTIONS:
        assert_linked_as_planted(made, resolution, f"by_{resolution}")
        assert_cases_as_planted(made, resolution)
