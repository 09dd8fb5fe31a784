"""The worked edges that the synthetic hospital plants: all of them, each with its own answer."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from pipelines.simulate import SimulateError, simulate
from pipelines.simulate.casework import CASES

#: First words of a row of the table of worked edges, and the cases that plant it.
PLANTED_BY = {
    "event exactly at": ("event exactly at lo", "event exactly at hi"),
    "reaction during": ("reaction during the infusion",),
    "day-precision fever": ("day-precision fever on the infusion date",),
    "pamidronate days": ("pamidronate days 1, 2, 3; fever day 2",),
    "second infusion 48 h": (
        "second infusion 48 h after the first, fever 12 h later",
        "second infusion 48 h after the first, fever 2 h before it",
        "second infusion 48 h after the first, calcium 20 min after it",
    ),
    "infusion 09:00": ("infusion 09:00, anaphylaxis 09:20, death 10:00",),
    "the same, 20 h ago": ("the same, 20 h ago, data_through today",),
    "09:00, stopped": ("09:00, stopped 09:30 for chills, restarted 12:30",),
    "fever 38.1": (
        "fever 38.1 on day -1, 38.3 on day +1",
        "fever 38.1 an hour before, 38.3 on day +1",
        "fever 38.1 on day -1, 40.2 on day +1",
    ),
    "calcium grade 1": (
        "calcium grade 1 before, 1 after",
        "calcium 9.0 before, 9.1 under a higher limit after",
        "calcium grade 1 before, 2 after",
    ),
    "calcium 8.0 mg/dL": ("calcium 8.0 mg/dL, limit 8.5", "calcium 2.0 mmol/L, limit 2.12"),
    "phosphate 0.62": ("phosphate 0.62 mmol/L", "phosphate 1.92 mg/dL"),
    "nadir grade 2": ("nadir grade 2 on day 3 after unit 1, next infusion day 85",),
    "before: Ca 8.3": (
        "before: Ca 8.3, albumin 2.9; after: Ca 8.3, no albumin",
        "before: Ca 8.3, albumin 2.9; after: Ca 7.8, no albumin",
    ),
    "ionised 1.20": ("ionised 1.20 at 2 h; total 6.8, albumin 4.2 at 48 h",),
    "home infusion": ("home infusion, no reading after",),
    "heart rate 150": ("heart rate 150 and 38 breaths twice within 10 min of cannulation, age 4",),
    # Of a whole feed, and so of a whole hospital: `simulate(silent_days=5)`.
    "laboratory feed silent": (),
    "infusion tonight": ("infusion tonight, its patient record tomorrow",),
    "lab corrected upward": (
        "calcium corrected upward next night",
        "infusion retracted after three nights",
    ),
}


def test_every_worked_edge_is_planted(shared_dir: Path) -> None:
    page = (shared_dir / "windows.md").read_text(encoding="utf-8").partition("## 12.")[2]
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    edges = [re.sub("`", "", row) for row in rows if row != "case"]
    met = {words: [edge for edge in edges if edge.startswith(words)] for words in PLANTED_BY}
    assert {words: len(found) for words, found in met.items()} == dict.fromkeys(PLANTED_BY, 1)
    assert len(edges) == len(PLANTED_BY)


def test_every_case_stands_for_a_worked_edge_and_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(name for cases in PLANTED_BY.values() for name in cases)
    assert len(set(names)) == len(names)


def test_the_worked_edges_come_on_top_and_only_where_asked(tmp_path: Path) -> None:
    without = simulate(5, "top", 4, 0.0, tmp_path / "without")
    with_cases = simulate(5, "top", 4, 0.0, tmp_path / "with", cases=3)
    assert with_cases.n_patients == without.n_patients + 3 * len(CASES)
    assert not (tmp_path / "without" / "truth" / "case.csv").exists()
    for name in ("unit", "unit_outcome", "unit_outcome_day"):
        lines = [
            (tmp_path / kind / "truth" / f"{name}.csv").read_text() for kind in ("without", "with")
        ]
        assert lines[1].startswith(lines[0])


def test_a_retracted_infusion_is_taken_back_by_the_third_night_after(tmp_path: Path) -> None:
    simulate(2, "taken back", 4, 0.0, tmp_path, cases=1)
    states = {}
    for night in range(1, 5):
        path = tmp_path / "deliveries" / f"night-{night:03d}" / "medications.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if int(row["patient_id"]) > 1_000_002 and row["version"] == "2":
                    states[night] = row["record_state"]
    assert states == {4: "deleted"}


def test_a_bulk_export_cannot_say_that_one_feed_is_silent(tmp_path: Path) -> None:
    with pytest.raises(SimulateError, match="all its types"):
        simulate(5, "x", 2, 0.0, tmp_path, form="fhir", silent_days=5)
