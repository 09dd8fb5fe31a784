"""What a study may say of its outcomes: their windows, their evidence, what makes an event.

Part of the typed form of study.toml (studies/model.py): a default lives here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from studies.words import Days, Hours, Minutes, Name, Offset, Table, Text


class WindowTable(Table):
    """A named window around a unit: `[start anchor + offset, end anchor + offset)`."""

    name: Literal["risk", "control", "extended", "peak"] = Field("risk", description="Its name.")
    start_anchor: Literal["start", "end"] = Field(
        "start", description="What the start counts from."
    )
    start_offset_hours: Offset = Field(0, description="May be negative.")
    end_anchor: Literal["start", "end"] = Field("end", description="What the end counts from.")
    end_offset_hours: Offset = Field(72, description="May be negative.")


class OutcomeBase(Table):
    """What every outcome says."""

    name: Name = Field(description="Its name in results.")
    label: Text = Field(description="Its name for people.")
    publish: bool = Field(default=True, description="False: read by composites, not published.")
    drug_classes: list[Name] = Field(
        default_factory=list, description="Classes it is watched after; empty means all."
    )
    window: list[WindowTable] = Field(
        default=[WindowTable()], min_length=1, description="Its windows, each counted apart."
    )
    overlap: Literal["latest", "all", "merge"] = Field(
        "latest",
        description="Who owns an event in two windows: the `latest` index before it; `all` windows "
        "that hold it; `merge`: overlapping windows are one, and it counts once.",
    )
    overlap_across_classes: bool = Field(
        default=False,
        description="True: units of all classes that the outcome is watched after cut, hold and "
        "merge each other's windows; false: only those of their own class.",
    )
    ascertainment: Literal["differential", "independent"] = Field(
        "differential",
        description="Whether it is found as surely without an infusion: `independent`, as where it "
        "brings a child to the hospital by itself; `differential` where who was just infused is "
        "asked, watched or sampled more. Windows of one patient are compared only where it is "
        "independent.",
    )
    same_day: Literal["after", "before", "exclude"] = Field(
        "after", description="Where an event known by its day falls on the infusion's own day."
    )
    remedy_concepts: list[Name] = Field(
        default_factory=list,
        description="Drugs that treat it: begun or raised after the onset: `is_treated`.",
    )

    @model_validator(mode="after")
    def _windows_have_own_names(self) -> OutcomeBase:
        names = [window.name for window in self.window]
        if len(set(names)) < len(names):
            msg = "two windows of one outcome have the same name"
            raise ValueError(msg)
        return self


class Episodic(OutcomeBase):
    """Outcomes seen in reports, codes and readings that belong together in time."""

    report_concepts: list[Name] = Field(
        default_factory=list, description="Adverse events and diagnoses that report it."
    )
    chronic_concepts: list[Name] = Field(
        default_factory=list, description="Of these, the ones that never resolve."
    )
    same_episode_gap_hours: Hours | Literal["none"] = Field(
        72.0,
        description='Evidence at most this far apart is one event; "none": each piece is its own.',
    )
    clean_window_days: Days | None = Field(
        None,
        description="An event at most this long after the end of an earlier one is not incident, "
        "and that time is not at risk; unset: every event is.",
    )
    missing_start: Literal["unplaceable", "emergent"] = Field(
        "unplaceable",
        description="A report or code without a start: never linked, or taken to have begun after "
        "the infusion unless it ended before.",
    )
    assume_resolved_days: Days = Field(
        14, description="A coded event without an end is taken to end after this."
    )


class SymptomOutcome(Episodic):
    """A coded or reported symptom."""

    kind: Literal["symptom"]


class FeverOutcome(Episodic):
    """Fever by temperature, graded by CTCAE v5, and by report."""

    kind: Literal["fever"]
    concept: Name = Field("body_temperature", description="The vital sign that is read.")
    min_grade: int = Field(1, ge=1, le=4, description="Smallest grade that is an event.")


class VitalLimitOutcome(Episodic):
    """A vital sign above the limit of the child's age, confirmed by a second reading."""

    kind: Literal["vital_limit"]
    concept: Name = Field(description="The vital sign that is read.")
    limits: Name = Field(description="Table in limits/ with upper limits by age in months.")
    confirm_minutes: Minutes = Field(30, description="Least time between the two readings.")
    settle_minutes: Minutes = Field(60, description="Readings earlier than this don't count.")
    rise_percent: float = Field(
        20,
        ge=0,
        le=1000,
        description="Least rise over the child's own last reading before the start.",
    )


