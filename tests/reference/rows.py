"""What the reference says of a patient, and what every rule reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from studies.load import Study
from tests.reference.clock import When
from tests.reference.events import Event
from tests.reference.follow_up import Feeds
from tests.reference.stretches import Stretches
from tests.reference.units import Unit


@dataclass(frozen=True)
class UnitRow:
    """A unit and its strata."""

    key: str
    ordinal: int
    n_infusions: int
    is_eligible: bool
    age_months: int | None
    indication_type: str
    setting: str
    is_naive: bool | None
    premedicated: bool
    evidence: str
    is_dispensed_undated: bool
    interrupted: bool


@dataclass(frozen=True)
class Row:
    """A unit's outcome in one window. None where the question is not asked of the outcome."""

    unit: str
    outcome: str
    window: str
    status: str
    onset: When | None = None
    grade: int | None = None
    baseline_value: float | None = None
    is_observed: bool | None = None
    is_tested: bool | None = None
    is_determined: bool | None = None
    cut_reason: str | None = None
    is_worsened: bool = False
    is_pre_existing: bool = False
    has_event: bool = False
    is_known: bool = True
    is_closed: bool = True
    is_by_days: bool = False
    is_missing_start: bool = False
    is_in_clean_window: bool = False
    n_events: int = 0
    n_events_uncleaned: int = 0
    person_days: float = 0
    at_risk_days: float = 0
    at_risk_days_uncleaned: float = 0
    n_candidate_units: int | None = None
    is_serious: bool | None = None
    serious_criteria: tuple[str, ...] = ()
    is_treated: bool | None = None
    has_remedy: bool | None = None
    remedy_after_hours: float | None = None
    measure: str | None = None
    baseline_measure: str | None = None
    is_switch: bool = False
    is_unlike: bool = False
    evidence: tuple[int, ...] = ()
    merged_into: str | None = None


@dataclass(frozen=True)
class Judged:
    """A row, the reports that are evidence of its event, and time that clean windows take."""

    row: Row
    rows: list[dict[str, Any]]
    taken: Stretches = field(default_factory=list)


@dataclass(frozen=True)
class Patient:
    """What every rule reads."""

    study: Study
    events: list[Event]
    units: list[Unit]
    feeds: Feeds
