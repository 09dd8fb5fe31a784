"""Laboratory results: panels before and after, planted grades, and results that are no tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.cohort import Bools, Floats, Ints, Patients, Units
from pipelines.simulate.edges import Style, Trap
from pipelines.simulate.rows import block, pick, stack, visit_labels
from pipelines.simulate.scenario import Plan

Index = npt.NDArray[np.intp]

#: Values per kind as (mg/dL low, high, mmol/L low, high); grades by CTCAE in that unit system.
CALCIUM_VALUES = {
    "normal": (9.7, 10.3, 2.41, 2.58),
    "grade_1": (8.1, 8.4, 2.03, 2.10),
    "cut": (8.0, 8.0, 2.0, 2.0),
    "grade_2": (7.1, 7.9, 1.77, 1.98),
    "grade_3": (6.3, 6.9, 1.53, 1.73),
    "own_limit": (7.9, 7.9, 1.97, 1.97),
}
PHOSPHATE_VALUES = {
    "normal": (4.0, 5.3, 1.29, 1.71),
    "cut": (2.5, 2.5, 0.8, 0.8),
    "grade_2": (2.0, 2.4, 0.61, 0.79),
}


@dataclass(frozen=True)
class Chemist:
    """The laboratory: who reports in mmol/L, and the random stream."""

    rng: np.random.Generator
    is_si: Bools

    def value(self, table: Mapping[str, tuple[float, ...]], kind: str, at: Index) -> Floats:
        """Draw values of a kind in each unit's own unit system, rounded as reported."""
        low, high, si_low, si_high = table[kind]
        draw = self.rng.random(len(at))
        plain = np.round(low + draw * (high - low), 1)
        si = np.round(si_low + draw * (si_high - si_low), 2)
        return np.where(self.is_si[at], si, plain)


def render_labs(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan
) -> pl.DataFrame:
    """Return the rows of labs.csv, steering columns included."""
    chemist = Chemist(rng, patients.is_si[units.patient])
    drawn = _post_draw(rng, units, plan)
    parts = [
        *_before(chemist, units, plan, rng),
        *_after(chemist, units, plan, drawn),
        *_second(chemist, units, plan),
        *_no_tests(chemist, units, plan),
    ]
    return stack(parts).with_columns(file=pl.lit("labs"))


def _post_draw(rng: np.random.Generator, units: Units, plan: Plan) -> Ints:
    """Return the minute of the main draw: at the contact, or within hours where there is none."""
    early = units.start + rng.integers(90, 200, units.n)
    return np.where(plan.is_early_draw, early, plan.contact_at + 12)


def _before(
    chemist: Chemist, units: Units, plan: Plan, rng: np.random.Generator
) -> list[pl.DataFrame]:
    at = np.flatnonzero(plan.has_baseline)
    moment = units.start - rng.integers(1, 31, units.n) * DAY + rng.integers(0, 90, units.n)
    value = chemist.value(CALCIUM_VALUES, "normal", at)
    trap = plan.trap[at]
    worsens = plan.has[at, codes.LOW_CA] & (plan.calcium_style[at] == Style.WORSENED)
    is_low = (trap == Trap.CALCIUM_GRADE_2_TWICE) | worsens
    value = np.where(is_low, chemist.value(CALCIUM_VALUES, "grade_2", at), value)
    is_one = trap == Trap.CALCIUM_GRADE_1_TWICE
    value = np.where(is_one, chemist.value(CALCIUM_VALUES, "grade_1", at), value)
    phosphate = chemist.value(PHOSPHATE_VALUES, "normal", at)
    parts = [
        _calcium(chemist, units, at, moment[at], value, is_low | is_one),
        _phosphate(chemist, units, at, moment[at], phosphate),
        *_others(chemist, units, at, moment[at]),
    ]
    # Older than the baseline window: read by nobody as a baseline.
    stale = pick(rng, ~plan.has_baseline & ~np.append(units.is_restart[1:], False), 0.5)
    old = chemist.value(CALCIUM_VALUES, "normal", stale)
    when = units.start[stale] - 97 * DAY
    first = units.ordinal[stale] == 1
    return [
        *parts,
        _calcium(chemist, units, stale[first], when[first], old[first], None),
    ]


