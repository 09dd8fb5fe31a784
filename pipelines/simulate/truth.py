"""The truth of a synthetic hospital, written from its scenario and never from its records.

It holds after the last night. A unit's status under an outcome is the first that applies of
`ineligible`, `open_event`, `open`, `event`, `censored`, then `unobserved`, `untested` or
`undetermined`, then `no_event`.

Most scenarios are what they are whatever the study's resolution. Where a study in days must see
something else (a window holds its whole last day), the scenario was planted for that, and `by_days`
asks for that answer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipelines.simulate import clock, codes
from pipelines.simulate.clock import DAY, HOUR, WallClock
from pipelines.simulate.cohort import END, Bools, Ints, Patients, Units
from pipelines.simulate.edges import Trap
from pipelines.simulate.scenario import Plan

#: End of each window, hours after the end of the course.
WINDOWS = {"risk": 72, "extended": 336}
VITAL = ("fever", "tachycardia")
LAB = ("hypocalcaemia", "hypophosphataemia")
COMPOSITE = ("acute_phase_reaction", "any_side_effect")
OUTCOMES = (*VITAL, *LAB, *COMPOSITE)
WATCHED = (*((one, "risk") for one in OUTCOMES), *((one, "extended") for one in LAB))
#: Laboratory results settle for two days, so what reads them closes later.
SETTLE_HOURS = {"hypocalcaemia": 48, "hypophosphataemia": 48, "any_side_effect": 48}
STRATA = ("all", "drug", "indication_type", "ordinal", "setting", "sex", "premedicated")
GRACE_MINUTES = 30


def patient_ids(n: int) -> pl.Series:
    """Return the invented record numbers, MRN-1000001 onwards."""
    return pl.Series(np.arange(1_000_001, 1_000_001 + n)).cast(pl.String)


def is_eligible(patients: Patients, units: Units) -> Bools:
    """Under 21 years on the day of the index, with an indication on record."""
    birthday = clock.years_after(patients.birth, 21)[units.patient]
    return (units.start // DAY < birthday) & patients.has_indication[units.patient]


def events(plan: Plan, *, by_days: bool = False) -> dict[str, Bools]:
    """Return per outcome which units have it, before windows are closed or cut."""
    has = plan.has.T
    n_groups = (
        has[codes.MYALGIA].astype(int)
        + (has[codes.TACHYCARDIA] | has[codes.TACHYPNOEA])
        + has[codes.CHILLS]
        + has[codes.HEADACHE]
        + has[codes.NAUSEA]
    )
    # At the window's end, or in the hour that a clock change takes from it: on its last day.
    on_last_day = (Trap.FEVER_AT_WINDOW_END, Trap.FEVER_AFTER_CLOCK_CHANGE)
    late_fever = by_days & np.isin(plan.trap, on_last_day)
    late_calcium = by_days & (plan.trap == Trap.CALCIUM_AT_WINDOW_END)
    return {
        "fever": has[codes.FEVER] | late_fever,
        "tachycardia": has[codes.TACHYCARDIA],
        "hypocalcaemia": has[codes.LOW_CA] | late_calcium,
        "hypophosphataemia": has[codes.LOW_PO4],
        "acute_phase_reaction": has[codes.FEVER] | (n_groups >= 2) | late_fever,
        "any_side_effect": plan.has.any(axis=1) | late_fever | late_calcium,
    }


def _known(plan: Plan) -> dict[str, tuple[Bools, str]]:
    """Return per outcome whether an event-free unit is known to be so, and its status if not."""
    seen = plan.is_observed
    calcium = plan.is_calcium_tested
    phosphate = plan.is_phosphate_tested
    return {
        "fever": (seen, "unobserved"),
        "tachycardia": (seen, "unobserved"),
        "hypocalcaemia": (calcium, "untested"),
        "hypophosphataemia": (phosphate, "untested"),
        "acute_phase_reaction": (seen, "undetermined"),
        "any_side_effect": (seen & calcium & phosphate, "undetermined"),
    }


def unit_table(patients: Patients, units: Units, plan: Plan, wall: WallClock) -> pl.DataFrame:
    """One row per unit: who, when (UTC), strata, eligibility."""
    ids = patient_ids(patients.n)
    start, end = wall.to_utc(units.start), _instant(units, units.end, wall)
    group = np.asarray(codes.GROUP_NAMES)[patients.group]
    group = np.where(patients.has_indication, group, "unknown")
    return pl.DataFrame(
        {
            "patient_id": ids.gather(units.patient),
            "unit_ordinal": units.ordinal,
            "index_start_utc": _utc_text(start),
            "index_end_utc": _utc_text(end),
            "window_end_utc": _utc_text(end + 72 * HOUR),
            "cut_at_utc": _utc_text(
                np.minimum(_instant(units, units.cut_at, wall), end + 72 * HOUR)
            ),
            "drug": np.asarray(codes.DRUG_NAMES)[units.drug],
            "indication_type": group[units.patient],
            "ordinal": np.where(units.ordinal == 1, "first", "later"),
            "setting": np.asarray(codes.SETTING_NAMES)[units.setting],
            "sex": np.where(patients.is_female[units.patient], "female", "male"),
            "premedicated": np.where(plan.is_premedicated, "yes", "no"),
            "is_eligible": is_eligible(patients, units),
        }
    )


def _instant(units: Units, minute: Ints, wall: WallClock) -> Ints:
    """Turn minutes of a unit's even-running clock into UTC: the start's offset holds throughout."""
    return minute + (wall.to_utc(units.start) - units.start)


def _utc_text(minutes: Ints) -> pl.Series:
    times = pl.Series(minutes.astype("datetime64[m]").astype("datetime64[us]"))
    return times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def outcome_table(
    patients: Patients,
    units: Units,
    plan: Plan,
    table: pl.DataFrame,
    *,
    by_days: bool = False,
    silent_days: int = 0,
) -> pl.DataFrame:
    """One row per unit, outcome and window with its status; units in order, then outcomes.

    `by_days` asks for a study in days; the laboratory's feed was silent for `silent_days`.
    """
    happened, known = events(plan, by_days=by_days), _known(plan)
    late = {"hypocalcaemia": plan.trap == Trap.CALCIUM_AT_WINDOW_END}
    eligible = is_eligible(patients, units)
    ids = table.select("patient_id", "unit_ordinal", "index_start_utc").with_row_index("unit")
    parts = []
    for place, (outcome, window) in enumerate(WATCHED):
        full = units.end + WINDOWS[window] * HOUR
        until = np.where(units.cut_at < units.window_end, units.cut_at, full)
        is_event = happened[outcome]
        if window == "extended" and outcome in late:
            is_event = is_event | late[outcome]
        is_known, unknown = known[outcome]
        lag = SETTLE_HOURS.get(outcome, 0) * HOUR
        is_open = until + lag + (silent_days * DAY if lag else 0) > END
        status = np.select(
            [
                ~eligible,
                is_open & is_event,
                is_open,
                is_event,
                until < full,
                ~is_known,
            ],
            ["ineligible", "open_event", "open", "event", "censored", unknown],
            "no_event",
        )
        parts.append(
            ids.with_columns(
                outcome=pl.lit(outcome),
                window=pl.lit(window),
                status=pl.Series(status),
                is_observed=_if(plan.is_observed, is_kept=outcome in VITAL),
                is_tested=_if(is_known, is_kept=outcome in LAB),
                place=pl.lit(place),
            )
        )
    return pl.concat(parts).sort("unit", "place").drop("unit", "place")


def _if(flags: Bools, *, is_kept: bool) -> pl.Series:
    return pl.Series(flags) if is_kept else pl.Series([None] * len(flags), dtype=pl.Boolean)


def risk_table(table: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """One row per outcome, window, stratum and value: the counts that every risk is made of.

    `n_units` holds censored units; `n_observed` (vital signs), `n_tested` (laboratory) and
    `n_determined` (composites) do not, and are null for outcomes of another kind.
    """
    joined = outcomes.join(
        table.drop("index_start_utc"), on=("patient_id", "unit_ordinal"), maintain_order="left"
    ).with_columns(pl.lit("all").alias("all"))
    rows = [_counts(joined, stratum) for stratum in STRATA]
    return pl.concat(rows)


def _counts(joined: pl.DataFrame, stratum: str) -> pl.DataFrame:
    status = pl.col("status")
    counted = ~status.is_in(["ineligible", "open", "open_event"])
    free = counted & (status != "censored")

    def n(condition: pl.Expr) -> pl.Expr:
        return condition.fill_null(value=False).cast(pl.Int64).sum()

    return (
        joined.group_by("outcome", "window", pl.col(stratum).alias("stratum_value"))
        .agg(
            n_patients=pl.col("patient_id").filter(counted).n_unique(),
            n_units=n(counted),
            n_events=n(status == "event"),
            n_censored=n(status == "censored"),
            n_open=n(status.is_in(["open", "open_event"])),
            n_ineligible=n(status == "ineligible"),
            n_observed=pl.when(pl.col("is_observed").is_null().all())
            .then(None)
            .otherwise(n(free & pl.col("is_observed"))),
            n_tested=pl.when(pl.col("is_tested").is_null().all())
            .then(None)
            .otherwise(n(free & pl.col("is_tested"))),
            n_determined=pl.when(pl.col("outcome").is_in(COMPOSITE).all())
            .then(n(status.is_in(["event", "no_event"])))
            .otherwise(None),
        )
        .with_columns(pl.lit(stratum).alias("stratum"))
        .select("outcome", "window", "stratum", pl.exclude("outcome", "window", "stratum"))
        .sort("outcome", "window", "stratum_value")
    )


def write_truth(
    folder: Path, table: pl.DataFrame, outcomes: pl.DataFrame, by_days: pl.DataFrame
) -> pl.DataFrame:
    """Write unit.csv, unit_outcome.csv and its twin for a study in days, risk.csv; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    risks = risk_table(table, outcomes)
    table.write_csv(folder / "unit.csv")
    outcomes.write_csv(folder / "unit_outcome.csv")
    by_days.write_csv(folder / "unit_outcome_day.csv")
    risks.write_csv(folder / "risk.csv")
    return risks
