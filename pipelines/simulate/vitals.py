"""Vital signs: what a nurse writes down around an infusion, and the planted readings among it."""

from __future__ import annotations

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
#: Minutes after the end at which a ward measures.
WARD_HOURS = (9, 14, 20, 26)


class Body:
    """Each unit's own resting values and its age's limits.

    Limits of a child within 16 months of the next band are those of the younger band: an event is
    planted above both, so that no reading hangs on the exact edge of a band.
    """

    def __init__(self, rng: np.random.Generator, patients: Patients, units: Units) -> None:
        months = (units.start // DAY - patients.birth[units.patient]) / 30.44
        self.heart_limit = _limit(codes.HEART_RATE_LIMITS, months - 16)
        self.breath_limit = _limit(codes.RESPIRATORY_RATE_LIMITS, months - 16)
        lowest = np.minimum(_limit(codes.HEART_RATE_LIMITS, months), self.heart_limit)
        self.heart = np.round(lowest * rng.uniform(0.72, 0.86, units.n))
        self.tight_heart = np.ceil(
            lowest / 1.1
        )  # 15 % more is above the limit, 20 % is not reached
        lowest = np.minimum(_limit(codes.RESPIRATORY_RATE_LIMITS, months), self.breath_limit)
        self.breath = np.round(lowest * rng.uniform(0.78, 0.92, units.n))


def _limit(table: tuple[tuple[int, int], ...], months: Floats) -> Floats:
    edges = np.array([edge for edge, _ in table])
    limits = np.array([limit for _, limit in table], dtype=np.float64)
    return limits[np.maximum(np.searchsorted(edges, months, side="right") - 1, 0)]


def render_vitals(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan
) -> pl.DataFrame:
    """Return the rows of vitals.csv, steering columns included."""
    body = Body(rng, patients, units)
    parts = [
        _readings(rng, units, plan, body, at, moment)
        for at, moment in _moments(rng, units, plan)
        if len(at)
    ]
    parts += _fevers(rng, units, plan)
    parts += _fast_hearts(rng, units, plan, body)
    return stack(parts).with_columns(file=pl.lit("vitals"))


def _moments(rng: np.random.Generator, units: Units, plan: Plan) -> list[tuple[Index, Ints]]:
    """List (units, minute) of ordinary readings: before, during, after, and at the contact."""
    everyone = np.arange(units.n)
    is_pam = units.drug == codes.PAMIDRONATE
    moments = [(everyone, units.start - 20), (everyone, units.start + 25)]
    for day in (1, 2):
        at = np.flatnonzero(is_pam)
        moments.append((at, units.start[at] + day * DAY - 20))
        moments.append((at, units.start[at] + day * DAY + 130))
    moments.append((everyone, units.end + 15))
    seen = np.flatnonzero(plan.is_observed & ~plan.is_call)
    moments.append((seen, plan.contact_at[seen] + 5))
    ward = pick(rng, plan.is_observed & (units.setting == codes.INPATIENT))
    moments += [(ward, units.end[ward] + hours * HOUR + 2) for hours in WARD_HOURS]
    return moments


def _readings(
    rng: np.random.Generator, units: Units, plan: Plan, body: Body, at: Index, moment: Ints
) -> pl.DataFrame:
    """One ordinary set of temperature, heart rate and respiratory rate per unit."""
    n = len(at)
    trap = plan.trap[at]
    is_before = moment < units.start[at]
    is_during = moment < units.end[at] + 5 * HOUR
    temperature = np.round(rng.uniform(36.3, 37.4, n), 1)
    worsens = plan.has[at, codes.FEVER] & (plan.fever_style[at] == Style.WORSENED)
    is_feverish = is_during & ((trap == Trap.FEVER_ONGOING) | worsens)
    temperature = np.where(is_feverish, np.round(rng.uniform(38.1, 38.6, n), 1), temperature)
    heart = np.round(body.heart[at] * np.where(is_before, 1.0, rng.uniform(0.96, 1.06, n)))
    is_tight = trap == Trap.HEART_FIFTEEN_PERCENT
    heart = np.where(is_tight, body.tight_heart[at], heart)
    is_hot_start = (trap == Trap.HEART_AFTER_CANNULATION) & (moment == units.start[at] + 25)
    heart = np.where(is_hot_start, np.round(body.heart_limit[at] * 1.25), heart)
    breath = np.round(body.breath[at] * np.where(is_before, 1.0, rng.uniform(0.96, 1.06, n)))
    is_fahrenheit = rng.random(n) < np.where(is_feverish, 0.0, 0.08)
    shown = np.where(is_fahrenheit, np.round(temperature * 1.8 + 32, 1), temperature)
    return stack(
        [
            _block(units, at, moment, codes.TEMPERATURE, shown, _degrees(is_fahrenheit)),
            _block(units, at, moment, codes.HEART_RATE, heart, "/min"),
            _block(units, at, moment, codes.RESPIRATORY_RATE, breath, "/min"),
        ]
    ).with_columns(encounter_id=pl.concat([visit_labels(units, at, moment)] * 3))


def _degrees(is_fahrenheit: Bools) -> pl.Series:
    return pl.Series(np.where(is_fahrenheit, "[degF]", "Cel"))


def _block(
    units: Units, at: Index, moment: Ints, code: str, value: Floats, unit: str | pl.Series
) -> pl.DataFrame:
    return block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=moment,
        night=units.night[at],
        code=code,
        name=codes.VITAL_DISPLAYS[code],
        value=value,
        unit=unit,
        site="axillary" if code == codes.TEMPERATURE else None,
    )


