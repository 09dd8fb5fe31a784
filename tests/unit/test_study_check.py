"""Settings that contradict each other, and concepts that nothing can show, name line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.load import load_study
from tests.study_kit import folder, line_of, named_lines

__all__ = ["folder"]

#: What is changed or added in study.toml, the beginning of the line that is named, and why.
CONTRADICTIONS = [
    ('concept = "heart_rate"', 'concept = "hart_rate"', 'concept = "hart', "mean `heart_rate`?"),
    ('concept = "phosphate"', 'concept = "headache"', 'concept = "headache"', "in LabResulted"),
    ('report_concepts = ["fever"]', 'report_concepts = ["heart_rate"]', "report_concepts",
     "has no code in AdverseEventReported or DiagnosisRecorded"),
    ('remedy_concepts = ["acetaminophen", "ibuprofen"]', 'remedy_concepts = ["paracetamol"]',
     "remedy_concepts",
     "no code list has the concept 'paracetamol'"),
    ('remedy_concepts = ["acetaminophen", "ibuprofen"]', 'remedy_concepts = ["albumin"]',
     "remedy_concepts",
     "no code in MedicationGiven or InfusionRecorded"),
    ('kind = "fever"', 'kind = "fever"\nchronic_concepts = ["headache"]', "chronic_concepts",
     "none of its report_concepts"),
    ('kind = "fever"', 'kind = "fever"\nmin_grad = 2', "min_grad", "did you mean `min_grade`?"),
    ("[naive]", '[serious]\nimportant_concepts = ["sepsis"]\n[naive]', "important_concepts",
     "no code list has the concept 'sepsis'"),
    ("[naive]", '[serious]\ndisability_concepts = ["albumin"]\n[naive]', "disability_concepts",
     "no code in AdverseEventReported or DiagnosisRecorded"),
    ("inpatient = 48", "hospital = 9", "hospital",
     "no setting 'hospital'"),
    ("requires_indication = true", 'never_event_concepts = ["influenza"]', "never_event",
     "no code list has the concept 'influenza'"),
    ("requires_indication = true", 'never_event_concepts = ["headache"]',
     'report_concepts = ["headache"]', "is evidence of no outcome"),
    ('excluded_concepts = ["malignant_hypercalcaemia"]',
     'excluded_concepts = ["neuromuscular"]', 'concepts = ["neuromuscular"]', "take it out of one"),
    ("LabResulted = 48", "LabResults = 48", "LabResults", "did you mean `LabResulted`?"),
    ('unit = "course"  ', 'routes = ["intravenus"]\nunit = "course"  ', "routes",
     "did you mean `intravenous`?"),
    ('unit = "course"  ', 'evidence = []\nunit = "course"  ', "evidence", "no unit would count"),
    ('concept = "ibandronate"', 'concept = "pamidronate"', 'concept = "pamidronate"',
     "name each concept once"),
    ('fracture_concepts = ["fracture"]', 'fracture_concepts = ["albumin"]', "fracture_concepts",
     "has no code in DiagnosisRecorded"),
    ('density_concept = "lumbar_spine_density"', 'density_concept = "fever"', "density_concept",
     "has no code in BoneDensityMeasured"),
    ('fracture_concepts = ["fracture"]', "follow_up_margin_days = 365", "follow_up_margin_days",
     "reaches back to the start"),
    ('kind = "fever"', 'kind = "fever"\noverlap = "all"', 'overlap = "all"', None),
    ('label = "Chills"', 'label = "Chills"\ndrug_classes = ["bisphosphonates"]', "drug_classes",
     "did you mean `bisphosphonate`?"),
    ('kind = "symptom"\nreport_concepts = ["chills"]', 'kind = "symptom"', "[[outcome]]",
     "nothing could show this symptom"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    CONTRADICTIONS,
    ids=[new[-40:] for _, new, _, _ in CONTRADICTIONS],
)
def test_a_contradiction_names_the_line_to_mend(
    folder: Path, old: str, new: str, place: str, said: str | None
) -> None:
    path = folder / "study.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    told = named_lines(folder)
    if said is None:  # what is named is the composite, which reads fever
        assert all("its component 'fever' has another overlap" in line for line in told)
        return
    lines = path.read_text().splitlines()
    places = {n for n, line in enumerate(lines, start=1) if line.startswith(place)}
    assert any(said in line and int(line.split(":")[1]) in places for line in told), told


#: Tables that are added to the fever outcome or elsewhere, and what is wrong with them.
ADDED = {
    "overlaps": ("""
