"""What can be wrong between the files of a study: codes, concepts, tables of limits, units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.analytes import analytes
from studies.limit_checks import limit_mistakes
from studies.outcomes import Episodic, LabOutcome, ThresholdOutcome, VitalLimitOutcome

if TYPE_CHECKING:
    from studies.load import Study


def find_mistakes(study: Study) -> list[str]:
    """Return every mistake of a study's files, one sentence each; none for a sound study."""
    return [
        *_codelist_mistakes(study),
        *_missing_concepts(study),
        *limit_mistakes(study),
        *_unit_mistakes(study),
    ]


def _codelist_mistakes(study: Study) -> list[str]:
    found = []
    for row in study.codelist:
        name = f"codelists: {row['concept']} {row['code_system']} {row['code']}"
        if row["match"] not in {"exact", "prefix"}:
            found.append(f"{name}: match must be exact or prefix")
        if not (row["code"] and row["code_system"] and row["event_type"]):
            found.append(f"{name}: event_type, code_system and code must be given")
    return found


def _missing_concepts(study: Study) -> list[str]:
    have = {row["concept"] for row in study.codelist}
    model = study.model
    wanted = [("drug", drug.concept) for drug in model.drug]
    wanted += [(f"indication {g.type}", name) for g in model.indication for name in g.concepts]
    wanted += [("eligibility", name) for name in model.eligibility.excluded_concepts]
    wanted += [("naive", name) for name in model.naive.prior_concepts]
    wanted += [("strata", name) for name in model.strata.premedication_concepts]
    wanted += [("strata", name) for name in model.strata.co_infusion_concepts]
    for one in model.outcome:
        if isinstance(one, Episodic):
            wanted += [(f"outcome {one.name}", name) for name in one.report_concepts]
        if concept := getattr(one, "concept", None):
            wanted.append((f"outcome {one.name}", concept))
    return [
        f"{where}: no code list has the concept {name!r}; add a row to codelists/*.csv"
        for where, name in dict.fromkeys(wanted)
        if name not in have
    ]


def _unit_mistakes(study: Study) -> list[str]:
    """Concepts that are measured must have units in studies/analytes.csv."""
    units: dict[str, set[str]] = {}
    for row in analytes():
        units.setdefault(row.concept, set()).add(row.unit)
    found = []
    for one in study.model.outcome:
        if isinstance(one, LabOutcome | VitalLimitOutcome) and one.concept not in units:
            known = ", ".join(sorted(units))
            found.append(
                f"outcome {one.name}: nothing is known of the units of {one.concept!r}; "
                f"measured concepts are {known}"
            )
        elif isinstance(one, ThresholdOutcome) and one.unit not in units[one.concept]:
            known = ", ".join(sorted(units[one.concept]))
            found.append(f"outcome {one.name}: {one.unit!r} is no unit of {one.concept}: {known}")
    return found
