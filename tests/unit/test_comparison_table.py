"""`signals.comparison` of a linked site, against statsmodels on its rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from pipelines.signals.comparison_table import comparison_table
from pipelines.signals.counts import COUNT_TABLES
from pipelines.signals.gee import fit_exchangeable_logit
from pipelines.signals.risk_gee import risk_gee_table
from tests.signal_rows import Row, signal_rows

Z = 1.959963984540054
COUNTED = ("event", "no_event", "censored", "untested", "unobserved", "undetermined")
ABOUT = ("contrast", "stratum_value", "other_value", "adjusted_for", "within")


@cache
def table() -> list[Row]:
    return [dict(row) for row in comparison_table(signal_rows().counts).to_pylist()]


def compared(contrast: str, value: str, other: str, **about: str) -> Row:
    """The row of all units in the window of two weeks."""
    wanted = {"outcome": "ache", "window_name": "extended", "denominator": "all"}
    wanted |= {"adjusted_for": "none", **about}
    wanted |= {"contrast": contrast, "stratum_value": value, "other_value": other}
    [found] = [row for row in table() if wanted.items() <= row.items()]
    return found


def units(**wanted: Any) -> list[Row]:
    wanted = {"outcome": "ache", "window_name": "extended"} | wanted
    return [
        row
        for row in signal_rows().rows
        if row["status"] in COUNTED and wanted.items() <= row.items()
    ]


def is_first(row: Row) -> bool:
    return bool(row["ordinal_in_record"] == 1)


def by_statsmodels(rows: list[Row], side: Callable[[Row], bool]) -> tuple[float, ...]:
    event = np.array([row["status"] == "event" for row in rows], dtype=float)
    x = sm.add_constant(np.array([side(row) for row in rows], dtype=float))
    children = [row["patient_key"] for row in rows]
    fit = sm.GEE(event, x, children, family=sm.families.Poisson()).fit()
    n = len(set(children))
    half = Z * fit.bse[1] * math.sqrt(n / (n - 1))
    return tuple(math.exp(fit.params[1] + end) for end in (0, -half, half))


@pytest.mark.parametrize(
    ("row", "is_told", "side"),
    [
        (("first_v_later", "first", "later"), lambda _: True, is_first),
        (
            ("drug_v_drug", "pamidronate", "zoledronic acid"),
            lambda row: row["drug"] != "ibandronate",
            lambda row: row["drug"] == "pamidronate",
        ),
        (
            ("value_v_rest", "pamidronate", "rest"),
            lambda _: True,
            lambda row: row["drug"] == "pamidronate",
        ),
        (
            ("value_v_rest", "6-11 y", "rest"),
            lambda _: True,
            lambda row: row["age_band"] == "6-11 y",
        ),
    ],
)
def test_ratios_and_limits_are_those_of_gee_over_the_rows(
    row: tuple[str, str, str], is_told: Callable[[Row], bool], side: Callable[[Row], bool]
) -> None:
    found = compared(*row)
    rows = [one for one in units() if is_told(one)]
    assert found["n_shared_patients"] > 0
    expected = by_statsmodels(rows, side)
    limits = [found[f"risk_ratio{end}"] for end in ("", "_low", "_high")]
    assert limits == pytest.approx(expected, rel=1e-6)
    assert (found["n_units"], found["other_n_units"]) == (
        sum(map(side, rows)),
        sum(not side(one) for one in rows),
    )


def common_ratio(weights: NDArray[np.float64], rows: list[Row], patients: list[str]) -> float:
    """Mantel and Haenszel's ratio of first v later over drugs, each patient counted so often."""
    sums: dict[tuple[str, bool], list[float]] = defaultdict(lambda: [0.0, 0.0])
    number = {key: place for place, key in enumerate(patients)}
    for row in rows:
        cell = sums[row["drug"], is_first(row)]
        weight = weights[number[row["patient_key"]]]
        cell[0] += weight * (row["status"] == "event")
        cell[1] += weight
    top = bottom = 0.0
    for drug in {drug for drug, _ in sums}:
        (a, n), (c, m) = sums[drug, True], sums[drug, False]
        top += a * m / (n + m)
        bottom += c * n / (n + m)
    return top / bottom


