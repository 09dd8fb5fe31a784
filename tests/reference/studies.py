"""Studies with every kind of outcome, made from the shipped one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studies.load import Study, load_study
from studies.outcomes import (
    CalciumTable,
    CompositeOutcome,
    Episodic,
    FeverOutcome,
    GradeOutcome,
    Outcome,
    RatioOutcome,
    SymptomOutcome,
    ThresholdOutcome,
    VitalLimitOutcome,
    WindowTable,
)
from tests.linkage_cases import with_settings

WINDOWS = [
    WindowTable(),
    WindowTable(name="extended", end_offset_hours=336),
    WindowTable(name="peak", start_offset_hours=24, end_offset_hours=72),
]


def with_outcomes(base: Study, outcomes: list[Outcome]) -> Study:
    model = base.model.model_copy(update={"outcome": outcomes})
    return Study(model, base.codelist, base.limits, base.folder)


def only(base: Study, *outcomes: Outcome) -> Study:
    """The study with these outcomes and no others."""
    return with_outcomes(base, list(outcomes))


def changed_outcomes(base: Study, **changes: dict[str, Any]) -> Study:
    """The study with some of its outcomes changed."""
    return with_outcomes(
        base,
        [one.model_copy(update=changes.get(one.name, {})) for one in base.model.outcome],
    )


def every_kind(resolution: str = "instant", unit: str = "course") -> Study:
    """A study of anybody, with all kinds of outcomes, settings off their defaults, odd windows."""
    evidence = ["administered", "dispensed", "ordered"]
    base = with_outcomes(load_study("iv_bisphosphonate"), [*clinical(), *laboratory(), *composed()])
    return with_settings(
        base,
        study={"resolution": resolution, "unit": unit, "evidence": evidence},
        eligibility={"max_age_years": None, "requires_indication": False},
    )


@dataclass(frozen=True)
class Drawn:
    """Settings that a test draws; all others are those of `every_kind`."""

    resolution: str = "instant"
    unit: str = "course"
    evidence: tuple[str, ...] = ("administered", "dispensed", "ordered")
    overlap: str = "latest"
    across_classes: bool = False
    same_day: str = "after"
    missing_start: str = "emergent"
    clean_window_days: float | None = None
    gap_hours: float | str = 72


def drawn(settings: Drawn) -> Study:
    """A study with every kind of outcome, two drug classes, and the drawn settings."""
    base = every_kind(settings.resolution, settings.unit)
    episodic = {
        "missing_start": settings.missing_start,
        "clean_window_days": settings.clean_window_days,
        "same_episode_gap_hours": settings.gap_hours,
        "chronic_concepts": ["chills"],
    }
    outcomes = []
    for one in base.model.outcome:
        changes: dict[str, Any] = {
            "overlap": settings.overlap,
            "overlap_across_classes": settings.across_classes,
        }
        if isinstance(one, SymptomOutcome | FeverOutcome):
            changes["window"] = [*one.window, CONTROL]
        if one.name in {"ache", "high_fever"}:
            changes["same_day"] = settings.same_day
        if isinstance(one, Episodic):
            changes |= episodic | {"remedy_concepts": ["premedication"]}
        if one.name == "calcium_1":
            changes |= {"calcium": CALCIUM, "remedy_concepts": ["co_infusion"]}
        outcomes.append(one.model_copy(update=changes))
    drugs = [
        one.model_copy(update={"drug_class": "second"}) if one.name == "ibandronate" else one
        for one in base.model.drug
    ]
    never = dict.fromkeys(base.codelist[0], "") | NEVER
    model = base.model.model_copy(update={"outcome": outcomes, "drug": drugs})
    return with_settings(
        Study(model, (*base.codelist, never), base.limits, base.folder),
        study={"evidence": list(settings.evidence)},
        eligibility={"never_event_concepts": ["known_pain"], "max_age_years": 20.0},
        serious=SERIOUS,
    )


CONTROL = WindowTable(
    name="control", start_offset_hours=-96, end_anchor="start", end_offset_hours=-24
)
CALCIUM = CalciumTable(
    ionised_concept="calcium_ionised",
    ionised_cuts="ctcae5_calcium_ionised",
    ionised_normal_limits="normal_calcium_ionised",
    albumin_concept="albumin",
)
NEVER = {
    "concept": "known_pain", "event_type": "DiagnosisRecorded", "code_system": "icd10cm",
    "code": "M79.10", "match": "exact",
}  # fmt: skip
SERIOUS = {
    "expected_stay_hours": {"inpatient": 6.0, "outpatient": 7.0},
    "disability_concepts": ["nausea_or_vomiting"],
    "important_concepts": ["headache"],
}


def clinical() -> list[Outcome]:
    return [
        SymptomOutcome(
            kind="symptom", name="pain", label="Pain",
            report_concepts=["myalgia_or_bone_pain", "headache"],
            same_day="exclude",
        ),
        SymptomOutcome(
            kind="symptom", name="ache", label="Headache or chills", window=WINDOWS,
            report_concepts=["headache", "chills"], same_day="before",
        ),
        FeverOutcome(
            kind="fever", name="high_fever", label="Fever above 39.0", window=WINDOWS,
            report_concepts=["fever"], min_grade=2,
        ),
        VitalLimitOutcome(
            kind="vital_limit", name="fast", label="Fast heart", window=WINDOWS,
            concept="heart_rate", limits="pals_heart_rate", rise_percent=10, settle_minutes=0,
        ),
    ]  # fmt: skip


def laboratory() -> list[Outcome]:
    return [
        GradeOutcome(
            kind="grade", name="calcium_1", label="Calcium, grade 1", window=WINDOWS,
            concept="calcium_total", cuts="ctcae5_calcium", normal_limits="normal_calcium",
            min_grade=1, same_day="after",
        ),
        ThresholdOutcome(
            kind="threshold", name="low_phosphate", label="Phosphate", window=WINDOWS,
            concept="phosphate", operator="<=", value=2.0, unit="mg/dL", baseline_days=14,
        ),
        ThresholdOutcome(
            kind="threshold", name="high_creatinine", label="Creatinine", window=WINDOWS,
            concept="creatinine", operator=">", value=0.4, unit="mg/dL",
        ),
        RatioOutcome(
            kind="ratio", name="kidney", label="Creatinine 1.5 times", window=WINDOWS,
            concept="creatinine", ratio=1.5, reporting_resolution=0.1,
        ),
        RatioOutcome(
            kind="ratio", name="doubled", label="Creatinine doubled", window=WINDOWS,
            concept="creatinine", ratio=2, same_day="exclude",
        ),
    ]  # fmt: skip


def composed() -> list[Outcome]:
    return [
        CompositeOutcome(
            kind="composite", name="two_of_three", label="Two", window=WINDOWS, at_least=2,
            of=[["ache", "high_fever"], ["low_phosphate"], ["calcium_1", "kidney"]],
        ),
        CompositeOutcome(
            kind="composite", name="both", label="Both", window=WINDOWS, at_least=2,
            of=[["two_of_three"], ["fast"]],
        ),
    ]  # fmt: skip


SHIPPED = load_study("iv_bisphosphonate")
STUDIES = {
    "shipped": SHIPPED,
    "shipped by days": with_settings(SHIPPED, study={"resolution": "day"}),
    "every kind": every_kind(),
    "every kind by days": every_kind("day"),
    "every kind by administration": every_kind(unit="administration"),
}
