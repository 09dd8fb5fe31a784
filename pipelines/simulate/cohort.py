"""Who the patients are and when they are infused: the calendar of the synthetic hospital."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipelines.simulate import clock, codes
from pipelines.simulate.clock import DAY, HOUR, WallClock
from pipelines.simulate.traits import Traits

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

#: Midnight after the last complete day of the record: `data_through` of the last night.
END = clock.day_number(dt.date(2019, 6, 30)) * DAY
YEARS_DAYS = 2555
MOST_UNITS = 14
UNITS_PER_PATIENT = 942 / 123
#: Courses keep this distance, so that no baseline (90 d) can reach the window before.
LEAST_GAP_DAYS = 136
#: The longest window and the laboratory's settling (14 d + 2 d) end before the record does.
SETTLED_DAYS = 16.3


@dataclass(frozen=True)
class Patients:
    """One entry per patient.

    Attributes:
        birth: day number of birth.
        group: osteoporosis group, 0 to 2 as in `codes.GROUP_NAMES`.
        frailty: how readily the child reacts, mean 1.
        is_si: the laboratory reports in mmol/L.
        has_indication: a diagnosis of the indication is in the record.
        prior: earlier oral bisphosphonate: 0 none, 1 a prescription, 2 a code.
        is_known_long: in the record more than a year before the first unit.
        left_at: minute at which the record ends by transfer; END + 1 y where it does not.
        night: first night that delivers the patient's own row.
        died_at: minute of death; END + 1 y for the living.
    """

    birth: Ints
    is_female: Bools
    group: Ints
    frailty: Floats
    is_si: Bools
    has_indication: Bools
    prior: Ints
    is_known_long: Bools
    left_at: Ints
    night: Ints
    died_at: Ints

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.birth)


@dataclass(frozen=True)
class Units:
    """One entry per course, in the order of patient and time; times in local minutes.

    Attributes:
        cut_at: minute at which the window is cut short, or the window's own end.
        night: first night that delivers the unit's rows.
        shift: minutes that the wall clock jumps inside the window (0, 60 or -60).
        shift_at: minute of that jump.
        is_restart: the second of two units less than 72 h apart.
    """

    patient: Ints
    ordinal: Ints
    start: Ints
    end: Ints
    drug: Ints
    setting: Ints
    night: Ints
    cut_at: Ints
    shift: Ints
    shift_at: Ints
    is_restart: Bools
    is_split: Bools
    has_no_end: Bools

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.patient)

    @property
    def window_end(self) -> Ints:
        """End of the uncut risk window: 72 h after the last end."""
        return self.end + 72 * HOUR

    @property
    def own_until(self) -> Ints:
        """Minute before which whatever happens at a known hour is the unit's own.

        By days too: what lies before the next infusion on its date is not that one's.
        """
        return np.minimum(self.cut_at, self.window_end)

    def take(self, order: npt.NDArray[np.intp]) -> Units:
        """Return the units at the given positions."""
        return Units(**{name: getattr(self, name)[order] for name in self.__dataclass_fields__})


def counts_of_units(rng: np.random.Generator, n: int, total: int | None) -> Ints:
    """Draw how many units each patient has: 1 to 14, mean 7.66; adjusted to `total` if given."""
    share = rng.beta(1.55, 1.47, n)
    counts = 1 + rng.binomial(MOST_UNITS - 1, share).astype(np.int64)
    while total is not None and (missing := total - int(counts.sum())):
        step = 1 if missing > 0 else -1
        movable = np.flatnonzero((counts + step >= 1) & (counts + step <= MOST_UNITS))
        chosen = rng.choice(movable, min(abs(missing), len(movable)), replace=False)
        counts[chosen] += step
    return counts


def make_calendar(
    rng: np.random.Generator, counts: Ints, drug: Ints, wall: WallClock, *, is_settled: bool
) -> tuple[Ints, Ints]:
    """Place six-monthly units; return their day numbers and owners, in order.

    `is_settled` keeps every window and its laboratory closed before the record ends; without it
    some patients are infused in the last days.
    """
    n = len(counts)
    owner = np.repeat(np.arange(n), counts)
    gaps = np.clip(np.round(rng.normal(182, 13, len(owner))), LEAST_GAP_DAYS + 9, 235)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    gaps[first] = 0
    along = np.cumsum(gaps)
    along -= np.repeat(along[first], counts)
    span = along[first + counts - 1]
    last_day = END // DAY
    earliest = last_day - YEARS_DAYS + span
    last = earliest + rng.random(n) * np.maximum(last_day - 30 - earliest, 0)
    is_recent = rng.random(n) < 0.1
    ago = rng.uniform(SETTLED_DAYS + 1, 25, n) if is_settled else rng.uniform(1, 10, n)
    last = np.where(is_recent, last_day - ago, np.minimum(last, last_day - 30))
    days = np.floor(np.repeat(last - span, counts) + along).astype(np.int64)
    # Ordinary windows keep clear of clock changes; the planted ones are moved onto them later.
    days = days - np.where(wall.crosses_change(days - 3, days + 7), 11, 0)
    # A course over three days starts earlier, so that its end is where the calendar says.
    return days - np.where(drug == codes.PAMIDRONATE, 2, 0), owner


def make_cohort(
    rng: np.random.Generator,
    n: int,
    nights: int,
    total: int | None,
    traits: Traits,
    *,
    is_named: bool,
) -> tuple[Patients, Units]:
    """Draw patients and the calendar of their courses."""
    counts = counts_of_units(rng, n, total)
    is_closed = is_named or traits.is_closed
    is_adult, is_aging, lacks_indication, leaves = _exceptions(rng, n, is_closed=is_closed)
    counts[is_adult] = 1
    plan = rng.random(n)
    owner = np.repeat(np.arange(n), counts)
    ordinal = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    is_pamidronate = (plan[owner] < 0.16) | ((plan[owner] < 0.26) & (ordinal <= 3))
    drug = np.where(is_pamidronate, codes.PAMIDRONATE, codes.ZOLEDRONIC).astype(np.int64)
    days, owner = make_calendar(rng, counts, drug, traits.wall, is_settled=is_closed)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    units = _times(rng, days, owner, ordinal, drug, nights)
    first_day, last_day = days[first], days[first + counts - 1]
    span_years = (last_day - first_day) / 365.25
    age = 1.2 + rng.random(n) * np.clip(20.6 - span_years - 1.2, 0.1, 15.0)
    age = np.where(is_adult, rng.uniform(22, 34, n), age)
    age = np.where(is_aging & (counts > 1), rng.uniform(21.1, 21.3, n) - span_years, age)
    far = END + 365 * DAY
    last_end = units.end[first + counts - 1]
    left_at = np.where(leaves & (last_end < END - 20 * DAY), last_end + 30 * HOUR, far)
    patients = Patients(
        birth=(first_day - np.round(age * 365.25)).astype(np.int64),
        is_female=rng.random(n) < 0.52,
        group=rng.choice(3, n, p=(0.38, 0.36, 0.26)).astype(np.int64),
        frailty=rng.gamma(1.0, 1.0, n),
        is_si=rng.random(n) < traits.si_share,
        has_indication=~lacks_indication,
        prior=rng.choice(3, n, p=(0.86, 0.08, 0.06)).astype(np.int64),
        is_known_long=rng.random(n) < 0.6,
        left_at=left_at.astype(np.int64),
        night=np.where(rng.random(n) < 0.05, nights, 1).astype(np.int64),
        died_at=np.full(n, far, dtype=np.int64),
    )
    return patients, units if is_closed else _add_restarts(rng, units, patients)


def _exceptions(
    rng: np.random.Generator, n: int, *, is_closed: bool
) -> tuple[Bools, Bools, Bools, Bools]:
    """Pick adults, children who turn 21, children without indication, and transfers."""
    draw = rng.random(n)
    if is_closed:
        draw += 1.0
    return (
        draw < 0.015,
        (draw >= 0.015) & (draw < 0.035),
        (draw >= 0.035) & (draw < 0.05),
        ((draw >= 0.05) & (draw < 0.07)),
    )


def _times(
    rng: np.random.Generator, days: Ints, owner: Ints, ordinal: Ints, drug: Ints, nights: int
) -> Units:
    n = len(days)
    start = days * DAY + 8 * HOUR + 5 * rng.integers(0, 61, n)
    is_pam = drug == codes.PAMIDRONATE
    draw = rng.random(n)
    is_split = ~is_pam & (draw < 0.03)
    has_no_end = ~is_pam & (draw > 0.985)
    minutes = np.where(is_pam, 2 * DAY + 4 * HOUR, rng.choice((30, 45, 60), n))
    minutes = np.where(is_split, 70, np.where(has_no_end, 0, minutes))
    end = start + minutes
    setting = np.where(
        ordinal == 1,
        rng.choice(2, n, p=(0.62, 0.38)),
        rng.choice(3, n, p=(0.1, 0.57, 0.33)),
    ).astype(np.int64)
    setting[is_pam & (setting == codes.HOME)] = codes.OUTPATIENT
    night = np.where(rng.random(n) < 0.06, rng.integers(1, nights + 1, n), 1)
    nothing = np.zeros(n, dtype=np.int64)
    return Units(
        patient=owner.astype(np.int64),
        ordinal=ordinal.astype(np.int64),
        start=start,
        end=end,
        drug=drug,
        setting=setting,
        night=night.astype(np.int64),
        cut_at=end + 72 * HOUR,
        shift=nothing,
        shift_at=nothing + 2 * END,
        is_restart=np.zeros(n, dtype=np.bool_),
        is_split=is_split,
        has_no_end=has_no_end,
    )


def _add_restarts(rng: np.random.Generator, units: Units, patients: Patients) -> Units:
    """Give a few patients a second infusion inside the window of the one before; cut that one.

    The window is also cut where the patient's record ends by transfer.
    """
    last = np.append(units.patient[1:] != units.patient[:-1], True)
    able = (
        (units.drug == codes.ZOLEDRONIC)
        & (units.setting != codes.INPATIENT)
        & ~last
        & ~units.has_no_end
        & ~units.is_split
        & (units.start < END - 20 * DAY)
    )
    chosen = np.flatnonzero(able & (rng.random(units.n) < 0.012))
    again = units.take(chosen)
    # Never so late that the nurse leaves after midnight: by days, a look on the day after.
    start = units.start[chosen] + 6 * HOUR * rng.integers(7, 10, len(chosen))
    again = replace(
        again,
        start=start,
        end=start + 30,
        cut_at=start + 30 + 72 * HOUR,
        is_restart=np.ones(len(chosen), dtype=np.bool_),
    )
    cut_at = units.cut_at.copy()
    cut_at[chosen] = start
    cut_at = np.minimum(cut_at, patients.left_at[units.patient])
    both = Units(
        **{
            name: np.concatenate([getattr(units, name), getattr(again, name)])
            for name in Units.__dataclass_fields__
            if name != "cut_at"
        },
        cut_at=np.concatenate([cut_at, again.cut_at]),
    )
    both = both.take(np.lexsort((both.start, both.patient)))
    first = np.flatnonzero(np.append(True, both.patient[1:] != both.patient[:-1]))
    ordinal = np.arange(both.n) - np.repeat(first, np.diff(np.append(first, both.n))) + 1
    return replace(both, ordinal=ordinal.astype(np.int64))
