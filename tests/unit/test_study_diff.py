"""What differs between two definitions: each kind of difference is told once, in its own place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from studies.diff import Change, StudyDiff, diff_studies
from studies.load import HERE, Study, load_study


@pytest.fixture(scope="module")
def running() -> Study:
    return load_study("iv_bisphosphonate")


def edited(running: Study, tmp_path: Path, file: str, old: str, new: str) -> StudyDiff:
    """The difference that one edit of one file makes."""
    folder = tmp_path / "study"
    shutil.copytree(HERE / "iv_bisphosphonate", folder)
    path = folder / file
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        shutil.copy(HERE / file, path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return diff_studies(running, load_study(str(folder)))


def test_a_study_differs_from_itself_in_nothing(running: Study) -> None:
    assert diff_studies(running, running).is_empty


def test_a_setting_is_told_with_both_values(running: Study, tmp_path: Path) -> None:
    found = edited(running, tmp_path, "study.toml", "lookback_days = 365", "lookback_days = 30")
    assert found.settings == (Change("naive.lookback_days", "changed", 365.0, 30.0),)


def test_a_default_that_is_written_out_is_no_difference(running: Study, tmp_path: Path) -> None:
    assert edited(running, tmp_path, "study.toml", "lookback_days = 365", "").is_empty


def test_a_changed_window_is_no_other_setting(running: Study, tmp_path: Path) -> None:
    found = edited(
        running, tmp_path, "study.toml", "end_offset_hours = 336", "end_offset_hours = 240"
    )
    assert found.windows == (
        Change("outcome.hypocalcaemia.window.extended.end_offset_hours", "changed", 336.0, 240.0),
    )
    assert found.settings == ()
    assert not found.is_empty


def test_a_changed_pair_of_surveillance_is_named_by_what_it_watches(
    running: Study, tmp_path: Path
) -> None:
    found = edited(running, tmp_path, "study.toml", "alpha = 0.03", "alpha = 0.02")
    place = "surveillance.pair.any_side_effect/risk/bisphosphonate.alpha"
    assert found.settings == (Change(place, "changed", 0.03, 0.02),)


def test_a_published_number_that_differs_is_a_row_on_either_side(
    running: Study, tmp_path: Path
) -> None:
    found = edited(running, tmp_path, "published.csv", "0.27,0.265,0.275", "0.26,0.255,0.275")
    assert not found.is_empty
    assert [*found.settings, *found.windows, *found.limits] == []
    [added], [removed] = found.published.added, found.published.removed
    assert (removed["value"], added["value"]) == ("0.27", "0.26")


def test_an_outcome_more_or_less_is_one_change(running: Study, tmp_path: Path) -> None:
    text = (HERE / "iv_bisphosphonate" / "study.toml").read_text(encoding="utf-8")
    start = text.index('[[outcome]]\nname = "hypocalcaemia_grade1"')
    grade1 = text[start : text.index("[[outcome]]\n", start + 1)]
    found = edited(running, tmp_path, "study.toml", grade1, "")
    (gone,) = found.settings
    assert (gone.path, gone.kind, gone.new) == ("outcome.hypocalcaemia_grade1", "removed", None)
    assert found.windows == ()


def test_another_order_of_indications_is_told(running: Study, tmp_path: Path) -> None:
    first = '[[indication]]\ntype = "primary"\nconcepts = ["osteogenesis_imperfecta"]\n\n'
    second = '[[indication]]\ntype = "neuromuscular"\nconcepts = ["neuromuscular"]\n\n'
    found = edited(running, tmp_path, "study.toml", first + second, second + first)
    (moved,) = found.settings
    assert (moved.path, moved.kind) == ("indication", "moved")
    assert moved.new[:2] == ["neuromuscular", "primary"]


def test_codes_are_told_by_their_rows(running: Study, tmp_path: Path) -> None:
    row = next(line for line in _lines("codelists/diagnoses.csv") if ",M81.8," in line)
    found = edited(running, tmp_path, "codelists/diagnoses.csv", row + "\n", "")
    assert [one["code"] for one in found.codes.removed] == ["M81.8"]
    assert found.codes.added == ()


def test_another_label_is_no_other_code(running: Study, tmp_path: Path) -> None:
    row = next(line for line in _lines("codelists/diagnoses.csv") if ",M81.8," in line)
    relabelled = row.replace("other osteoporosis without fracture", "brittle bones")
    found = edited(running, tmp_path, "codelists/diagnoses.csv", row, relabelled)
    assert (found.codes.added, found.codes.removed, found.n_relabelled) == ((), (), 1)
    assert not found.is_empty


def test_a_table_of_limits_differs_by_its_rows(running: Study, tmp_path: Path) -> None:
    row = [line for line in _lines("../limits/pals_heart_rate.csv") if line[:1].isdigit()][-1]
    first, until, high, source = row.split(",", 3)
    other = f"{first},{until},{int(float(high)) + 1},{source}"
    found = edited(running, tmp_path, "limits/pals_heart_rate.csv", row, other)
    (table,) = found.limits
    assert table.table == "pals_heart_rate"
    assert [len(table.added), len(table.removed)] == [1, 1]


def _lines(name: str) -> list[str]:
    return (HERE / "iv_bisphosphonate" / name).resolve().read_text(encoding="utf-8").splitlines()
