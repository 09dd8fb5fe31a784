"""Every table that follows from counts, of few patients: no number that is none, no false limits.

Patients are drawn at random and counted by a plain loop: none at all, one unit, no event, nothing
but events, the same risk in everybody, no control window, separation.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.signals.counts import COUNT_TABLES, CountTable
from pipelines.signals.tables import MAKERS
from studies.load import load_study
from studies.outcomes import WindowTable
from tests.counts_kit import DAY_US
from tests.reference.studies import changed_outcomes

CONTROL = WindowTable(name="control", start_offset_hours=336, end_offset_hours=672)
SHIPPED = load_study("iv_bisphosphonate")
STUDY = changed_outcomes(
    SHIPPED, fever={"ascertainment": "independent", "window": [WindowTable(), CONTROL]}
)
ABOUT = {"study_id": SHIPPED.id, "site_id": "north", "outcome": "fever", "window_name": "risk"}
DRUGS = [f"drug {number}" for number in range(7)]

#: Of each table: estimates with their limits.
ESTIMATES = {
    "signals.benchmark": [("risk", "ci_low", "ci_high")],
    "signals.comparison": [
        (name, f"{name}_low", f"{name}_high")
        for name in ("risk_ratio", "risk_difference", "odds_ratio")
    ],
    "signals.disproportionality": [
        ("prr", "prr_low", "prr_high"),
        ("ror", "ror_low", "ror_high"),
        ("ic", "ic025", "ic975"),
        ("ebgm", "eb05", "eb95"),
    ],
    "signals.onset": [
        (name, f"{name}_low", f"{name}_high") for name in ("event_free", "cumulative_incidence")
    ],
    "signals.rate": [("events_per_1000_person_days", "ci_low", "ci_high")],
    "signals.risk": [("risk", "ci_low", "ci_high"), ("risk", "wilson_low", "wilson_high")],
    "signals.risk_gee": [("gee_risk", "ci_low", "ci_high")],
    "signals.self_controlled": [
        ("rate_ratio", "ci_low", "ci_high"),
        ("rate_ratio", "wald_low", "wald_high"),
    ],
    "signals.trend": [("risk", "ci_low", "ci_high")],
}


class Unit(NamedTuple):
    """A unit: its drug, whether the risk and the control window have an event, when the first."""

    drug: str
    is_event: bool
    is_control_event: bool = False
    day: int = 0


Patient = list[Unit]


def strata(patient: Patient) -> Iterator[tuple[Unit, dict[str, str]]]:
    """Each unit with the value of each stratum that it is in."""
    for number, unit in enumerate(patient):
        ordinal = "later" if number else "first"
        yield (
            unit,
            {
                "all": "all",
                "drug": unit.drug,
                "ordinal": ordinal,
                "calendar_quarter": f"202{number}Q1",
                "drug x ordinal": f"{unit.drug} x {ordinal}",
            },
        )


def cells(patients: list[Patient]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Of each stratum and value: events and units of each patient, in the order of patients."""
    told: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(
        lambda: [(0, 0)] * len(patients)
    )
    for number, patient in enumerate(patients):
        for unit, values in strata(patient):
            for key in values.items():
                e, n = told[key][number]
                told[key][number] = (e + unit.is_event, n + 1)
    return told