def test_the_common_ratio_is_as_sure_as_its_patients_influence_on_it_is_small() -> None:
    rows = units()
    patients = sorted({row["patient_key"] for row in rows})
    n, step = len(patients), 1e-5
    at_each = np.eye(n) * step
    influence = [
        (
            math.log(common_ratio(1 + one, rows, patients))
            - math.log(common_ratio(1 - one, rows, patients))
        )
        / (2 * step)
        for one in at_each
    ]
    half = Z * math.sqrt(n / (n - 1) * sum(one**2 for one in influence))
    value = common_ratio(np.ones(n), rows, patients)
    found = compared("first_v_later", "first", "later", adjusted_for="drug")
    assert found["risk_ratio"] == pytest.approx(value)
    assert math.log(found["risk_ratio_high"] / value) == pytest.approx(half, rel=1e-5)
    assert math.log(value / found["risk_ratio_low"]) == pytest.approx(half, rel=1e-5)


def test_first_and_second_units_of_the_same_patients_compare_as_mcnemar_does() -> None:
    found = compared("first_v_second", "first", "second", within="bisphosphonate")
    mine: dict[str, dict[int, bool]] = defaultdict(dict)
    for row in units():
        if row["drug"] != "ibandronate" and row["ordinal_in_record"] <= 2:
            mine[row["patient_key"]][row["ordinal_in_record"]] = row["status"] == "event"
    pairs = [one for one in mine.values() if len(one) == 2]
    cells = [[sum(one[1] == a and one[2] == b for one in pairs) for b in (1, 0)] for a in (1, 0)]
    assert found["n_units"] == found["n_shared_patients"] == len(pairs)
    assert found["p_value"] == pytest.approx(mcnemar(np.array(cells), exact=True).pvalue)
    assert found["odds_ratio"] == pytest.approx(cells[0][1] / cells[1][0])
    assert found["odds_ratio_low"] < found["odds_ratio"] < found["odds_ratio_high"]


def test_who_was_treated_again_is_counted_after_an_event_and_after_none() -> None:
    found = compared("given_again", "event", "none", within="bisphosphonate")
    first = [row for row in units(ordinal_in_record=1) if row["drug"] != "ibandronate"]
    # Whoever has a second unit, counted in any window or not.
    again = {
        row["patient_key"]
        for row in signal_rows().rows
        if row["ordinal_in_record"] == 2 and row["drug"] != "ibandronate"
    }
    shares = [
        [row["patient_key"] in again for row in first if (row["status"] == "event") is had]
        for had in (True, False)
    ]
    assert [found["n_events"], found["other_n_events"]] == [sum(one) for one in shares]
    assert [found["n_units"], found["other_n_units"]] == [len(one) for one in shares]


def test_every_interval_holds_its_estimate_and_what_is_missing_has_a_note() -> None:
    for row in table():
        for name in ("risk_ratio", "risk_difference", "odds_ratio"):
            low, value, high = (row[name + end] for end in ("_low", "", "_high"))
            assert (low is None) == (high is None)
            assert low is None or low <= value <= high
        assert row["risk_ratio"] is not None or row["note"]


def test_without_counts_there_is_no_comparison() -> None:
    nothing = {name: one.schema.empty_table() for name, one in COUNT_TABLES.items()}
    assert comparison_table(nothing).num_rows == 0
    alone = nothing | {"signals.counts": signal_rows().counts["signals.counts"].slice(0, 1)}
    assert isinstance(comparison_table(alone), pa.Table)


# Other tables of the same site: linking it takes longer than all that is asked of it.


def test_linked_rows_of_children_give_what_statsmodels_gives_of_them() -> None:
    site = signal_rows()
    table = risk_gee_table(site.counts["signals.counts"], site.counts["signals.counts_patient"])
    n_compared = 0
    for found in table.to_pylist():
        if found["window_name"] != "risk" or found["stratum"] != "all":
            continue
        rows = [
            one
            for one in site.rows
            if one["outcome"] == found["outcome"]
            and one["window_name"] == "risk"
            and one["status"] in {"event", "no_event", "untested", "unobserved", "undetermined"}
        ]
        _, patient = np.unique([one["patient_key"] for one in rows], return_inverse=True)
        event = np.array([one["status"] == "event" for one in rows])
        fit = fit_exchangeable_logit(patient, event, np.ones((len(rows), 1)))
        assert (found["n_units"], found["n_events"]) == (len(rows), int(event.sum()))
        assert found["is_converged"] == fit.converged
        told = [found["log_odds"], found["standard_error"], found["correlation"]]
        assert told == pytest.approx(
            [fit.coefficients[0], fit.errors[0], fit.correlation], abs=5e-6
        )
        n_compared += 1
    assert n_compared == 2
