"""A study folder is checked whole, and every mistake is named with its place and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import ConfigError
from studies.load import HERE, load_study, shipped_studies
from tests.study_kit import SHIPPED, folder, line_of

__all__ = ["folder"]


#: What is changed in study.toml, and what the message must say beside the changed line.
MISTAKES = [
    ('unit = "course"  ', 'unit = "corse"  ', "study.unit"),
    ('resolution = "instant"', 'resolutoin = "instant"', "unknown key"),
    ("course_gap_hours = 96", "course_gap_hours = -96", "greater than or equal to 0"),
    ('kind = "fever"', 'kind = "fevver"', "outcome #1"),
    ("min_grade = 2", "min_grade = 7", "less than or equal to 4"),
    ("until_months = 72", "until_months = 71", "without gap or overlap"),
    ("until_months = 24", "until_months = 0", "strata"),
    ('["indication_type", "ordinal"]]', '["colour", "ordinal"]]', "no stratum 'colour'"),
    ('of = [["fever"], ["acute_phase_symptoms"]]', 'of = [["feever"]]', "defined above it"),
    ("at_least = 2", "at_least = 9", "more groups than it has"),
    ('name = "chills"\nlabel', 'name = "headache"\nlabel', "two outcomes are called"),
    ('label = "Chills"', 'label = "Chills"\ndrug_classes = ["opioid"]', "without a drug"),
    (
        'of = [["fever"], ["acute_phase_symptoms"]]',
        'of = [["fever"]]\n\n[[outcome.window]]\nname = "peak"\nend_offset_hours = 24',
        "lacks",
    ),
    (
        'name = "extended"\nend_offset_hours = 336',
        'name = "risk"\nend_offset_hours = 336',
        "same name",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=[new[:40] for _, new, _ in MISTAKES])
def test_a_mistake_in_study_toml_is_named(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "study.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_study(str(folder))
    assert said in str(caught.value)
    assert "study.toml:" in str(caught.value)
    assert caught.value.remedy


def test_a_mistake_names_its_line(folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text().replace("course_gap_hours = 96", "course_gap_hours = 'long'"))
    with pytest.raises(ConfigError) as caught:
        load_study(str(folder))
    line = line_of(folder, "course_gap_hours = 'long'")
    assert f"study.toml:{line}: drug #2.course_gap_hours" in str(caught.value)


def test_several_mistakes_are_told_at_once(folder: Path) -> None:
    path = folder / "study.toml"
    text = path.read_text().replace("lookback_days = 365", "lookback_days = -1")
    path.write_text(text.replace('unit = "course"  ', 'unit = "infusion"  '))
    with pytest.raises(ConfigError, match="2 mistakes"):
        load_study(str(folder))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("codelists/reactions.csv", ",R51.9,exact", ",R51.9,fuzzy", "match must be exact"),
        ("codelists/reactions.csv", ",R51.9,exact", ",,exact", "must be given"),
        ("codelists/reactions.csv", "headache,Adverse", "headaches,Adverse", None),
        ("codelists/reactions.csv", "concept,event_type", "concept,type", "columns must be"),
        ("codelists/reactions.csv", "exact,headache", "exact,head, ache", "more or fewer"),
        ("limits/ctcae5_calcium.csv", "3,below,value,7.0", "3,below,value,seven", "a number"),
        ("limits/pals_heart_rate.csv", "24,120,140", "24,110,140", "overlap or leave a gap"),
        ("limits/pals_heart_rate.csv", "24,120,140", "24,20,140", "ends before it starts"),
        ("limits/ctcae5_calcium.csv", "grade,side,of,cut", "grade,side,of,at", "columns must be"),
    ],
)
def test_a_mistake_in_a_csv_is_named(
    folder: Path, file: str, old: str, new: str, said: str | None
) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if said is None:  # one event type of the concept is left: the study still stands
        assert load_study(str(folder)).study_hash != load_study(str(SHIPPED)).study_hash
        return
    with pytest.raises(ConfigError, match=said):
        load_study(str(folder))


def test_a_concept_without_a_code_and_a_missing_table_are_named(folder: Path) -> None:
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace('"pals_heart_rate"', '"pals_hart_rate"'))
    (folder / "codelists" / "reactions.csv").unlink()
    with pytest.raises(ConfigError) as caught:
        load_study(str(folder))
    assert "no code list has the concept 'headache'" in str(caught.value)
    assert "there is no limits/pals_hart_rate.csv" in str(caught.value)


def test_a_threshold_in_a_unit_that_nobody_knows_is_named(folder: Path) -> None:
    path = folder / "study.toml"
    more = """
