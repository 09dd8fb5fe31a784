"""Estimating equations from pairs of events and units: the same as from rows, and what is null."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.disclosure.tables import mask_counts
from pipelines.signals.counts import COUNT_TABLES, COUNTS, PATIENT
from pipelines.signals.gee import LogitFit, fit_exchangeable_logit
from pipelines.signals.risk_gee import GeeRisks, estimate_gee_risks, risk_gee_table
from tests.counts_kit import KEY, counts, row

#: Beyond the fifth digit the iterations of two programs need not agree.
CLOSE = 5e-6


def pairs(told: list[tuple[int, int]]) -> tuple[list[int], list[int], list[int]]:
    """Units, events and number of patients from (events, units) of each patient."""
    found = sorted(Counter(told).items())
    return [n for (_, n), _ in found], [e for (e, _), _ in found], [m for _, m in found]


def from_rows(told: list[tuple[int, int]]) -> LogitFit:
    """The same patients as a row a unit, by statsmodels."""
    patient = np.repeat(np.arange(len(told)), [n for _, n in told])
    event = np.concatenate([np.arange(n) < e for e, n in told])
    return fit_exchangeable_logit(patient, event, np.ones((len(event), 1)))


def agrees(found: GeeRisks, fit: LogitFit, at: int = 0) -> bool:
    told = [found.log_odds[at], found.error[at], found.correlation[at]]
    asked = [fit.coefficients[0], fit.errors[0], fit.correlation]
    return bool(fit.converged) and told == pytest.approx(asked, abs=CLOSE)


def test_wheeze_of_ohios_children_without_covariates_is_that_of_statsmodels(
    shared_dir: Path,
) -> None:
    with (shared_dir / "oracles" / "geepack_ohio.csv").open(encoding="utf-8") as file:
        told: dict[str, list[int]] = {}
        for one in csv.DictReader(file):
            told.setdefault(one["id"], []).append(int(one["resp"]))
    children = [(sum(visits), len(visits)) for visits in told.values()]
    assert len(children) == 537
    assert agrees(estimate_gee_risks(*pairs(children)), from_rows(children))


@pytest.mark.parametrize("seed", range(4))
def test_children_with_unequal_numbers_of_infusions_are_those_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = rng.geometric(0.15, 60)
    risk = rng.beta(0.6, 5, 60)
    told = [(int(rng.binomial(k, p)), int(k)) for k, p in zip(n, risk, strict=True)]
    found = estimate_gee_risks(*pairs(told))
    assert agrees(found, from_rows(told))
    assert found.low[0] < found.risk[0] < found.high[0]
    assert (found.method[0], found.note[0]) == ("exchangeable", None)


def test_who_reacts_and_stops_early_weighs_more_than_in_events_over_units() -> None:
    told = [(1, 1)] * 6 + [(0, 10)] * 9
    found = estimate_gee_risks(*pairs(told))
    assert found.risk[0] > 6 / 96
    assert agrees(found, from_rows(told))


def test_no_group_depends_on_the_others() -> None:
    first, second = [(1, 1), (0, 4), (2, 5), (0, 2)], [(1, 6), (0, 3), (3, 3)]
    a, b = pairs(first), pairs(second)
    n, e, m = (x + y for x, y in zip(a, b, strict=True))
    both = estimate_gee_risks(n, e, m, np.repeat([0, 1], [len(a[0]), len(b[0])]), 2)
    for place, one in enumerate((a, b)):
        alone = estimate_gee_risks(*one)
        assert both.risk[place] == alone.risk[0]
        assert both.error[place] == alone.error[0]


def test_without_a_solution_units_are_taken_as_independent_and_that_is_said() -> None:
    # Of two children with two infusions each one has one event: a correlation of -2.
    told = [(1, 2), (1, 2), (0, 1), (1, 1)]
    found = estimate_gee_risks(*pairs(told))
    assert (found.is_converged[0], found.method[0], found.correlation[0]) == (
        False, "independence", 0.0,
    )  # fmt: skip
    assert found.risk[0] == pytest.approx(3 / 6)
    # The plain logit with errors clustered by child: by hand, sum of (e - n / 2)^2 is 1/2.
    assert found.error[0] == pytest.approx(0.5**0.5 / (0.25 * 6))
    assert str(found.note[0]).startswith("not converged")


@pytest.mark.parametrize(
    ("told", "note"),
    [
        ([], "no units"),
        ([(0, 3), (0, 1)], "no event, or nothing but events: there is no logit"),
        ([(3, 3), (1, 1)], "no event, or nothing but events: there is no logit"),
        ([(1, 5)], "one patient: no variance between patients"),
        ([(1, 1)], "no event, or nothing but events: there is no logit"),
    ],
)
def test_what_cannot_be_told_is_no_number_with_a_reason(
    told: list[tuple[int, int]], note: str
) -> None:
    found = estimate_gee_risks(*pairs(told))
    for column in (found.risk, found.low, found.high, found.log_odds, found.error):
        assert np.isnan(column[0])
    assert (found.note[0], found.method[0], found.is_converged[0]) == (note, "none", False)


def test_the_same_risk_in_every_patient_has_no_interval() -> None:
    found = estimate_gee_risks(*pairs([(1, 2)] * 5))
    assert found.risk[0] == 0.5
    assert np.isnan([found.low[0], found.high[0], found.error[0]]).all()
    assert str(found.note[0]).startswith("the same risk in every patient")


def test_one_unit_a_patient_is_a_plain_proportion() -> None:
    found = estimate_gee_risks([1, 1], [0, 1], [9, 3])
    assert (found.risk[0], found.is_converged[0]) == (0.25, True)
    assert found.error[0] == pytest.approx((1 / 3 + 1 / 9) ** 0.5)
    assert found.note[0] == "one unit a patient: nothing to correlate"


def by_patient(*rows: tuple[int, int, int], **key: Any) -> list[dict[str, Any]]:
    names = ("n_units", "n_events", "n_patients")
    told = {k: v for k, v in (KEY | key).items() if k != "denominator"}
    return [told | dict(zip(names, one, strict=True)) for one in rows]


def test_the_table_has_a_row_for_each_headline_risk_of_its_strata() -> None:
    given = counts(
        row(6, 96),
        row(6, 96, denominator="all"),
        row(0, 0, stratum="drug", stratum_value="b"),
        row(3, 9, stratum="sex", stratum_value="female"),
    )
    told = by_patient((10, 0, 9), (1, 1, 6))
    found = risk_gee_table(given, pa.Table.from_pylist(told, schema=PATIENT.schema)).to_pylist()
    assert [(one["stratum"], one["note"]) for one in found] == [("all", None), ("drug", "no units")]
    alone = estimate_gee_risks([10, 1], [0, 1], [9, 6])
    assert found[0]["gee_risk"] == pytest.approx(alone.risk[0], rel=1e-12)
    assert found[0]["risk"] == 6 / 96
    shuffled = pa.Table.from_pylist(told[::-1], schema=PATIENT.schema)
    assert risk_gee_table(given.take([3, 2, 1, 0]), shuffled).to_pylist() == found
    empty = risk_gee_table(given.slice(0, 0), PATIENT.schema.empty_table())
    assert empty.num_rows == 0


def test_pairs_never_leave_the_site() -> None:
    given = {name: form.schema.empty_table() for name, form in COUNT_TABLES.items()}
    told = by_patient((10, 0, 900), (1, 1, 600))
    given[PATIENT.name] = pa.Table.from_pylist(told, schema=PATIENT.schema)
    given[COUNTS.name] = counts(row(600, 9600, n_patients=1500))
    masked = mask_counts(given, 11)
    assert masked.tables[COUNTS.name]["n_units"].to_pylist() == [9600]
    assert masked.tables[PATIENT.name].num_rows == 0
