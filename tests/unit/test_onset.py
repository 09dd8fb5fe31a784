"""Curves of onset against a published table and statsmodels.

Source: Miller 1981, Survival Analysis (`aml` of the R package survival); limits by its survfit.
"""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from pipelines.signals.onset import RiskSet, cumulative_incidence, kaplan_meier

#: Acute myelogenous leukaemia, maintained arm (Miller 1981): weeks, and whether relapsed.
WEEKS = [9, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161]
RELAPSED = [1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0]
PUBLISHED = [0.909091, 0.818182, 0.715909, 0.613636, 0.490909, 0.368182, 0.184091]


def risk_sets(times: list[int], kinds: list[int]) -> list[RiskSet]:
    told = list(zip(times, kinds, strict=True))
    return [
        RiskSet(
            at,
            sum(time >= at for time in times),
            sum(time == at and kind == 1 for time, kind in told),
            sum(time == at and kind == 2 for time, kind in told),
        )
        for at in sorted(set(times))
    ]


def test_the_share_without_relapse_is_the_published_one() -> None:
    found = kaplan_meier(risk_sets(WEEKS, RELAPSED))
    assert [step.value for step in found] == pytest.approx(PUBLISHED, abs=5e-7)


#: Limits of the same curve by R's survfit, conf.type = "log-log".
LIMITS = [
    (0.5081, 0.987),
    (0.4474, 0.951),
    (0.3502, 0.899),
    (0.2658, 0.835),
    (0.1673, 0.753),
    (0.0928, 0.657),
    (0.0117, 0.525),
]


def test_its_limits_are_those_of_survfit() -> None:
    found = kaplan_meier(risk_sets(WEEKS, RELAPSED))
    assert [step.low for step in found] == pytest.approx([low for low, _ in LIMITS], abs=5e-5)
    assert [step.high for step in found] == pytest.approx([high for _, high in LIMITS], abs=5e-4)


def test_incidence_beside_death_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(1978)
    times = [*(int(t) for t in rng.integers(1, 30, size=79)), 40]
    kinds = [*(int(k) for k in rng.choice([0, 1, 2], size=79, p=[0.4, 0.4, 0.2])), 0]
    peer = CumIncidenceRight(np.array(times), np.array(kinds))
    curve = dict(zip(peer.times, zip(peer.cinc[0], peer.cinc_se[0], strict=True), strict=True))
    found = cumulative_incidence(risk_sets(times, kinds))
    assert len(found) > 10
    for step in found:
        value, error = curve[step.at]
        assert step.value == pytest.approx(value, abs=1e-12)
        assert step.low is not None
        assert step.high is not None
        half = np.log(np.log(1 - step.high) / np.log(1 - step.low)) / 2 / 1.959963984540054
        assert half * -(1 - value) * np.log(1 - value) == pytest.approx(error, rel=1e-6)


def test_without_a_competing_event_incidence_is_one_minus_survival_with_its_limits() -> None:
    sets = risk_sets(WEEKS, RELAPSED)
    for step, free in zip(cumulative_incidence(sets), kaplan_meier(sets), strict=True):
        assert step.value == pytest.approx(1 - free.value)
        assert free.low is not None
        assert step.high == pytest.approx(1 - free.low, abs=1e-9)


def test_when_all_have_had_it_there_is_no_limit() -> None:
    [step] = kaplan_meier([RiskSet(1.0, 3, 3)])
    assert (step.value, step.low, step.high) == (0.0, None, None)
    assert str(step) == "from 1 on 0.0% (no limits)"
    assert kaplan_meier([RiskSet(1.0, 3, 0)]) == []