[[outcome]]
name = "more"
label = "More"
kind = "symptom"
report_concepts = ["headache"]
[[outcome.window]]
name = "risk"
[[outcome.window]]
name = "control"
start_anchor = "end"
start_offset_hours = 71
end_offset_hours = 96
""", "the control window shares time with the risk window"),
    "empty": ("""
[[outcome]]
name = "more"
label = "More"
kind = "symptom"
report_concepts = ["headache"]
[[outcome.window]]
start_anchor = "end"
start_offset_hours = 24
end_offset_hours = 24
""", "the window ends before it starts"),
    "corrects phosphate": ("""
[[outcome]]
name = "more"
label = "More"
kind = "grade"
concept = "phosphate"
cuts = "ctcae4_phosphate"
min_grade = 1
[outcome.calcium]
albumin_concept = "albumin"
""", "corrects total calcium, and the outcome reads 'phosphate'"),
    "corrects nothing": ("""
[[outcome]]
name = "more"
label = "More"
kind = "grade"
concept = "calcium_total"
cuts = "ctcae5_calcium"
min_grade = 1
[outcome.calcium]
albumin_gap_hours = 3
""", "names neither an ionised analyte nor albumin"),
    "albumin of nobody": ("""
[[outcome]]
name = "more"
label = "More"
kind = "grade"
concept = "calcium_total"
cuts = "ctcae5_calcium"
min_grade = 1
[outcome.calcium]
albumin_concept = "albumen"
""", "no code list has the concept 'albumen'; did you mean `albumin`?"),
    "other window": ("""
[[outcome]]
name = "more"
label = "More"
kind = "composite"
of = [["fever"]]
[[outcome.window]]
end_offset_hours = 48
""", "its component 'fever' has another window 'risk'"),
    "surer than what it reads": ("""
