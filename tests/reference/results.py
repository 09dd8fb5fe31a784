"""Section 7: laboratory results that count as tests, and what each measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

from studies.analytes import AnalyteUnit, analytes
from studies.outcomes import CalciumTable, GradeOutcome, LabOutcome
from tests.reference.clock import When, length
from tests.reference.events import Event
from tests.reference.pieces import exact
from tests.reference.windows import Index, side_of

SPOILT = {"haemolysed", "contaminated"}
#: A number and what the comparator says of it: -1 just below, +1 just above.
Value = tuple[Fraction, int]
NORMAL_ALBUMIN = Fraction(4)


@dataclass(frozen=True)
class Result:
    """A result that counts as a test.

    Attributes:
        measure: `total`, `corrected` or `ionised`.
        is_neutral: a total that stays as it is after correction, as albumin is not low.
        added: what correction adds, in the cuts' unit of the reported unit system.
    """

    when: When
    row: dict[str, Any]
    unit: AnalyteUnit
    measure: str = "total"
    is_neutral: bool = False
    added: Fraction = Fraction(0)

    @property
    def side(self) -> int:
        return {"<": -1, ">": 1}.get(self.row.get("comparator") or "", 0)

    @property
    def value(self) -> Value:
        """In the cuts' unit of the reported unit system."""
        plain = exact(self.row["value"]) * exact(self.unit.to_system_factor)
        return (round(plain + self.added, 6) if self.added else plain), self.side

    @property
    def reported(self) -> float:
        """The number that is graded, in the unit as reported."""
        if not self.added:
            return float(self.row["value"])
        return float(round(self.value[0] / exact(self.unit.to_system_factor), 6))

    @property
    def canonical(self) -> Value:
        scale = exact(self.unit.to_canonical_factor) / exact(self.unit.to_system_factor)
        plain = exact(self.row["value"]) * exact(self.unit.to_canonical_factor)
        return (self.value[0] * scale if self.added else plain), self.side

    def is_like(self, other: Result) -> bool:
        """Whether the two may be compared."""
        if "ionised" in {self.measure, other.measure}:
            return self.measure == other.measure
        return self.measure == other.measure or self.is_neutral or other.is_neutral


def results_of(events: list[Event], concept: str) -> list[Result]:
    """Results with a number in a known unit, neither cancelled nor of a spoilt specimen."""
    found = []
    for event in events:
        if not event.means([concept]) or event.when is None:
            continue
        row = event.row
        units = [one for one in analytes() if (one.concept, one.unit) == (concept, row["unit"])]
        is_spoilt = row.get("status") == "cancelled" or row.get("specimen_quality") in SPOILT
        if row["value"] is not None and units and not is_spoilt:
            found.append(Result(event.when, row, units[0]))
    return found


def measured(
    events: list[Event], outcome: LabOutcome, starts: list[Index], grace: timedelta | None
) -> list[Result]:
    """All results of an outcome, totals of calcium as they are compared.

    `starts` are those of the infusions: draws before and after one are no one specimen.
    """
    totals = results_of(events, outcome.concept)
    calcium = outcome.calcium if isinstance(outcome, GradeOutcome) else None
    if calcium is None:
        return totals
    ionised = []
    if calcium.ionised_concept is not None:
        found = results_of(events, calcium.ionised_concept)
        ionised = [replace(one, measure="ionised") for one in found]
    alone = [
        one
        for one in totals
        if not any(
            is_specimen(one, it, calcium)
            and not any(is_between(start, one, it, outcome.same_day, grace) for start in starts)
            for it in ionised
        )
    ]
    if calcium.albumin_concept is not None:
        albumin = results_of(events, calcium.albumin_concept)
        alone = [corrected(one, albumin, calcium) for one in alone]
    return alone + ionised


def is_specimen(total: Result, ionised: Result, calcium: CalciumTable) -> bool:
    """Whether two results are of one draw; known by its day, of that day."""
    if total.when.is_day or ionised.when.is_day:
        return total.when.first == ionised.when.first
    apart = timedelta(minutes=calcium.specimen_minutes)
    return abs(total.when.at - ionised.when.at) <= apart


def is_between(
    start: Index, one: Result, other: Result, same_day: str, grace: timedelta | None
) -> bool:
    """Whether an infusion started between two draws; its first minutes lie before it."""
    sides = {
        side_of(start, it.when, same_day, grace)
        or ("before" if it.when.first < start.day else "after")
        for it in (one, other)
    }
    return {"before", "after"} <= sides


def corrected(total: Result, albumin: list[Result], calcium: CalciumTable) -> Result:
    """A total with what the nearest albumin adds."""
    near = [
        (distance, one)
        for one in albumin
        if (distance := apart(total.when, one.when)) <= reach(total.when, one.when, calcium)
    ]
    if not near:
        return total
    _, nearest = min(near, key=lambda it: (it[0], it[1].when.at, it[1].canonical))
    level = nearest.canonical[0]
    if level >= NORMAL_ALBUMIN:
        return replace(total, is_neutral=True)
    is_si = total.unit.unit_system == "si"
    added = Fraction("0.02") * (40 - 10 * level) if is_si else Fraction("0.8") * (4 - level)
    return replace(total, measure="corrected", added=added)


def apart(one: When, other: When) -> timedelta:
    if one.is_day or other.is_day:
        return timedelta(days=abs((one.first - other.first).days))
    return abs(one.at - other.at)


def reach(one: When, other: When, calcium: CalciumTable) -> timedelta:
    if one.is_day or other.is_day:
        return timedelta(days=length(calcium.albumin_gap_hours, "day"))
    return timedelta(hours=calcium.albumin_gap_hours)
