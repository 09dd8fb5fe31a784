"""What happens to each unit: the scenario that truth is written from and records are made from.

A plan says for every unit which components of a side effect it has, how well it was watched, and
which trap is laid in its records: something that looks like an event and, by the window rules, is
none. Nothing here knows how a record looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipelines.simulate import codes
from pipelines.simulate.clock import DAY, HOUR, WallClock
from pipelines.simulate.cohort import END, Bools, Ints, Patients, Units
from pipelines.simulate.edges import Style, Trap
from pipelines.simulate.traits import Traits

RISK_FIRST, RISK_LATER = 33 / 123, 33 / 819
RESTART_FEVER = 0.3
TRAP_SHARE = 0.3
GROUP_FACTOR = (0.8, 1.25, 1.1)
WATCHED = (1.0, 0.8, 0.4)
BLOOD_DRAWN = (0.92, 0.6, 0.25)

_F, _T, _R, _M, _C, _H, _N, _CA, _P = range(codes.N_COMPONENTS)
#: Sets of components that come together, and their shares among units with a side effect.
PATTERNS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((_F,), 0.17),
    ((_F, _M), 0.17),
    ((_F, _T), 0.08),
    ((_F, _T, _R, _M), 0.06),
    ((_F, _N, _H), 0.05),
    ((_F, _CA), 0.05),
    ((_M, _H), 0.06),
    ((_C, _N), 0.03),
    ((_T, _R), 0.03),  # one component of the acute-phase reaction, not two
    ((_M,), 0.08),
    ((_N,), 0.04),
    ((_H,), 0.03),
    ((_CA,), 0.08),
    ((_P,), 0.05),
    ((_CA, _P), 0.02),
)


FEVER_STYLES = (0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 5)
SYMPTOM_STYLES = (0, 0, 0, 0, 7, 8)
CALCIUM_STYLES = (0, 0, 0, 5, 9)


@dataclass(frozen=True)
class Plan:
    """One entry per unit.

    Attributes:
        has: which components happen, unit x component (see `codes`).
        is_observed: watched after `end + 6 h`.
        is_call: the only contact is a telephone call, without readings.
        is_early_draw: the only blood was taken within five hours, with no contact later.
        trap: what looks like an event and is none.
        style: how fever, symptom and calcium show, unit x 3.
        contact_at: minute of the contact after the infusion.
    """

    has: Bools
    is_observed: Bools
    is_call: Bools
    is_calcium_tested: Bools
    is_phosphate_tested: Bools
    is_early_draw: Bools
    has_baseline: Bools
    is_premedicated: Bools
    trap: Ints
    fever_style: Ints
    symptom_style: Ints
    calcium_style: Ints
    contact_at: Ints

    def take(self, order: npt.NDArray[np.intp]) -> Plan:
        """Return the plan of the units at the given positions."""
        return Plan(**{name: getattr(self, name)[order] for name in self.__dataclass_fields__})


def pick_reacting(
    rng: np.random.Generator,
    patients: Patients,
    units: Units,
    *,
    is_named: bool,
    risk_factor: float = 1.0,
) -> Bools:
    """Choose the units that have a side effect.

    The named hospital holds exactly 33 first and 33 later ones; others draw each unit's chance,
    `risk_factor` times the published one.
    """
    weight = patients.frailty * np.asarray(GROUP_FACTOR)[patients.group]
    weight = weight / weight.mean()
    chance = np.clip(weight[units.patient], 0.1, 4.0)
    is_first = units.ordinal == 1
    if not is_named:
        risk = risk_factor * np.where(is_first, RISK_FIRST, RISK_LATER)
        drawn: Bools = rng.random(units.n) < np.clip(risk * chance / chance.mean(), 0, 0.9)
        return drawn
    reacts = np.zeros(units.n, dtype=np.bool_)
    for group in (is_first, ~is_first):
        at = np.flatnonzero(group)
        share = chance[at] / chance[at].sum()
        reacts[rng.choice(at, 33, replace=False, p=share)] = True
    return reacts


def make_plan(
    rng: np.random.Generator,
    patients: Patients,
    units: Units,
    nights: int,
    traits: Traits,
    *,
    is_named: bool,
    silent_days: int = 0,
) -> tuple[Units, Plan]:
    """Decide what happens to each unit; moves a few units onto clock changes.

    Nothing happens in windows that a laboratory, silent for so many days, holds open.
    """
    n = units.n
    reacts = pick_reacting(rng, patients, units, is_named=is_named, risk_factor=traits.risk_factor)
    pattern = rng.choice(len(PATTERNS), n, p=_shares())
    table = np.zeros((len(PATTERNS), codes.N_COMPONENTS), dtype=np.bool_)
    for row, (members, _) in enumerate(PATTERNS):
        table[row, list(members)] = True
    has = table[pattern] & reacts[:, None]
    # The second of two units less than 72 h apart owns a fever of its own, and nothing else.
    has[units.is_restart] = False
    again = np.flatnonzero(units.is_restart)
    drawn = rng.random(len(again)) < RESTART_FEVER
    # Two fevers within 72 h are one, and the first unit's: then the second has none of its own.
    has[again, codes.FEVER] = drawn & ~has[again - 1, codes.FEVER]
    # Whether an event of an open window has happened yet is for the hand-worked page to say.
    is_closed = units.end + (5 + silent_days) * DAY <= END
    has &= is_closed[:, None]
    reacts = np.asarray(has.any(axis=1))
    is_cut = units.cut_at < units.window_end
    # A cut unit is watched and tested before the cut, so that nothing but the cut decides it.
    is_observed = reacts | is_cut | (rng.random(n) < np.asarray(WATCHED)[units.setting])
    wants_blood = rng.random(n) < np.asarray(BLOOD_DRAWN)[units.setting]
    is_early = ~is_observed & (rng.random(n) < 0.15)
    calcium = (is_observed & wants_blood) | is_early | has[:, codes.LOW_CA] | is_cut
    phosphate = (calcium & (rng.random(n) < 0.85)) | has[:, codes.LOW_PO4] | is_cut
    is_home_or_out = units.setting != codes.INPATIENT
    is_call = is_observed & ~reacts & ~calcium & ~is_cut & is_home_or_out & (rng.random(n) < 0.6)
    can_amend = (units.night < nights) & (units.end + 5 * DAY < END - (nights - 1) * DAY)
    plan = Plan(
        has=has,
        is_observed=is_observed,
        is_call=is_call,
        is_calcium_tested=calcium,
        is_phosphate_tested=phosphate & ~is_call,
        is_early_draw=is_early,
        has_baseline=(rng.random(n) < 0.93) & ~units.is_restart,
        is_premedicated=(rng.random(n) < 0.42) & ~units.is_restart,
        trap=np.zeros(n, dtype=np.int64),
        fever_style=_deal(rng, has[:, codes.FEVER], FEVER_STYLES),
        symptom_style=_deal(rng, reacts, SYMPTOM_STYLES),
        calcium_style=_calcium_styles(rng, has[:, codes.LOW_CA], can_amend),
        contact_at=_contacts(rng, units),
    )
    plain = is_cut | units.has_no_end | units.is_restart
    plan = replace(
        plan,
        fever_style=np.where(plain, 0, plan.fever_style),
        symptom_style=np.where(plain, 0, plan.symptom_style),
        calcium_style=np.where(plain, 0, plan.calcium_style),
    )
    is_free = ~reacts & ~is_cut & ~units.is_restart & is_closed
    plan = _lay_traps(rng, units, plan, is_free, can_amend)
    return _move_onto_clock_changes(units, plan, traits.wall)


def _shares() -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.array([share for _, share in PATTERNS])
    return np.asarray(shares / shares.sum())


def _deal(rng: np.random.Generator, mask: Bools, cards: tuple[int, ...]) -> Ints:
    """Deal the cards over the chosen units in random order, so that a small hospital has each."""
    dealt = np.zeros(len(mask), dtype=np.int64)
    chosen = np.flatnonzero(mask)
    dealt[rng.permutation(chosen)] = np.resize(np.array(cards, dtype=np.int64), len(chosen))
    return dealt


def _calcium_styles(rng: np.random.Generator, is_low: Bools, can_amend: Bools) -> Ints:
    dealt = _deal(rng, is_low, CALCIUM_STYLES)
    return np.where((dealt == Style.CORRECTED_DOWN) & ~can_amend, 0, dealt)


def _contacts(rng: np.random.Generator, units: Units) -> Ints:
    # The day after, so that a study in days sees the ward's look after the infusion too.
    stay = units.end + rng.integers(24 * HOUR, 26 * HOUR, units.n)
    visit = units.end + rng.integers(20 * HOUR, 50 * HOUR, units.n)
    early = units.end + rng.integers(18 * HOUR, 22 * HOUR, units.n)
    is_cut = units.cut_at < units.window_end
    return np.where(is_cut, early, np.where(units.setting == codes.INPATIENT, stay, visit))


def _lay_traps(
    rng: np.random.Generator, units: Units, plan: Plan, is_free: Bools, can_amend: Bools
) -> Plan:
    """Lay at most one trap in a unit that it cannot change."""
    watched = is_free & plan.is_observed & ~plan.is_call
    tested = watched & plan.is_calcium_tested
    undrawn = watched & ~plan.is_calcium_tested & ~plan.is_phosphate_tested
    able = np.zeros((len(Trap), units.n), dtype=np.bool_)
    able[Trap.FEVER_AT_WINDOW_END : Trap.CODE_DAY_AFTER_WINDOW + 1] = watched
    able[Trap.FEVER_AFTER_CLOCK_CHANGE] = False  # set when units are moved
    able[Trap.CALCIUM_GRADE_1_TWICE : Trap.CALCIUM_WITHIN_GRACE + 1] = tested
    able[Trap.CALCIUM_CORRECTED_UP] &= can_amend
    able[Trap.PHOSPHATE_AT_CUT] = watched & plan.is_phosphate_tested
    able[Trap.UNTESTED_TEXT_ONLY : Trap.UNTESTED_CANCELLED + 1] = undrawn
    # Among the traps that fit, each is as likely as the others.
    wanted = np.argmax(rng.random(able.shape) * able, axis=0)
    is_laid = able[wanted, np.arange(units.n)] & (rng.random(units.n) < TRAP_SHARE)
    trap = np.where(is_laid, wanted, Trap.NONE).astype(np.int64)
    needs_baseline = np.isin(
        trap, (Trap.CALCIUM_GRADE_1_TWICE, Trap.CALCIUM_GRADE_2_TWICE, Trap.CALCIUM_CORRECTED_UP)
    ) | (plan.calcium_style == Style.WORSENED)
    can_have = needs_baseline & ~units.is_restart
    return replace(plan, trap=trap, has_baseline=plan.has_baseline | can_have)


def _move_onto_clock_changes(units: Units, plan: Plan, wall: WallClock) -> tuple[Units, Plan]:
    """Move some units to the Saturday before a clock change and put the fever at the edge.

    72 h on the wall are 71 or 73 h of time there: a fever 71.5 h after the end is in the window
    in spring though the wall says 72.5 h, one after 72.5 h is out in autumn though it says 71.5 h.
    """
    can_move = (units.drug == codes.ZOLEDRONIC) & (units.setting != codes.INPATIENT)
    can_move &= (units.night == 1) & (units.ordinal > 1) & ~units.is_restart
    can_move &= (units.cut_at == units.window_end) & ~units.has_no_end
    has_fever = plan.has[:, codes.FEVER]
    no_event = ~plan.has.any(axis=1) & plan.is_observed & ~plan.is_call
    no_event &= plan.trap == Trap.NONE
    if wall.rule is None:
        return units, plan
    moved, plan = _move(units, plan, can_move & has_fever, wall.springs(), HOUR, 6)
    return _move(moved, plan, can_move & no_event, wall.autumns(), -HOUR, 4)


def _move(
    units: Units, plan: Plan, able: Bools, changes: Ints, jump: int, most: int
) -> tuple[Units, Plan]:
    day = units.start // DAY
    saturdays = changes // DAY - 1
    nearest = np.abs(day[:, None] - saturdays[None, :]).argmin(axis=1)
    by = (saturdays[nearest] - day) * DAY
    # 136 days between units allow a move of twenty either way: baselines stay clear (90 d + 3).
    chosen = np.flatnonzero(able & (np.abs(by) <= 20 * DAY))
    chosen = _far_from_moved(units, chosen)[:most]
    fields = {
        name: getattr(units, name).copy()
        for name in ("start", "end", "cut_at", "shift", "shift_at")
    }
    contact_at = plan.contact_at.copy()
    for name in ("start", "end", "cut_at"):
        fields[name][chosen] += by[chosen]
    contact_at[chosen] += by[chosen]
    fields["shift"][chosen] = jump
    fields["shift_at"][chosen] = changes[nearest[chosen]]
    style, trap = plan.fever_style.copy(), plan.trap.copy()
    if jump > 0:
        style[chosen] = Style.BEFORE_CLOCK_CHANGE_ENDS
    else:
        trap[chosen] = Trap.FEVER_AFTER_CLOCK_CHANGE
    return replace(units, **fields), replace(
        plan, contact_at=contact_at, fever_style=style, trap=trap
    )


def _far_from_moved(units: Units, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Keep one moved unit per patient, none in a patient with a cut unit or a moved one."""
    is_busy = np.zeros(int(units.patient.max()) + 1, dtype=np.bool_)
    is_busy[units.patient[(units.cut_at < units.window_end) | (units.shift != 0)]] = True
    chosen = chosen[~is_busy[units.patient[chosen]]]
    _, first = np.unique(units.patient[chosen], return_index=True)
    return chosen[np.sort(first)]