[[outcome]]
name = "more"
label = "More"
kind = "composite"
of = [["fever"]]
ascertainment = "independent"
""", "its component 'fever' is found more surely after an infusion"),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
def test_an_added_outcome_that_cannot_work_is_named(folder: Path, name: str) -> None:
    path = folder / "study.toml"
    old, (added, said) = path.read_text(), ADDED[name]
    path.write_text(old + added)
    told = named_lines(folder)
    assert any(said in line for line in told), told
    first = len(old.splitlines())
    assert all(int(line.split(":")[1]) > first for line in told)


def test_windows_of_days_know_no_minutes(folder: Path) -> None:
    path = folder / "study.toml"
    text = path.read_text().replace('resolution = "instant"', 'resolution = "day"')
    path.write_text(text.replace("end_offset_hours = 336", "end_offset_hours = 335.5"))
    line = line_of(folder, "end_offset_hours = 335.5")
    assert any(
        told.startswith(f"study.toml:{line}:") and "no minutes" in told
        for told in named_lines(folder)
    )


def test_a_control_window_beside_the_risk_window_and_clean_windows_under_all_are_sound(
    folder: Path,
) -> None:
    path = folder / "study.toml"
    added = ADDED["overlaps"][0].replace("= 71", "= 72")
    added = added.replace(
        'kind = "symptom"', 'kind = "symptom"\noverlap = "all"\nclean_window_days = 9'
    )
    path.write_text(path.read_text() + added)
    assert load_study(str(folder)).outcome("more").overlap == "all"


#: The control window of an outcome that may have none, and of others, by days.
CONTROL = """
[[outcome]]
name = "more"
label = "More"
{kind}
[[outcome.window]]
name = "risk"
[[outcome.window]]
name = "control"
start_offset_hours = -96
end_anchor = "start"
end_offset_hours = {until}
"""
KINDS = {
    "grade": 'kind = "grade"\nconcept = "phosphate"\ncuts = "ctcae4_phosphate"\nmin_grade = 1',
    "threshold": 'kind = "threshold"\nconcept = "phosphate"\noperator = "<"\nvalue = 2\n'
    'unit = "mg/dL"',
    "ratio": 'kind = "ratio"\nconcept = "phosphate"\nratio = 1.5',
    "vital_limit": 'kind = "vital_limit"\nconcept = "heart_rate"\nlimits = "pals_heart_rate"',
    "symptom": 'kind = "symptom"\nreport_concepts = ["headache"]',
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_has_no_baseline_may_have_a_control_window(folder: Path, kind: str) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text() + CONTROL.format(kind=KINDS[kind], until=-24))
    if kind == "symptom":
        assert len(load_study(str(folder)).outcome("more").window) == 2
        return
    (told,) = named_lines(folder)
    assert told.startswith(f"study.toml:{line_of(folder, 'start_offset_hours = -96') - 2}:")
    assert "have no control window" in told


@pytest.mark.parametrize(
    ("until", "is_right"), [(-25, True), (-24, True), (-23, False), (0, False)]
)
def test_windows_of_days_share_no_day_with_the_control_window(
    folder: Path, until: int, *, is_right: bool
) -> None:
    path = folder / "study.toml"
    added = CONTROL.format(kind=KINDS["symptom"], until=until)
    path.write_text(path.read_text() + added)
    assert load_study(str(folder)).outcome("more").window[1].end_offset_hours == until
    path.write_text(path.read_text().replace('resolution = "instant"', 'resolution = "day"'))
    if is_right:
        load_study(str(folder))
        return
    (told,) = named_lines(folder)
    assert "shares time with the risk window, of which windows of days hold the last" in told


def test_one_code_listed_twice_is_named_with_both_lines(folder: Path) -> None:
    path = folder / "codelists" / "drugs.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[4]]) + "\n")
    assert named_lines(folder) == [
        f"codelists/drugs.csv:{len(lines) + 1}: the same code of the same concept as "
        "codelists/drugs.csv:5; delete one"
    ]


def test_a_window_is_judged_beside_mistakes_that_it_does_not_hang_on(folder: Path) -> None:
    path = folder / "study.toml"
    text = path.read_text() + ADDED["empty"][0]
    path.write_text(text.replace("until_months = 72", "until_months = 71"))
    told = "\n".join(named_lines(folder))
    assert "without gap or overlap" in told
    assert "the window ends before it starts" in told


def test_an_outcome_is_named_and_not_its_kind(folder: Path) -> None:
    path = folder / "study.toml"
    head = f'[[outcome]]\nname = "more"\nlabel = "More"\n{KINDS["symptom"]}\n'
    twice = '[[outcome.window]]\nname = "risk"\n' * 2
    path.write_text(path.read_text() + head + twice)
    (told,) = named_lines(folder)
    assert ": two windows of one outcome have the same name" in told
    assert "symptom" not in told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("reference_first = [33, 123]", "", "gives one of reference_first and reference_later"),
        ("reference_first = [33, 123]", "reference_first = [0, 123]", "at least one event"),
        ("reference_first = [33, 123]", "reference_first = [133, 123]", "no more of them than"),
        ("[37, 819]", "[37, 819]\nrate_first = 0.3\nrate_later = 0.1", "gives rates and counts"),
        ("baseline_from = 2012-07-01", "", "a pair gives no reference"),
        ("alpha = 0.03", "alpha = 0.04", "adds up to 0.06"),
        ("max_expected = 10", "max_expected = 0.4\nfirst_look_expected = 0", "cannot be reached"),
    ],
)
def test_what_surveillance_cannot_be_planned_with_is_named(
    folder: Path, old: str, new: str, said: str
) -> None:
    path = folder / "study.toml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    (told,) = named_lines(folder)
    assert said in told


def test_mistakes_of_all_files_are_told_at_once(folder: Path) -> None:
    toml, codes = folder / "study.toml", folder / "codelists" / "reactions.csv"
    text = toml.read_text().replace("lookback_days = 365", "lookback_days = -1")
    text = text.replace('kind = "fever"', 'kind = "fevver"').replace('["chills"]', '["chils"]', 1)
    toml.write_text(text.replace('unit = "course"  ', 'units = "course"  '))
    codes.write_text(codes.read_text().replace(",R51.9,exact", ",R51.9,fuzzy"))
    limits = folder / "limits" / "pals_heart_rate.csv"
    limits.write_text(limits.read_text().replace("24,120,140", "24,20,140"))
    told = "\n".join(named_lines(folder))
    for said in (
        f"study.toml:{line_of(folder, 'lookback_days')}: naive.lookback_days",
        "there is no kind `fevver`; did you mean `fever`?",
        "study.units: unknown key; did you mean `unit`?",
        f"study.toml:{line_of(folder, 'chils')}: outcome chills.report_concepts:",
        "no code list has the concept 'chils'; did you mean `chills`?",
        "codelists/reactions.csv:",
        "limits/pals_heart_rate.csv",
    ):
        assert said in told, said
    assert "must be defined above it" not in told, "a consequence of another mistake is no mistake"