def _after(chemist: Chemist, units: Units, plan: Plan, drawn: Ints) -> list[pl.DataFrame]:
    at = np.flatnonzero(plan.is_calcium_tested)
    trap = plan.trap[at]
    value = chemist.value(CALCIUM_VALUES, "normal", at)
    for laid, kind in (
        (Trap.CALCIUM_GRADE_1_TWICE, "grade_1"),
        (Trap.CALCIUM_AT_CUT, "cut"),
        (Trap.CALCIUM_GRADE_2_TWICE, "grade_2"),
        (Trap.CALCIUM_AT_OWN_LIMIT, "own_limit"),
        (Trap.CALCIUM_WITHIN_GRACE, "grade_2"),
    ):
        value = np.where(trap == laid, chemist.value(CALCIUM_VALUES, kind, at), value)
    happens = plan.has[at, codes.LOW_CA]
    style = plan.calcium_style[at]
    kind_3 = happens & (style == Style.WORSENED) & plan.has_baseline[at]
    value = np.where(happens, chemist.value(CALCIUM_VALUES, "grade_2", at), value)
    value = np.where(kind_3, chemist.value(CALCIUM_VALUES, "grade_3", at), value)
    was = np.where(
        trap == Trap.CALCIUM_CORRECTED_UP,
        chemist.value(CALCIUM_VALUES, "grade_3", at),
        np.where(
            happens & (style == Style.CORRECTED_DOWN),
            chemist.value(CALCIUM_VALUES, "normal", at),
            np.nan,
        ),
    )
    is_odd = happens | np.isin(trap, range(Trap.CALCIUM_GRADE_1_TWICE, Trap.PHOSPHATE_AT_CUT))
    calcium = _calcium(chemist, units, at, drawn[at], value, is_odd, was=was)
    low = np.where(chemist.is_si[at], 1.95, 7.8)
    own = np.where(trap == Trap.CALCIUM_AT_OWN_LIMIT, low, calcium["low"].to_numpy())
    calcium = calcium.with_columns(low=pl.Series(own, nan_to_null=True))
    tested = np.flatnonzero(plan.is_phosphate_tested)
    phosphate = chemist.value(PHOSPHATE_VALUES, "normal", tested)
    low_ones = plan.has[tested, codes.LOW_PO4]
    grade_2 = chemist.value(PHOSPHATE_VALUES, "grade_2", tested)
    phosphate = np.where(low_ones, grade_2, phosphate)
    at_cut = plan.trap[tested] == Trap.PHOSPHATE_AT_CUT
    phosphate = np.where(at_cut, chemist.value(PHOSPHATE_VALUES, "cut", tested), phosphate)
    grace = np.flatnonzero(plan.trap == Trap.CALCIUM_WITHIN_GRACE)
    in_grace = chemist.value(CALCIUM_VALUES, "grade_2", grace)
    return [
        calcium,
        _phosphate(chemist, units, tested, drawn[tested], phosphate),
        *_others(chemist, units, at, drawn[at]),
        _calcium(chemist, units, grace, units.start[grace] + 20, in_grace, None),
    ]


def _second(chemist: Chemist, units: Units, plan: Plan) -> list[pl.DataFrame]:
    """A second, normal draw on the ward; and a low one exactly when the window has ended."""
    ward = plan.is_calcium_tested & (units.setting == codes.INPATIENT) & ~plan.is_early_draw
    ward &= units.cut_at == units.window_end
    at = np.flatnonzero(ward)
    normal = chemist.value(CALCIUM_VALUES, "normal", at)
    late = np.flatnonzero(plan.trap == Trap.CALCIUM_AT_WINDOW_END)
    low = chemist.value(CALCIUM_VALUES, "grade_2", late)
    odd = np.ones(len(late), dtype=np.bool_)
    return [
        _calcium(chemist, units, at, units.end[at] + 24 * HOUR, normal, None),
        _calcium(chemist, units, late, units.window_end[late], low, odd),
    ]


