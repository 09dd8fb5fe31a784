"""What can be wrong between the files of a study: codes, concepts, tables of limits, units."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from studies.analytes import analytes
from studies.outcomes import Episodic, GradeOutcome, LabOutcome, ThresholdOutcome, VitalLimitOutcome

if TYPE_CHECKING:
    from studies.load import Study

CUT_COLUMNS = ("unit", "grade", "below", "source")
NORMAL_COLUMNS = ("sex", "from_months", "until_months", "unit", "low", "high", "source")
VITAL_COLUMNS = ("from_months", "until_months", "high", "source")
_NUMBERS = {"grade", "below", "from_months", "until_months", "low", "high"}


def find_mistakes(study: Study) -> list[str]:
    """Return every mistake of a study's files, one sentence each; none for a sound study."""
    return [
        *_codelist_mistakes(study),
        *_missing_concepts(study),
        *_limit_mistakes(study),
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


def _limit_mistakes(study: Study) -> list[str]:
    found = []
    for one in study.model.outcome:
        tables: list[tuple[str, tuple[str, ...]]] = []
        if isinstance(one, GradeOutcome):
            tables.append((one.cuts, CUT_COLUMNS))
            if one.normal_limits:
                tables.append((one.normal_limits, NORMAL_COLUMNS))
        if isinstance(one, VitalLimitOutcome):
            tables.append((one.limits, VITAL_COLUMNS))
        for name, columns in tables:
            rows = study.limits.get(name)
            if not rows:
                found.append(f"outcome {one.name}: there is no limits/{name}.csv with rows")
            elif tuple(rows[0]) != columns:
                found.append(f"limits/{name}.csv:1: the columns must be: {', '.join(columns)}")
            else:
                found += _number_mistakes(name, rows) or _band_mistakes(name, rows)
    return list(dict.fromkeys(found))


def _number_mistakes(name: str, rows: tuple[dict[str, str], ...]) -> list[str]:
    return [
        f"limits/{name}.csv, data row {place}: {column} must be a number"
        for place, row in enumerate(rows, start=1)
        for column in _NUMBERS & row.keys()
        if not _is_number(row[column])
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _band_mistakes(name: str, rows: tuple[dict[str, str], ...]) -> list[str]:
    """Bands of age, per sex and unit where the table has them, must neither overlap nor gape."""
    if "from_months" not in rows[0]:
        return []
    groups: dict[tuple[str | None, str | None], list[tuple[float, float]]] = {}
    for row in rows:
        band = (float(row["from_months"]), float(row["until_months"]))
        groups.setdefault((row.get("sex"), row.get("unit")), []).append(band)
    found = []
    for bands in groups.values():
        if any(start >= until for start, until in bands):
            found.append(f"limits/{name}.csv: a band of age ends before it starts")
        if any(until != start for (_, until), (start, _) in pairwise(sorted(bands))):
            found.append(f"limits/{name}.csv: bands of age overlap or leave a gap")
    return found


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
