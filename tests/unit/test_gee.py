"""Estimating equations against the published analysis of the Ohio children.

Source: data `ohio` and its exchangeable fit in the R package geepack (Halekoh, Hojsgaard and Yan
2006, J Stat Softw 15(2)).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipelines.signals.gee import fit_exchangeable_logit


def test_wheeze_of_ohios_children_has_the_published_coefficients(shared_dir: Path) -> None:
    with (shared_dir / "oracles" / "geepack_ohio.csv").open(encoding="utf-8") as file:
        rows = [{name: float(row[name]) for name in row} for row in csv.DictReader(file)]
    told = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns = np.stack([np.ones(len(rows)), told["age"], told["smoke"]], axis=1)
    fit = fit_exchangeable_logit(told["id"].astype(int), told["resp"] == 1, columns)
    assert fit.converged
    assert fit.coefficients == pytest.approx([-1.8804288, -0.1133850, 0.2650833], abs=5e-6)
    assert fit.errors == pytest.approx([0.1138930, 0.0438553, 0.1777465], abs=5e-6)


def test_children_of_one_unit_each_are_a_plain_logit() -> None:
    event = np.array([True] * 3 + [False] * 9)
    fit = fit_exchangeable_logit(np.arange(12), event, np.ones((12, 1)))
    assert fit.coefficients[0] == pytest.approx(np.log(3 / 9))
    assert fit.errors[0] == pytest.approx((1 / 3 + 1 / 9) ** 0.5, rel=1e-6)


def test_without_events_there_is_no_logit() -> None:
    fit = fit_exchangeable_logit(np.arange(3), np.zeros(3, dtype=bool), np.ones((3, 1)))
    assert not fit.converged
    assert np.isnan(fit.coefficients).all()


def test_a_covariate_that_tells_all_events_is_no_estimate() -> None:
    """Six units without and six with the event, told apart by a column: no odds ratio of 1e22."""
    event = np.arange(12) >= 6
    columns = np.column_stack([np.ones(12), event])
    fit = fit_exchangeable_logit(np.arange(12) // 2, event, columns)
    assert not fit.converged
    assert np.isnan(fit.coefficients).all()
    assert str(fit).startswith("no logit: separated")