def _fevers(rng: np.random.Generator, units: Units, plan: Plan) -> list[pl.DataFrame]:
    """Planted temperatures: fevers of every style, and what looks like fever and is none."""
    limit = units.own_until
    at = np.flatnonzero(plan.has[:, codes.FEVER])
    style = plan.fever_style[at]
    last_hour = np.minimum(limit[at] - 5 * HOUR, units.end[at] + 44 * HOUR)
    moment = units.end[at] + rng.integers(2 * HOUR, np.maximum(last_hour - units.end[at], 121))
    moment = np.where(style == Style.AT_START, units.start[at], moment)
    moment = np.where(style == Style.LAST_MINUTE, limit[at] - 1, moment)
    moment = np.where(style == Style.BEFORE_CLOCK_CHANGE_ENDS, limit[at] - HOUR // 2, moment)
    value = np.round(rng.uniform(38.2, 39.3, len(at)), 1)
    value = np.where(style == Style.ROUNDS_UP, 37.96, value)
    value = np.where(style == Style.WORSENED, np.round(39.2 + rng.random(len(at)) * 0.7, 1), value)
    is_f = style == Style.FAHRENHEIT
    shown = np.where(is_f, np.round(value * 1.8 + 32, 1), value)
    parts = [_block(units, at, moment, codes.TEMPERATURE, shown, _degrees(is_f))]
    before = np.flatnonzero(
        (plan.trap == Trap.FEVER_ONGOING)
        | (plan.has[:, codes.FEVER] & (plan.fever_style == Style.WORSENED))
    )
    parts.append(_temperature(units, before, units.start[before] - 14 * HOUR, 38.3))
    for trap, minutes, degrees in (
        (Trap.FEVER_AT_WINDOW_END, 0, 38.8),
        (Trap.FEVER_AFTER_CLOCK_CHANGE, HOUR // 2, 38.8),
        (Trap.FEVER_ROUNDS_DOWN, -20 * HOUR, 37.94),
    ):
        at = np.flatnonzero(plan.trap == trap)
        parts.append(_temperature(units, at, units.window_end[at] + minutes, degrees))
    # A normal reading in the doubled hour of the clock change: flagged, never an event.
    at = np.flatnonzero(units.shift < 0)
    parts.append(_temperature(units, at, units.shift_at[at] - 30, 36.7))
    return parts


def _temperature(units: Units, at: Index, moment: Ints, degrees: float) -> pl.DataFrame:
    return _block(units, at, moment, codes.TEMPERATURE, np.full(len(at), degrees), "Cel")


def _fast_hearts(
    rng: np.random.Generator, units: Units, plan: Plan, body: Body
) -> list[pl.DataFrame]:
    """Pairs of readings above the limit: confirmed ones, and the near misses."""
    high_heart = np.maximum(body.heart_limit * 1.1, body.heart * 1.4)
    high_breath = np.maximum(body.breath_limit * 1.15, body.breath * 1.5)
    at = np.flatnonzero(plan.has[:, codes.TACHYCARDIA])
    onset = units.end[at] + rng.integers(70, 160, len(at))
    parts = _pair(units, at, onset, 45, codes.HEART_RATE, high_heart)
    at = np.flatnonzero(plan.has[:, codes.TACHYPNOEA])
    onset = units.end[at] + rng.integers(70, 160, len(at))
    parts += _pair(units, at, onset, 50, codes.RESPIRATORY_RATE, high_breath)
    at = np.flatnonzero(plan.trap == Trap.HEART_TEN_MINUTES_APART)
    parts += _pair(units, at, units.end[at] + 2 * HOUR, 10, codes.HEART_RATE, high_heart)
    at = np.flatnonzero(plan.trap == Trap.HEART_AFTER_CANNULATION)
    parts += _pair(units, at, units.start[at] + 4, 8, codes.HEART_RATE, high_heart)
    at = np.flatnonzero(plan.trap == Trap.HEART_FIFTEEN_PERCENT)
    parts += _pair(units, at, units.end[at] + 90, 60, codes.HEART_RATE, body.tight_heart * 1.15)
    return parts


def _pair(
    units: Units, at: Index, onset: Ints, apart: int, code: str, level: Floats
) -> list[pl.DataFrame]:
    value = np.floor(level[at])
    return [_block(units, at, onset + after, code, value, "/min") for after in (0, apart)]
