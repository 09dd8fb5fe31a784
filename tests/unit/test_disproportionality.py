"""Screening statistics against published values, scipy and plain Bayes on a grid."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from pipelines.signals.disproportionality import (
    Table,
    chi_square,
    ebgm,
    information_component,
    prr,
    ror,
)
from pipelines.signals.empirical_bayes import Prior, fit_prior


def test_prr_ror_and_ic_are_the_published_ones() -> None:
    """Worked values of the R package pvda."""
    found = prr(Table(10, 990, 200, 9800))
    assert (found.low, found.value, found.high) == pytest.approx(
        (0.2658261858, 0.5, 0.9404641581), abs=5e-11
    )
    found = ror(Table(10, 20, 200, 10_000))
    assert (found.low, found.value, found.high) == pytest.approx(
        (11.5534992561, 25, 54.0961648197), abs=5e-11
    )
    found = information_component(10, 5)
    assert (found.low, found.value, found.high) == pytest.approx(
        (-0.0972566418, 0.9328858041, 1.6894567770), abs=5e-11
    )


def oracle(shared_dir: Path, name: str) -> list[dict[str, str]]:
    with (shared_dir / "oracles" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_expected_counts_and_ratios_by_report_are_those_of_openebgm(shared_dir: Path) -> None:
    """Its small example of two drugs and three events (R package openEBGM)."""
    told = oracle(shared_dir, "openebgm_small_2x3_input.csv")
    reports = {(row["id"], row["var1"], row["var2"]) for row in told}
    n_drug = Counter(drug for _, drug in {(report, drug) for report, drug, _ in reports})
    n_event = Counter(event for _, event in {(report, event) for report, _, event in reports})
    n_pair = Counter((drug, event) for _, drug, event in reports)
    total = len({report for report, _, _ in reports})
    expected = oracle(shared_dir, "openebgm_small_2x3_expected.csv")
    for row in expected:
        drug, event = row["var1"], row["var2"]
        a = n_pair[drug, event]
        b, c = n_drug[drug] - a, n_event[event] - a
        table = Table(a, b, c, total - a - b - c)
        assert a == int(row["N"])
        assert table.expected == pytest.approx(float(row["E"]), abs=5e-8)
        assert a / table.expected == pytest.approx(float(row["RR"]), abs=5e-3)
        assert prr(table).value == pytest.approx(float(row["PRR"]), abs=5e-3)
    assert len(expected) >= 4


def test_an_empty_cell_has_no_ratio_and_says_why() -> None:
    assert prr(Table(0, 5, 3, 9)).value is None
    assert "nothing but events" in str(prr(Table(5, 0, 7, 0)))
    assert "empty" in str(ror(Table(2, 0, 3, 9)))
    assert chi_square(Table(0, 0, 3, 9), yates=True) is None


def test_chi_squares_are_those_of_their_formulas() -> None:
    a, b, c, d = 12, 88, 30, 870
    n = a + b + c + d
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    assert chi_square(Table(a, b, c, d), yates=False) == pytest.approx(
        n * (a * d - b * c) ** 2 / margins
    )
    assert chi_square(Table(a, b, c, d), yates=True) == pytest.approx(
        n * (abs(a * d - b * c) - n / 2) ** 2 / margins
    )


def test_ebgm_is_the_posterior_that_integration_gives() -> None:
    prior = Prior(0.3, 0.2, 2.5, 1.9, 0.4)

    def density(x: float) -> float:
        mixture = prior.share * stats.gamma.pdf(x, prior.shape1, scale=1 / prior.rate1)
        mixture += (1 - prior.share) * stats.gamma.pdf(x, prior.shape2, scale=1 / prior.rate2)
        return float(mixture * stats.poisson.pmf(7, 2.4 * x))

    whole = integrate.quad(density, 0, 60, limit=200)[0]
    log_mean = integrate.quad(lambda x: density(x) * np.log(x), 0, 60, limit=200)[0] / whole
    found = ebgm(7, 2.4, prior)
    assert found.value == pytest.approx(np.exp(log_mean), rel=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert integrate.quad(density, 0, found.low)[0] / whole == pytest.approx(0.05, abs=1e-6)
    assert integrate.quad(density, 0, found.high)[0] / whole == pytest.approx(0.95, abs=1e-6)


def test_the_fitted_prior_finds_the_one_that_made_the_counts() -> None:
    rng = np.random.default_rng(1999)
    n = 4000
    expected = rng.gamma(1.5, 4.0, size=n) + 0.2
    first = rng.random(n) < 0.25
    ratio = np.where(first, rng.gamma(4.0, 1.0, size=n), rng.gamma(12.0, 1 / 12, size=n))
    observed = rng.poisson(expected * ratio).astype(float)
    truth = Prior(4.0, 1.0, 12.0, 12.0, 0.25)
    found = fit_prior(observed, expected)
    assert found.converged
    assert found.log_likelihood(observed, expected) >= truth.log_likelihood(observed, expected)
    rich, plain = ebgm(40, 10, found).value, ebgm(40, 10, truth).value
    assert rich == pytest.approx(plain, rel=0.03)
