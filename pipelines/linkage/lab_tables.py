"""What a study says of laboratory results, as the small tables that the linkage SQL reads.

Outcomes that read the same results with the same cuts share a *scale*: results are graded once.
"""

from __future__ import annotations

from typing import Any

from studies.load import Study
from studies.outcomes import GradeOutcome, RatioOutcome, ThresholdOutcome

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US

Laboratory = GradeOutcome | ThresholdOutcome | RatioOutcome

#: Columns with their DuckDB types, and the rows.
ColumnsAndRows = tuple[str, list[tuple[Any, ...]]]

_BY_AGE = "from_months INTEGER, until_months INTEGER"


def lab_tables(study: Study) -> dict[str, ColumnsAndRows]:
    """Return the tables of laboratory outcomes by name.

    - `lab_outcome`: one row an outcome: its scale, and whether its worst results are the highest;
    - `lab_scale`: one row a scale and concept that it reads; `measure` is null where only one
      counts, else `total` or `ionised`;
    - `lab_cut_table`, `normal_limit`: rows of the tables of cuts and limits, by scale and concept.
    """
    outcomes = [one for one in study.model.outcome if isinstance(one, Laboratory)]
    scale_of = _scales(outcomes)
    scales = [one for one in outcomes if scale_of[one.name] == one.name]
    grades = [one for one in scales if isinstance(one, GradeOutcome)]
    return {
        "lab_outcome": (
            "outcome VARCHAR, scale VARCHAR, is_high_worse BOOLEAN",
            [(one.name, scale_of[one.name], _is_high_worse(study, one)) for one in outcomes],
        ),
        "lab_scale": (
            """scale VARCHAR, kind VARCHAR, concept VARCHAR, measure VARCHAR,
            albumin_concept VARCHAR, albumin_gap_us BIGINT, specimen_us BIGINT""",
            [row for one in scales for row in _scale_rows(one)],
        ),
        "lab_cut_table": (
            f"""scale VARCHAR, concept VARCHAR, grade INTEGER, side VARCHAR, "of" VARCHAR,
            cut DOUBLE, unit VARCHAR, {_BY_AGE}""",
            [row for one in grades for row in _cut_rows(study, one)],
        ),
        "normal_limit": (
            f"""scale VARCHAR, concept VARCHAR, sex VARCHAR, {_BY_AGE}, unit VARCHAR, low DOUBLE,
            high DOUBLE""",
            [row for one in grades for row in _normal_rows(study, one)],
        ),
    }


def _scales(outcomes: list[Laboratory]) -> dict[str, str]:
    """Return the scale of each outcome: the name of the first that grades the same way."""
    first: dict[Any, str] = {}
    scale_of = {}
    for one in outcomes:
        key: Any = one.name
        if isinstance(one, GradeOutcome):
            calcium = one.calcium and one.calcium.model_dump_json()
            key = (one.concept, one.cuts, one.normal_limits, calcium)
        scale_of[one.name] = first.setdefault(key, one.name)
    return scale_of


def _is_high_worse(study: Study, one: Laboratory) -> bool:
    if isinstance(one, GradeOutcome):
        return all(row["side"].endswith("above") for row in study.limits[one.cuts])
    return isinstance(one, RatioOutcome) or (
        isinstance(one, ThresholdOutcome) and one.operator in {">", ">="}
    )


def _scale_rows(one: Laboratory) -> list[tuple[Any, ...]]:
    calcium = one.calcium if isinstance(one, GradeOutcome) else None
    if calcium is None:
        return [(one.name, one.kind, one.concept, None, None, None, None)]
    rows: list[tuple[Any, ...]] = [
        (
            one.name,
            one.kind,
            one.concept,
            "total",
            calcium.albumin_concept,
            round(calcium.albumin_gap_hours * HOUR_US),
            round(calcium.specimen_minutes * MINUTE_US),
        )
    ]
    if calcium.ionised_concept:
        rows.append((one.name, one.kind, calcium.ionised_concept, "ionised", None, None, None))
    return rows


def _graded_concepts(one: GradeOutcome) -> list[tuple[str, str, str | None]]:
    """Return concept, table of cuts and table of limits of all that an outcome grades."""
    found: list[tuple[str, str, str | None]] = [(one.concept, one.cuts, one.normal_limits)]
    calcium = one.calcium
    if calcium and calcium.ionised_concept and calcium.ionised_cuts:
        found.append((calcium.ionised_concept, calcium.ionised_cuts, calcium.ionised_normal_limits))
    return found


def _cut_rows(study: Study, one: GradeOutcome) -> list[tuple[Any, ...]]:
    return [
        (
            one.name,
            concept,
            int(row["grade"]),
            row["side"],
            row["of"],
            float(row["cut"]),
            row["unit"] or None,
            _months(row["from_months"]),
            _months(row["until_months"]),
        )
        for concept, cuts, _ in _graded_concepts(one)
        for row in study.limits[cuts]
    ]


def _normal_rows(study: Study, one: GradeOutcome) -> list[tuple[Any, ...]]:
    return [
        (
            one.name,
            concept,
            row["sex"],
            _months(row["from_months"]),
            _months(row["until_months"]),
            row["unit"],
            float(row["low"]) if row["low"] else None,
            float(row["high"]) if row["high"] else None,
        )
        for concept, _, limits in _graded_concepts(one)
        if limits
        for row in study.limits[limits]
    ]


def _months(text: str) -> int | None:
    return int(text) if text else None
