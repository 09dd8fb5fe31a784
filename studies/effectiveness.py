"""What a study may say of its effectiveness: bone density and fractures, before and after.

Part of the typed form of study.toml (studies/model.py): a default lives here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipelines.base.tomlcheck import Mistake
from studies.phrases import days, listed
from studies.words import MAX_DAYS, Name, Table

if TYPE_CHECKING:
    from studies.model import StudyModel

#: Dates are compared, not hours: bone changes over months.
Dates = Annotated[int, Field(ge=0, le=MAX_DAYS)]


class EffectivenessTable(Table):
    """Bone density and fractures before and after the first unit in record."""

    density_concept: Name | None = Field(
        None, description="Scans whose Z-scores are compared; unset: none are."
    )
    baseline_days: Dates = Field(
        180,
        description="The baseline is the last scan of this many days up to the day of the start.",
    )
    follow_up_days: Dates = Field(
        365,
        description="Compared with it is the scan that is nearest to this long after the start.",
    )
    follow_up_margin_days: Dates = Field(
        90,
        description="That scan is at most so much earlier or later; of two as near, the earlier.",
    )
    fracture_concepts: list[Name] = Field(
        default_factory=list, description="Diagnoses that are a fracture; none: none are counted."
    )
    fracture_gap_days: Dates = Field(
        90, description="Codes at most this far apart are one fracture, dated by the first."
    )
    left_out_before_days: Dates = Field(
        90, description="Time before the start that is left out: therapy begins after a fracture."
    )
    left_out_after_days: Dates = Field(
        30, description="Time from the start on that is left out: bone has not changed yet."
    )
    min_patients: int = Field(
        5, ge=2, le=1000, description="With fewer patients to compare there is no estimate."
    )


def effectiveness_mistakes(model: StudyModel) -> Iterator[Mistake]:
    """Yield settings of effectiveness that contradict each other."""
    told = model.effectiveness
    if told.follow_up_margin_days >= told.follow_up_days:
        yield Mistake(
            ("effectiveness", "follow_up_margin_days"),
            "reaches back to the start, so that a baseline could be the follow-up; lower it",
        )


def effectiveness_sentences(model: StudyModel) -> list[str]:
    """Return what is compared before and after the first unit, a sentence or two each."""
    told, said = model.effectiveness, []
    if told.density_concept:
        said.append(
            f"Bone density ({told.density_concept}): the last scan of the "
            f"{days(told.baseline_days)} up to the start, and the one nearest to "
            f"{days(told.follow_up_days)} after it, at most {days(told.follow_up_margin_days)} "
            "off. Height-adjusted scores are compared with their like only."
        )
    if told.fracture_concepts:
        said.append(
            f"Fractures ({listed(told.fracture_concepts, 'or')}) per patient-year, without the "
            f"{days(told.left_out_before_days)} before the start and the "
            f"{days(told.left_out_after_days)} after it; codes at most "
            f"{days(told.fracture_gap_days)} apart are one."
        )
    if not said:
        return ["Nothing is compared before and after treatment."]
    return [
        *said,
        "Both from the first unit in record, of patients known on both sides, at least "
        f"{told.min_patients}: before-after, not causal.",
    ]