def counted(patients: list[Patient], *, has_control: bool) -> dict[str, pa.Table]:
    """Every table of counts, by loops over patients."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COUNT_TABLES}
    told = cells(patients)
    for (stratum, value), of in told.items():
        about = ABOUT | {"stratum": stratum, "stratum_value": value}
        mine = [(e, n) for e, n in of if n]
        units = sum(n for _, n in mine)
        rows["signals.counts"] += [
            about
            | dict.fromkeys(COUNT_TABLES["signals.counts"].sums, units)
            | {
                "denominator": denominator,
                "n_events": sum(e for e, _ in mine),
                "n_patients": len(mine),
                "sum_e2": sum(e * e for e, _ in mine),
                "sum_en": sum(e * n for e, n in mine),
                "sum_n2": sum(n * n for _, n in mine),
                "person_us": 3 * units * DAY_US,
            }
            for denominator in ("all", "complete")
        ]
        if stratum in {"all", "drug", "ordinal"}:
            rows["signals.counts_patient"] += [
                about | {"n_units": n, "n_events": e, "n_patients": m}
                for (e, n), m in Counter(mine).items()
            ]
    rows["signals.counts_shared"] = list(shared(told))
    rows["signals.counts_paired"] = paired(patients)
    rows["signals.counts_onset"] = onset(patients)
    rows["signals.counts_self_controlled"] = windows(patients, 14 if has_control else 0)
    return {name: filled(form, rows[name]) for name, form in COUNT_TABLES.items()}


def filled(form: CountTable, rows: list[dict[str, Any]]) -> pa.Table:
    zeros = dict.fromkeys(form.sums, 0)
    return pa.Table.from_pylist([zeros | row for row in rows], schema=form.schema)


def shared(told: dict[tuple[str, str], list[tuple[int, int]]]) -> Iterator[dict[str, Any]]:
    for (stratum, value), mine in told.items():
        values = sorted(v for s, v in told if s == stratum)
        everything = [
            tuple(map(sum, zip(*(told[stratum, v][at] for v in values), strict=True)))
            for at in range(len(mine))
        ]
        others = {("pair", v): told[stratum, v] for v in values if v > value and "drug" in stratum}
        if stratum in {"drug", "ordinal"}:
            rest = [(a - e, b - n) for (a, b), (e, n) in zip(everything, mine, strict=True)]
            others["rest", "rest"] = rest
        first = [
            min(v for v in values if told[stratum, v][at][1]) if everything[at][1] else ""
            for at in range(len(mine))
        ]
        for (contrast, other), of in others.items():
            both = [
                (a, b, first[at] < value)
                for at, (a, b) in enumerate(zip(mine, of, strict=True))
                if a[1] and b[1]
            ]
            if both:
                yield ABOUT | {
                    "stratum": stratum,
                    "stratum_value": value,
                    "contrast": contrast,
                    "other_value": other,
                    "denominator": "complete",
                    "n_patients": len(both),
                    "n_again": sum(again for *_, again in both) if contrast == "rest" else 0,
                    "sum_ee": sum(a[0] * b[0] for a, b, _ in both),
                    "sum_en": sum(a[0] * b[1] for a, b, _ in both),
                    "sum_ne": sum(a[1] * b[0] for a, b, _ in both),
                    "sum_nn": sum(a[1] * b[1] for a, b, _ in both),
                }


def paired(patients: list[Patient]) -> list[dict[str, Any]]:
    told: Counter[str] = Counter()
    for first, *rest in patients:
        told["n_first"] += 1
        told["n_event"] += first.is_event
        if rest:
            told["n_event_again" if first.is_event else "n_none_again"] += 1
            names = {(True, True): "n_both", (True, False): "n_first_only"}
            names |= {(False, True): "n_second_only", (False, False): "n_neither"}
            told[names[first.is_event, rest[0].is_event]] += 1
    about = ABOUT | {"drug_class": "class"}
    return [about | told | {"denominator": one} for one in ("all", "complete")] if patients else []


def onset(patients: list[Patient]) -> list[dict[str, Any]]:
    told: dict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    ends = ("n_completed", "n_died", "n_censored")
    for patient in patients:
        for unit, values in strata(patient):
            for stratum in ("all", "drug", "ordinal"):
                bin_ = told[stratum, values[stratum], unit.day if unit.is_event else 3 - unit.day]
                bin_["n_events" if unit.is_event else ends[unit.day]] += 1
                bin_["n_left"] += 1
    return [
        ABOUT | {"stratum": s, "stratum_value": v, "scale": "day", "bin": at} | sums
        for (s, v, at), sums in told.items()
    ]


def windows(patients: list[Patient], control_days: int) -> list[dict[str, Any]]:
    told: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for patient in patients:
        mine: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for unit, values in strata(patient):
            for stratum in ("all", "drug", "ordinal"):
                sums = mine[stratum, values[stratum]]
                sums["n_risk_events"] += unit.is_event
                sums["n_control_events"] += unit.is_control_event and control_days > 0
                sums["risk_us"] += 3 * DAY_US
                sums["control_us"] += control_days * DAY_US
        for key, sums in mine.items():
            if sums["n_risk_events"] + sums["n_control_events"]:
                told[key].update(sums, n_patients=1)
    about = {name: ABOUT[name] for name in ("study_id", "site_id", "outcome")}
    return [about | {"stratum": s, "stratum_value": v} | sums for (s, v), sums in told.items()]


units = st.builds(Unit, st.sampled_from(DRUGS), st.booleans(), st.booleans(), st.integers(0, 2))
#: The same patient several times over: risks that do not differ, and ties.
some = st.tuples(st.lists(units, min_size=1, max_size=3), st.integers(1, 4))
EVENT, NONE = Unit(DRUGS[0], True), Unit(DRUGS[0], False)


@settings(deadline=None, max_examples=8)
@given(st.lists(some, max_size=8), st.booleans())
@example([], True)
@example([([EVENT], 1)], True)
@example([([NONE], 5)], False)
@example([([EVENT, EVENT], 3)], False)
@example([([EVENT, NONE, NONE], 4), ([Unit(DRUGS[1], i > 2) for i in range(5)], 3)], True)
@example([([Unit(drug, True)], 2) for drug in DRUGS], True)
@example([([Unit(drug, drug < DRUGS[2])], 9) for drug in DRUGS], True)
def test_tables_of_few_patients_hold_their_estimates_and_say_why_a_number_is_missing(
    patterns: list[tuple[Patient, int]], has_control: bool
) -> None:
    given = counted([one for one, n in patterns for _ in range(n)], has_control=has_control)
    assert MAKERS.keys() == ESTIMATES.keys()
    for name, make in MAKERS.items():
        for row in make(given, [STUDY]).to_pylist():
            numbers = [value for value in row.values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers)), (name, row)
            for told in ESTIMATES[name]:
                check(name, row, *(row[column] for column in told))


def check(
    name: str, row: dict[str, Any], value: float | None, low: float | None, high: float | None
) -> None:
    """A missing number has a reason, and limits hold the estimate without being the estimate."""
    about = (name, row)
    assert row["note"] or not {value, low, high} & {None}, about
    if value is not None and low is not None and high is not None:
        assert low <= value <= high, about
    if low is not None and high is not None:
        assert high - low > 1e-9 * abs(high), about
    if row.get("n_units") == 0:
        assert value is None, about