[[outcome]]
name = "low_calcium"
label = "Low calcium"
kind = "threshold"
concept = "calcium_total"
operator = "<"
value = 8
unit = "furlong"
"""
    path.write_text(path.read_text() + more)
    with pytest.raises(ConfigError, match="'furlong' is no unit of calcium_total"):
        load_study(str(folder))


def test_a_study_that_is_nowhere_is_told_with_those_that_are_somewhere() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study("no-such-study")
    assert "iv_bisphosphonate" in caught.value.remedy
    assert shipped_studies() == ["iv_bisphosphonate"]


def test_a_hash_follows_settings_codes_and_limits_and_no_folder(folder: Path) -> None:
    shipped = load_study("iv_bisphosphonate")
    assert load_study(str(folder)).study_hash == shipped.study_hash
    path = folder / "limits" / "pals_heart_rate.csv"
    path.write_text(path.read_text().replace(",140,", ",141,"))
    assert load_study(str(folder)).study_hash != shipped.study_hash


#: What the rules of docs/windows.md call settings, by section, as the shipped study has them (`...`
#: where a list of the study is meant).
IN_FORCE: dict[int, dict[str, Any]] = {
    1: {"study.resolution": "instant", "outcome.fever.same_day": "after",
        "outcome.hypocalcaemia.same_day": "before", "outcome.fever.missing_start": "unplaceable"},
    2: {"study.unit": "course", "study.evidence": ["administered"],
        "study.routes": ["intravenous"], "administration.bag_gap_hours": 2,
        "administration.restart_hours": 24, "administration.cover_days": 7,
        "administration.max_infusion_hours": 24, "eligibility.max_age_years": 21,
        "eligibility.requires_indication": True, "eligibility.never_event_concepts": ...,
        "naive.lookback_days": 365},
    3: {"outcome.fever.window": [{"name": "risk", "start_anchor": "start",
        "start_offset_hours": 0, "end_anchor": "end", "end_offset_hours": 72}],
        "outcome.fever.overlap": "latest", "outcome.fever.overlap_across_classes": False},
    5: {"outcome.fever.same_episode_gap_hours": 72, "outcome.fever.clean_window_days": None,
        "outcome.fever.assume_resolved_days": 14, "outcome.fever.chronic_concepts": ...},
    6: {"follow_up.settle_lag_hours": {"LabResulted": 48}, "follow_up.contact_grace_days": None},
    7: {"outcome.hypocalcaemia.baseline_days": 90, "outcome.hypocalcaemia.min_grade": 2,
        "administration.baseline_grace_minutes": 30,
        "outcome.hypocalcaemia.calcium.albumin_gap_hours": 24,
        "outcome.hypocalcaemia.calcium.specimen_minutes": 60,
        "outcome.hypocalcaemia.reporting_resolution": None},
    8: {"outcome.fever.min_grade": 1, "outcome.tachycardia.confirm_minutes": 30,
        "outcome.tachycardia.settle_minutes": 60, "outcome.tachycardia.rise_percent": 20,
        "outcome.acute_phase_symptoms.at_least": 2},
    9: {"serious.life_threatening_grade": 4, "serious.stay_excess_hours": 24,
        "serious.disability_concepts": ..., "serious.important_concepts": ...,
        "serious.expected_stay_hours": ..., "outcome.fever.remedy_concepts": ...,
        "treatment.gap_hours": 72, "treatment.lookback_hours": 24},
}  # fmt: skip


@pytest.mark.parametrize("section", IN_FORCE)
def test_every_setting_of_the_window_rules_is_stored_with_the_results(section: int) -> None:
    study = load_study("iv_bisphosphonate")
    (row,) = study.reference_tables()["study"]
    stored = json.loads(row["settings_json"])
    stored["outcome"] = {one["name"]: one for one in stored["outcome"]}
    page = (HERE.parent / "docs" / "reference" / "study.md").read_text(encoding="utf-8")
    for path, value in IN_FORCE[section].items():
        found: Any = stored
        for part in path.split("."):
            found = found[part]
        assert value in (..., found), path
        assert f"`{part}`" in page, f"{part} is not in the reference"
