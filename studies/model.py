"""What a study may say: the typed form of study.toml, with every default in one place.

The words are those of docs/windows.md. A default lives here and nowhere else; the value in force
is stored with the results (`reference.study.settings_json`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from studies.effectiveness import EffectivenessTable
from studies.outcomes import Outcome
from studies.surveillance import SurveillanceTable
from studies.words import Days, Hours, Minutes, Months, Name, Table, Text

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


class StudyTable(Table):
    """What is watched, in which unit and on which clock."""

    id: Name = Field(description="Short name; part of every result's key.")
    title: Text = Field(description="One line for people.")
    version: Text = Field(description="Raised by hand when the study's meaning changes.")
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


class AdministrationTable(Table):
    """When several records are one administration."""

    bag_gap_hours: Hours = Field(
        2, description="Split bags at most this far apart are one administration."
    )
    max_infusion_hours: Hours = Field(
        24, description="An in-progress record without an end holds its windows open this long."
    )
    restart_hours: Hours = Field(
        24,
        description="What follows a stopped record at most this much later is the same "
        "administration, interrupted, unless the two give more than was prescribed.",
    )
    cover_days: Days = Field(
        7,
        description="An order or dispense that names no administration is covered by the nearest "
        "one of the drug, at most this far away.",
    )
    baseline_grace_minutes: Minutes = Field(
        30, description="A draw up to this long after the index start still is baseline."
    )


class DrugTable(Table):
    """A drug whose infusions are units of the study."""

    name: Text = Field(description="Name in results.")
    concept: Name = Field(description="Concept of the code lists.")
    drug_class: Name = Field(description="Units of one class own events against each other.")
    course_gap_hours: Hours = Field(
        0, description="A course goes on while the next administration starts at most this later."
    )


class IndicationTable(Table):
    """A group of the indication; the first group that fits a patient names the type."""

    type: Name = Field(description="Value of the stratum indication_type.")
    concepts: list[Name] = Field(min_length=1, description="Diagnoses that show it.")


class EligibilityTable(Table):
    """Which units count, by facts dated at or before the index."""

    max_age_years: float | None = Field(
        None,
        gt=0,
        le=150,
        description="Counted while the patient is younger than this at the index.",
    )
    requires_indication: bool = Field(
        default=False, description="Needs a diagnosis of one of the indication groups."
    )
    excluded_concepts: list[Name] = Field(
        default_factory=list, description="Diagnoses that exclude."
    )
    never_event_concepts: list[Name] = Field(
        default_factory=list,
        description="Codes that are evidence of no outcome, such as true influenza; those of the "
        "indication never are.",
    )


class NaiveTable(Table):
    """What shows that a patient had the drug class before."""

    lookback_days: Days = Field(
        365, description="Record needed before the first unit to call the patient naive."
    )
    prior_concepts: list[Name] = Field(
        default_factory=list, description="Drugs and diagnoses that show earlier exposure."
    )


class AgeBand(Table):
    """A half-open band of age in completed months."""

    label: Text = Field(description="Value of the stratum age_band.")
    from_months: Months = Field(description="First month in the band.")
    until_months: Months = Field(description="First month that is no longer in it.")


class StrataTable(Table):
    """What results are broken down by."""

    by: list[str] = Field(default=list(STRATA), description="One-way strata.")
    # TOML has no tuples; what is in the pair is strict.
    two_way: list[Annotated[tuple[str, str], Field(strict=False)]] = Field(
        default_factory=list, description="Pairs of strata that are crossed."
    )
    premedication_concepts: list[Name] = Field(
        default_factory=list, description="Given shortly before the start: premedicated."
    )
    premedication_hours: Hours = Field(24, description="How long before the start that is.")
    co_infusion_concepts: list[Name] = Field(
        default_factory=list, description="Another infusion then or soon after: co_infusion."
    )
    co_infusion_hours: Hours = Field(72, description="How long after the end that is.")
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


class FollowUpTable(Table):
    """When a patient is no longer followed, and when a feed has settled."""

    contact_grace_days: Days | None = Field(
        None, description="Follow-up ends this long after the last contact; unset: it doesn't."
    )
    seen_after_hours: Hours = Field(
        6,
        description="A reading, contact or report this long after the end is a look at the child.",
    )
    settle_lag_hours: dict[str, Hours] = Field(
        default_factory=dict, description="Per event type: how late results may still arrive."
    )


class SeriousTable(Table):
    """What makes an event serious, beside death and what the reporter says."""

    life_threatening_grade: int = Field(
        4, ge=3, le=5, description="Smallest grade that is life-threatening."
    )
    disability_concepts: list[Name] = Field(
        default_factory=list, description="Diagnoses and reports of lasting harm."
    )
    important_concepts: list[Name] = Field(
        default_factory=list, description="Listed important medical events."
    )
    expected_stay_hours: dict[str, Hours] = Field(
        default_factory=dict,
        description="Per setting: how long a stay for the infusion is planned to last.",
    )
    stay_excess_hours: Hours = Field(
        24, description="A stay that much beyond the planned one is a prolonged one."
    )


class TreatmentTable(Table):
    """When a remedy counts as treatment of an event."""

    gap_hours: Hours = Field(72, description="The remedy begins or rises at most this late.")
    lookback_hours: Hours = Field(
        24, description="A remedy that was given in this time before the onset is not begun by it."
    )


class StudyModel(Table):
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
    serious: SeriousTable = SeriousTable()
    treatment: TreatmentTable = TreatmentTable()
    surveillance: SurveillanceTable = SurveillanceTable()
    effectiveness: EffectivenessTable = EffectivenessTable()
    outcome: list[Outcome] = Field(min_length=1, description="Outcomes, composites last.")