class LabOutcome(OutcomeBase):
    """What laboratory outcomes share."""

    concept: Name = Field(description="The analyte that is read.")
    baseline_days: Days = Field(90, description="How far back a baseline may lie.")
    same_day: Literal["after", "before", "exclude"] = Field(
        "before", description="Where a result known by its day falls on the infusion's own day."
    )


class CalciumTable(Table):
    """Ionised and albumin-corrected values, for an outcome that reads total calcium."""

    ionised_concept: Name | None = Field(
        None, description="The ionised analyte; wins over the total of the same specimen."
    )
    ionised_cuts: Name | None = Field(None, description="Table in limits/ with its cuts.")
    ionised_normal_limits: Name | None = Field(
        None, description="Table in limits/ of its normal limits."
    )
    albumin_concept: Name | None = Field(
        None, description="Albumin, by which a total is corrected."
    )
    albumin_gap_hours: Hours = Field(
        24, description="How far from the draw the albumin may lie that corrects it."
    )
    specimen_minutes: Minutes = Field(
        60, description="Results at most this far apart are of one specimen."
    )

    @model_validator(mode="after")
    def _ionised_is_graded(self) -> CalciumTable:
        if (self.ionised_concept is None) != (self.ionised_cuts is None):
            msg = "ionised_concept and ionised_cuts need each other"
            raise ValueError(msg)
        if self.ionised_normal_limits is not None and self.ionised_concept is None:
            msg = "ionised_normal_limits needs ionised_concept"
            raise ValueError(msg)
        return self


class GradeOutcome(LabOutcome):
    """A laboratory grade that is reached and is above baseline."""

    kind: Literal["grade"]
    cuts: Name = Field(description="Table in limits/ with the cuts of each grade.")
    normal_limits: Name | None = Field(
        None, description="Table in limits/ of normal limits, where the result has none of its own."
    )
    min_grade: int = Field(ge=1, le=4, description="Smallest grade that is an event.")
    reporting_resolution: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Step in which the laboratory reports, in the analyte's canonical unit: a "
        "grade by a multiple of baseline also needs a rise of twice that (KDIGO).",
    )
    calcium: CalciumTable | None = Field(
        None, description="Ionised and corrected calcium; unset: the result as it is."
    )


class ThresholdOutcome(LabOutcome):
    """A laboratory value beyond a number; already beyond at baseline is pre-existing."""

    kind: Literal["threshold"]
    operator: Literal["<", "<=", ">", ">="] = Field(description="Which side is beyond.")
    value: float = Field(ge=-1e9, le=1e9, description="The number.")
    unit: str = Field(description="Its unit; results in other units are converted and flagged.")


class RatioOutcome(LabOutcome):
    """A laboratory value that is at least a multiple of its baseline."""

    kind: Literal["ratio"]
    ratio: float = Field(gt=1, le=1000, description="The multiple, such as 1.5.")
    reporting_resolution: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Step in which the laboratory reports, in the analyte's canonical unit; the "
        "rise must be at least twice that (KDIGO).",
    )


class CompositeOutcome(OutcomeBase):
    """At least so many of several outcomes, with what is unknown kept unknown."""

    kind: Literal["composite"]
    at_least: int = Field(1, ge=1, description="How many of the groups must be true.")
    of: list[list[Name]] = Field(
        min_length=1, description="Groups of outcomes; a group is true if any member is."
    )


Outcome = Annotated[
    SymptomOutcome
    | FeverOutcome
    | VitalLimitOutcome
    | GradeOutcome
    | ThresholdOutcome
    | RatioOutcome
    | CompositeOutcome,
    Field(discriminator="kind"),
]