def _no_tests(chemist: Chemist, units: Units, plan: Plan) -> list[pl.DataFrame]:
    """Results that are no tests: text only, a spoiled specimen, a cancelled order."""
    parts = []
    for trap, column, word in (
        (Trap.UNTESTED_TEXT_ONLY, "text", "HEMOLYZED"),
        (Trap.UNTESTED_HAEMOLYSED, "specimen", "haemolysed"),
        (Trap.UNTESTED_CANCELLED, "status", "cancelled"),
    ):
        at = np.flatnonzero(plan.trap == trap)
        low = chemist.value(CALCIUM_VALUES, "grade_3", at)
        made = _calcium(chemist, units, at, plan.contact_at[at] + 12, low, None)
        made = made.with_columns(pl.lit(word).alias(column))
        parts.append(made.with_columns(value=None) if column == "text" else made)
    return parts


def _calcium(
    chemist: Chemist,
    units: Units,
    at: Index,
    moment: Ints,
    value: Floats,
    has_limits: Bools | None,
    was: Floats | None = None,
) -> pl.DataFrame:
    """Calcium rows; `has_limits` forces the laboratory's own limits where a grade depends on it."""
    made = _analyte(chemist, units, at, moment, value, codes.CALCIUM)
    is_bare = chemist.rng.random(len(at)) < 0.3
    if has_limits is not None:
        is_bare &= ~has_limits
    return made.with_columns(
        low=pl.when(pl.Series(is_bare)).then(None).otherwise(pl.col("low")),
        high=pl.when(pl.Series(is_bare)).then(None).otherwise(pl.col("high")),
        was_value=pl.Series(np.full(len(at), np.nan) if was is None else was, nan_to_null=True),
    )


def _phosphate(
    chemist: Chemist, units: Units, at: Index, moment: Ints, value: Floats
) -> pl.DataFrame:
    return _analyte(chemist, units, at, moment, value, codes.PHOSPHATE)


def _analyte(
    chemist: Chemist,
    units: Units,
    at: Index,
    moment: Ints,
    value: Floats,
    pair: tuple[codes.Analyte, codes.Analyte],
) -> pl.DataFrame:
    si = chemist.is_si[at]
    fields = {
        name: np.where(si, getattr(pair[1], name), getattr(pair[0], name))
        for name in ("code", "unit", "low", "high")
    }
    return _rows(units, at, moment, value, name=pair[0].display, **fields)


def _others(chemist: Chemist, units: Units, at: Index, moment: Ints) -> list[pl.DataFrame]:
    """Albumin (never below 4.0 g/dL, so corrected and total calcium agree) and creatinine."""
    parts = []
    for analyte, low, high in ((codes.ALBUMIN, 4.0, 4.9), (codes.CREATININE, 0.25, 0.6)):
        digits = 1 if analyte is codes.ALBUMIN else 2
        value = np.round(chemist.rng.uniform(low, high, len(at)), digits)
        parts.append(
            _rows(
                units,
                at,
                moment,
                value,
                code=analyte.code,
                name=analyte.display,
                unit=analyte.unit,
                low=analyte.low,
                high=analyte.high,
            )
        )
    return parts


def _rows(
    units: Units,
    at: Index,
    moment: Ints,
    value: Floats,
    **fields: str | float | npt.NDArray[np.generic],
) -> pl.DataFrame:
    return block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=moment,
        night=units.night[at],
        value=value,
        status="final",
        encounter_id=visit_labels(units, at, moment),
        **fields,
    )
