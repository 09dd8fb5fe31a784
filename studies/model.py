"""What a study may say: the typed form of study.toml, with every default in one place.

The words are those of docs/windows.md. A default lives here and nowhere else; the value in force
is stored with the results (`reference.study.settings_json`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.base.tomlcheck import Checked

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Hours = Annotated[float, Field(ge=0)]
Days = Annotated[float, Field(ge=0)]

STRATA = (
    "all",
    "drug",
    "indication_type",
    "ordinal",
    "naive",
    "setting",
    "age_band",
    "sex",
    "site",
    "evidence",
    "premedicated",
    "calendar_quarter",
)


class StudyTable(Checked):
    """What is watched, in which unit and on which clock."""

    id: Name = Field(description="Short name; part of every result's key.")
    title: str = Field(description="One line for people.")
    version: str = Field(description="Raised by hand when the study's meaning changes.")
    unit: Literal["course", "administration"] = Field(
        "course", description="What a denominator counts."
    )
    resolution: Literal["instant", "day"] = Field(
        "instant", description="`instant`: half-open windows; `day`: closed windows of local dates."
    )
    evidence: list[Literal["administered", "dispensed", "ordered"]] = Field(
        default=["administered"], description="Which evidence of an infusion makes a unit."
    )
    routes: list[str] = Field(
        default=["intravenous"], description="Routes that are infusions of this study."
    )


class AdministrationTable(Checked):
    """When several records are one administration."""

    bag_gap_hours: Hours = Field(
        2, description="Split bags at most this far apart are one administration."
    )
    max_infusion_hours: Hours = Field(
        24, description="An in-progress record without an end holds its windows open this long."
    )
    cover_days: Days = Field(
        7,
        description="An order or dispense that names no administration is covered by the nearest "
        "one of the drug, at most this far away.",
    )
    baseline_grace_minutes: Annotated[float, Field(ge=0)] = Field(
        30, description="A draw up to this long after the index start still is baseline."
    )


class DrugTable(Checked):
    """A drug whose infusions are units of the study."""

    name: str = Field(description="Name in results.")
    concept: Name = Field(description="Concept of the code lists.")
    drug_class: Name = Field(description="Units of one class own events against each other.")
    course_gap_hours: Hours = Field(
        0, description="A course goes on while the next administration starts at most this later."
    )


class IndicationTable(Checked):
    """A group of the indication; the first group that fits a patient names the type."""

    type: Name = Field(description="Value of the stratum indication_type.")
    concepts: list[Name] = Field(min_length=1, description="Diagnoses that show it.")


class EligibilityTable(Checked):
    """Which units count, by facts dated at or before the index."""

    max_age_years: float | None = Field(
        None, description="Counted while the patient is younger than this at the index."
    )
    requires_indication: bool = Field(
        default=False, description="Needs a diagnosis of one of the indication groups."
    )
    excluded_concepts: list[Name] = Field(
        default_factory=list, description="Diagnoses that exclude."
    )


class NaiveTable(Checked):
    """What shows that a patient had the drug class before."""

    lookback_days: Days = Field(
        365, description="Record needed before the first unit to call the patient naive."
    )
    prior_concepts: list[Name] = Field(
        default_factory=list, description="Drugs and diagnoses that show earlier exposure."
    )


class AgeBand(Checked):
    """A half-open band of age in completed months."""

    label: str = Field(description="Value of the stratum age_band.")
    from_months: int = Field(ge=0, description="First month in the band.")
    until_months: int = Field(gt=0, description="First month that is no longer in it.")


class StrataTable(Checked):
    """What results are broken down by."""

    by: list[str] = Field(default=list(STRATA), description="One-way strata.")
    two_way: list[tuple[str, str]] = Field(
        default_factory=list, description="Pairs of strata that are crossed."
    )
    premedication_concepts: list[Name] = Field(
        default_factory=list, description="Given in the 24 h before the start: premedicated."
    )
    co_infusion_concepts: list[Name] = Field(
        default_factory=list, description="Another infusion inside the window: co_infusion."
    )
    age_band: list[AgeBand] = Field(default_factory=list, description="Contiguous bands of age.")

    @model_validator(mode="after")
    def _known_and_contiguous(self) -> StrataTable:
        for name in [*self.by, *(one for pair in self.two_way for one in pair)]:
            if name not in STRATA:
                msg = f"there is no stratum {name!r}; known are {', '.join(STRATA)}"
                raise ValueError(msg)
        edges = [(band.from_months, band.until_months) for band in self.age_band]
        for (_, until), (start, _) in pairwise(edges):
            if until != start:
                msg = "age bands must follow each other without gap or overlap"
                raise ValueError(msg)
        if any(start >= until for start, until in edges):
            msg = "an age band ends before it starts"
            raise ValueError(msg)
        return self


class WindowTable(Checked):
    """A named window around a unit: `[start anchor + offset, end anchor + offset)`."""

    name: Literal["risk", "control", "extended", "peak"] = Field("risk", description="Its name.")
    start_anchor: Literal["start", "end"] = Field(
        "start", description="What the start counts from."
    )
    start_offset_hours: float = Field(0, description="May be negative.")
    end_anchor: Literal["start", "end"] = Field("end", description="What the end counts from.")
    end_offset_hours: float = Field(72, description="May be negative.")


class OutcomeBase(Checked):
    """What every outcome says."""

    name: Name = Field(description="Its name in results.")
    label: str = Field(description="Its name for people.")
    publish: bool = Field(default=True, description="False: read by composites, not published.")
    drug_classes: list[Name] = Field(
        default_factory=list, description="Classes it is watched after; empty means all."
    )
    window: list[WindowTable] = Field(
        default=[WindowTable()], min_length=1, description="Its windows, each counted apart."
    )
    overlap: Literal["latest"] = Field(
        "latest", description="Who owns an event in two windows: the latest index before it."
    )
    same_day: Literal["after", "before", "exclude"] = Field(
        "after", description="Where an event known by its day falls on the infusion's own day."
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
    same_episode_gap_hours: Hours = Field(
        72, description="Evidence at most this far apart is one event."
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
    confirm_minutes: float = Field(30, ge=0, description="Least time between the two readings.")
    settle_minutes: float = Field(60, ge=0, description="Readings earlier than this don't count.")
    rise_percent: float = Field(
        20, ge=0, description="Least rise over the child's own last reading before the start."
    )


class LabOutcome(OutcomeBase):
    """What laboratory outcomes share."""

    concept: Name = Field(description="The analyte that is read.")
    baseline_days: Days = Field(90, description="How far back a baseline may lie.")
    same_day: Literal["after", "before", "exclude"] = Field(
        "before", description="Where a result known by its day falls on the infusion's own day."
    )


class GradeOutcome(LabOutcome):
    """A laboratory grade that is reached and is above baseline."""

    kind: Literal["grade"]
    cuts: Name = Field(description="Table in limits/ with the cuts per unit and grade.")
    normal_limits: Name | None = Field(
        None, description="Table in limits/ of normal limits, where the result has none of its own."
    )
    min_grade: int = Field(ge=1, le=4, description="Smallest grade that is an event.")


class ThresholdOutcome(LabOutcome):
    """A laboratory value beyond a number; already beyond at baseline is pre-existing."""

    kind: Literal["threshold"]
    operator: Literal["<", "<=", ">", ">="] = Field(description="Which side is beyond.")
    value: float = Field(description="The number.")
    unit: str = Field(description="Its unit; results in other units are converted and flagged.")


class RatioOutcome(LabOutcome):
    """A laboratory value that is at least a multiple of its baseline."""

    kind: Literal["ratio"]
    ratio: float = Field(gt=1, description="The multiple, such as 1.5.")
    reporting_resolution: float | None = Field(
        None,
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


class FollowUpTable(Checked):
    """When a patient is no longer followed, and when a feed has settled."""

    contact_grace_days: Days | None = Field(
        None, description="Follow-up ends this long after the last contact; unset: it doesn't."
    )
    settle_lag_hours: dict[str, Hours] = Field(
        default_factory=dict, description="Per event type: how late results may still arrive."
    )


class StudyModel(Checked):
    """The whole of study.toml."""

    study: StudyTable
    administration: AdministrationTable = AdministrationTable()
    drug: list[DrugTable] = Field(min_length=1, description="Drugs that make units.")
    indication: list[IndicationTable] = Field(
        default_factory=list, description="Groups of the indication, in order of precedence."
    )
    eligibility: EligibilityTable = EligibilityTable()
    naive: NaiveTable = NaiveTable()
    strata: StrataTable = StrataTable()
    follow_up: FollowUpTable = FollowUpTable()
    outcome: list[Outcome] = Field(min_length=1, description="Outcomes, composites last.")

    @model_validator(mode="after")
    def _names_fit(self) -> StudyModel:
        seen: dict[str, set[str]] = {}
        for one in self.outcome:
            if one.name in seen:
                msg = f"two outcomes are called {one.name!r}"
                raise ValueError(msg)
            if isinstance(one, CompositeOutcome):
                _check_composite(one, seen)
            seen[one.name] = {window.name for window in one.window}
        classes = {drug.drug_class for drug in self.drug}
        for one in self.outcome:
            if unknown := set(one.drug_classes) - classes:
                msg = f"outcome {one.name!r} names drug classes without a drug: {sorted(unknown)}"
                raise ValueError(msg)
        return self


def _check_composite(outcome: CompositeOutcome, seen: dict[str, set[str]]) -> None:
    members = [name for group in outcome.of for name in group]
    if missing := [name for name in members if name not in seen]:
        msg = f"composite {outcome.name!r} reads {missing[0]!r}, which must be defined above it"
        raise ValueError(msg)
    if outcome.at_least > len(outcome.of):
        msg = f"composite {outcome.name!r} asks for more groups than it has"
        raise ValueError(msg)
    for window in outcome.window:
        if lacking := [name for name in members if window.name not in seen[name]]:
            msg = (
                f"composite {outcome.name!r} has a window {window.name!r} that its component "
                f"{lacking[0]!r} lacks"
            )
            raise ValueError(msg)
