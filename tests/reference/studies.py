"""Studies with every kind of outcome, made from the shipped one."""

from __future__ import annotations

from typing import Any

from studies.load import Study, load_study
from studies.outcomes import (
    CompositeOutcome,
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
