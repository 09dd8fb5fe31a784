"""Code lists and concepts: whether each row is sound, and each concept has codes where it is read.

What a code list holds is in the site's ingest scope, so a concept with a code in the right event
type is read; one without is a rule that never fires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import schemas
from pipelines.base.tomlcheck import Mistake, Path_, did_you_mean
from studies.analytes import analytes
from studies.outcomes import (
    Episodic,
    FeverOutcome,
    GradeOutcome,
    LabOutcome,
    Outcome,
    ThresholdOutcome,
    VitalLimitOutcome,
)

if TYPE_CHECKING:
    from studies.model import StudyModel

_KEY = ("concept", "event_type", "code_system", "code", "match")
_DIAGNOSES = ("DiagnosisRecorded",)
_REPORTS = ("AdverseEventReported", "DiagnosisRecorded")
_DRUGS = ("MedicationGiven", "InfusionRecorded")


class CodeRow(NamedTuple):
    """A row of a code list, and where it stands, such as `codelists/drugs.csv:12`."""

    place: str
    row: dict[str, str]


def codelist_mistakes(codes: Iterable[CodeRow]) -> Iterator[str]:
    """Yield what is wrong in single rows of the code lists, and rows that are there twice."""
    first: dict[tuple[str, ...], str] = {}
    for place, row in codes:
        if row["match"] not in {"exact", "prefix"}:
            yield f"{place}: match must be exact or prefix"
        if not all(row[name] for name in ("concept", "event_type", "code_system", "code")):
            yield f"{place}: concept, event_type, code_system and code must be given"
        elif row["event_type"] not in schemas.CLINICAL_TYPES:
            meant = did_you_mean(row["event_type"], schemas.CLINICAL_TYPES)
            known = meant or f"; known are {', '.join(schemas.CLINICAL_TYPES)}"
            yield f"{place}: there is no event type {row['event_type']!r}{known}"
        key = tuple(row[name] for name in _KEY)
        if first.setdefault(key, place) != place:
            yield f"{place}: the same code of the same concept as {first[key]}; delete one"


class Use(NamedTuple):
    """A concept that a setting names, and the event types in which it is looked for."""

    path: Path_
    concept: str
    event_types: tuple[str, ...]


def concept_mistakes(model: StudyModel, codes: Iterable[CodeRow]) -> Iterator[Mistake]:
    """Yield every concept that has no code, or none in the event types where it is looked for."""
    have: dict[str, set[str]] = {}
    for _, row in codes:
        have.setdefault(row["concept"], set()).add(row["event_type"])
    for path, concept, event_types in dict.fromkeys(uses(model)):
        if concept not in have:
            meant = did_you_mean(concept, have) or "; add a row to codelists/*.csv"
            yield Mistake(path, f"no code list has the concept {concept!r}{meant}")
        elif not have[concept] & set(event_types):
            yield Mistake(
                path,
                f"the concept {concept!r} has no code in {' or '.join(event_types)}, where it "
                "would be looked for; add a row to codelists/*.csv",
            )


def uses(model: StudyModel) -> Iterator[Use]:
    """Yield every concept that the study names."""
    for place, drug in enumerate(model.drug):
        yield Use(("drug", place, "concept"), drug.concept, ("InfusionRecorded",))
    for place, group in enumerate(model.indication):
        for name in group.concepts:
            yield Use(("indication", place, "concepts"), name, _DIAGNOSES)
    listed = (
        ("eligibility", "excluded_concepts", _DIAGNOSES),
        ("eligibility", "never_event_concepts", _REPORTS),
        ("naive", "prior_concepts", (*_DRUGS, *_DIAGNOSES)),
        ("strata", "premedication_concepts", ("MedicationGiven",)),
        ("strata", "co_infusion_concepts", ("InfusionRecorded",)),
        ("serious", "disability_concepts", _REPORTS),
        ("serious", "important_concepts", _REPORTS),
        ("effectiveness", "fracture_concepts", _DIAGNOSES),
    )
    for table, key, event_types in listed:
        for name in getattr(getattr(model, table), key):
            yield Use((table, key), name, event_types)
    if density := model.effectiveness.density_concept:
        yield Use(("effectiveness", "density_concept"), density, ("BoneDensityMeasured",))
    for place, one in enumerate(model.outcome):
        yield from _uses_of(one, ("outcome", place))


def _uses_of(one: Outcome, path: Path_) -> Iterator[Use]:
    for name in one.remedy_concepts:
        yield Use((*path, "remedy_concepts"), name, _DRUGS)
    if isinstance(one, Episodic):
        for name in one.report_concepts:
            yield Use((*path, "report_concepts"), name, _REPORTS)
    if isinstance(one, FeverOutcome | VitalLimitOutcome):
        yield Use((*path, "concept"), one.concept, ("VitalSignMeasured",))
    if isinstance(one, LabOutcome):
        yield Use((*path, "concept"), one.concept, ("LabResulted",))
    if isinstance(one, GradeOutcome) and one.calcium:
        for key in ("ionised_concept", "albumin_concept"):
            if name := getattr(one.calcium, key):
                yield Use((*path, "calcium", key), name, ("LabResulted",))


def unit_mistakes(model: StudyModel) -> Iterator[Mistake]:
    """Yield measured concepts without units in studies/analytes.csv, and units that they lack."""
    units: dict[str, set[str]] = {}
    for row in analytes():
        units.setdefault(row.concept, set()).add(row.unit)
    measured = {"VitalSignMeasured", "LabResulted"}
    for path, concept, event_types in uses(model):
        if measured & set(event_types) and concept not in units:
            meant = did_you_mean(concept, units)
            yield Mistake(
                path,
                f"nothing is known of the units of {concept!r}"
                + (meant or f"; measured concepts are {', '.join(sorted(units))}"),
            )
    for place, one in enumerate(model.outcome):
        if isinstance(one, ThresholdOutcome) and one.unit not in units.get(one.concept, {one.unit}):
            known = sorted(units[one.concept])
            yield Mistake(
                ("outcome", place, "unit"),
                f"{one.unit!r} is no unit of {one.concept}; known are {', '.join(known)}",
            )
