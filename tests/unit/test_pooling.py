"""Pooled effects and risks against published meta-analyses and plain integration.

Sources: 13 trials of BCG vaccine (Colditz et al. 1994, JAMA 271:698), `dat.bcg` of the R package
metadat, estimates as the R package metafor prints them (Viechtbauer 2010, J Stat Softw 36(3));
Stijnen, Hamza and Ozdemir 2010, Stat Med 29:3046, on the catheter trials of Niel-Weise 2007.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects

from pipelines.pooling.effects import hartung_knapp_error, pool_effects
from pipelines.pooling.glmm import N_NODES, _Model, pool_risks

#: Infections by catheter without coating, events / n (Niel-Weise 2007, by Stijnen 2010).
RARE = (
    "0/116 1/44 2/208 0/130 5/151 1/98 1/174 1/74 1/97 1/113 0/66 0/70 3/188 6/187 0/118 0/252 "
    "1/345 4/64"
)


@pytest.fixture
def trials(shared_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Log risk ratios of the BCG trials and their variances."""
    with (shared_dir / "oracles" / "metadat_dat.bcg.csv").open(encoding="utf-8") as file:
        rows = [
            [float(row[name]) for name in ("tpos", "tneg", "cpos", "cneg")]
            for row in csv.DictReader(file)
        ]
    a, b, c, d = np.array(rows).T
    return np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def test_random_effects_of_the_bcg_trials_are_the_published_ones(
    trials: tuple[np.ndarray, np.ndarray],
) -> None:
    y, v = trials
    for method, published in {"DL": -0.7141172, "PM": -0.7149682, "REML": -0.7145323}.items():
        found = pool_effects(list(y), list(v**0.5), method)  # type: ignore[arg-type]
        assert found.effect == pytest.approx(published, abs=5e-8)
    assert found.tau2 == pytest.approx(0.3132433, abs=5e-8)
    wald = float((1 / (v + found.tau2)).sum() ** -0.5)
    assert wald == pytest.approx(0.1797815, abs=5e-8)
    assert found.error == pytest.approx(0.1807917, abs=5e-8)
    assert found.interval == "hartung-knapp"


def test_they_are_those_of_statsmodels_too(trials: tuple[np.ndarray, np.ndarray]) -> None:
    y, v = trials
    peer = combine_effects(y, v, method_re="iterated", use_t=False)
    found = pool_effects(list(y), list(v**0.5), "PM")
    assert found.tau2 == pytest.approx(peer.tau2, rel=1e-5)
    assert found.q == pytest.approx(peer.q)
    assert found.i2 == pytest.approx(1 - (len(y) - 1) / peer.q)
    assert hartung_knapp_error(y, v, peer.tau2) == pytest.approx(peer.sd_eff_w_re_hksj, rel=1e-6)


def test_one_hospital_is_its_own_row_and_two_have_no_hartung_knapp() -> None:
    alone = pool_effects([0.3], [0.1])
    assert (alone.effect, alone.error, alone.tau2, alone.i2) == (0.3, 0.1, None, None)
    two = pool_effects([0.1, 0.9], [0.1, 0.2])
    assert two.interval == "wald"
    assert two.prediction_low is None
    three = pool_effects([0.1, 0.9, 0.4], [0.1, 0.2, 0.3])
    assert three.interval == "hartung-knapp"
    assert three.prediction_low is not None


def test_equal_hospitals_differ_by_nothing_and_are_never_too_sure() -> None:
    found = pool_effects([0.5] * 4, [0.2] * 4)
    assert found.tau2 == 0.0
    assert found.i2 == 0.0
    assert (found.low, found.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-3)


def test_an_effect_without_error_is_refused() -> None:
    for effects, errors in (([], []), ([1.0], [0.0]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError, match="standard error"):
            pool_effects(effects, errors)


def test_the_rare_arm_of_the_catheter_trials_has_the_published_risk() -> None:
    told = [[float(part) for part in one.split("/")] for one in RARE.split()]
    events, units = [e for e, _ in told], [n for _, n in told]
    # The published analysis took 7 points of quadrature; with more of them tau2 settles at .8253.
    found = pool_risks(events, units, n_nodes=7)
    assert found.converged
    assert found.logit == pytest.approx(-4.8121, abs=1e-3)
    assert found.error == pytest.approx(0.3555, abs=1e-3)
    assert found.tau2 == pytest.approx(0.8265, abs=1e-3)
    assert (found.risk, found.low, found.high) == pytest.approx((0.0081, 0.0040, 0.0161), abs=5e-5)
    settled, finer = pool_risks(events, units), pool_risks(events, units, n_nodes=2 * N_NODES)
    assert settled.tau2 == pytest.approx(finer.tau2, abs=1e-6)
    assert settled.logit == pytest.approx(-4.8121, abs=1e-3)
    assert settled.error == pytest.approx(0.3555, abs=1e-3)


def test_the_likelihood_is_that_of_plain_integration() -> None:
    mean, tau = -2.3, 1.4
    events, units = [0.0, 3.0, 17.6], [12.0, 9.0, 40.5]
    total = 0.0
    for e, n in zip(events, units, strict=True):
        value, _ = integrate.quad(
            lambda t, e=e, n=n: (
                math.exp(e * t - n * math.log1p(math.exp(t))) * stats.norm.pdf(t, mean, tau)
            ),
            -20,
            20,
            limit=400,
            epsabs=1e-20,
        )
        total += math.log(value)
    model = _Model(np.array(events), np.array(units), N_NODES)
    assert model.log_likelihood(mean, tau) == pytest.approx(total, abs=1e-8)


def test_hospitals_that_agree_have_the_risk_of_all_of_them() -> None:
    found = pool_risks([10, 20, 30], [100, 200, 300])
    assert found.tau2 == 0.0
    assert found.risk == pytest.approx(0.1)
    assert found.error == pytest.approx((600 * 0.1 * 0.9) ** -0.5, rel=1e-4)


def test_hospitals_with_all_or_none_have_no_maximum_and_no_risk() -> None:
    found = pool_risks([5, 0, 5, 0], [5, 5, 5, 5])
    assert not found.converged
    assert (found.risk, found.low, found.tau2) == (None, None, None)
    assert str(found) == "no pooled risk: the likelihood has no maximum that can be found"


def test_without_events_or_units_nothing_is_made_up() -> None:
    assert pool_risks([0, 0], [50, 60]).low is None
    assert pool_risks([0, 0], [50, 60]).risk == 0.0
    assert pool_risks([], []).risk is None
    assert pool_risks([3], [30]).tau2 is None
    with pytest.raises(ValueError, match="between 0"):
        pool_risks([5], [4])
