"""Looks that come as they come: what they cost exactly, and what they may not change."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipelines.signals.maxsprt import group_alpha, poisson_boundary, poisson_power
from pipelines.signals.maxsprt_conditional import planned_alpha
from pipelines.signals.surveillance import (
    Look,
    Plan,
    Reference,
    SequentialTest,
    allowed,
    crossing_chances,
)
from pipelines.signals.surveillance_power import planned_power
from tests.conftest import ROOT

KNOWN = Reference((0.25, 0.05))
PLAN = Plan(alpha=0.05, max_expected=20)


def looks(test: SequentialTest, units: list[tuple[int, int]], events: int = 0) -> list[Look]:
    found = [test.look(one, events) for one in units]
    return [one for one in found if one is not None]


def nights(n: int) -> list[tuple[int, int]]:
    """Units at risk after each night; sizes differ from night to night."""
    rng = np.random.default_rng(7)
    return [(int(a), int(b)) for a, b in rng.poisson((0.7, 3.5), size=(n, 2)).cumsum(axis=0)]


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("min_events", [1, 4])
def test_what_is_told_as_spent_is_what_the_recursion_over_planned_looks_gives(
    alpha: float, min_events: int
) -> None:
    plan = Plan(alpha, 20, min_events)
    taken = looks(SequentialTest(plan, KNOWN), nights(80))
    increments = np.diff([0.0, *(one.expected for one in taken)])
    exact = group_alpha([one.threshold for one in taken], list(increments))
    assert taken[-1].alpha_spent == pytest.approx(exact, abs=1e-9)
    assert taken[-1].decision == "end"
    assert 0.8 * alpha < taken[-1].alpha_spent <= alpha
    for one in taken:
        assert one.alpha_spent <= one.alpha_allowed + 1e-9
        assert one.threshold >= min_events
        assert (one.statistic >= one.boundary) == (one.events >= one.threshold)


def test_no_look_could_have_rejected_at_one_event_less() -> None:
    taken = looks(SequentialTest(PLAN, KNOWN), nights(80))
    increments = list(np.diff([0.0, *(one.expected for one in taken)]))
    for number, one in enumerate(taken, start=1):
        lower = [*(other.threshold for other in taken[: number - 1]), one.threshold - 1]
        if one.threshold - 1 > max(one.expected, PLAN.min_events - 1):
            assert group_alpha(lower, increments[:number]) > one.alpha_allowed


def test_one_look_at_the_end_spends_all_that_a_count_can() -> None:
    """Nine or more of four expected: .0214; eight or more: .0511 (Poisson)."""
    [only] = looks(SequentialTest(Plan(0.05, 4), Reference((1e-4, None))), [(40_000, 0)])
    assert (only.threshold, only.decision) == (9, "end")
    assert only.alpha_spent == pytest.approx(0.0213634345, abs=5e-11)


def test_an_estimated_reference_costs_what_the_recursion_with_one_more_event_gives() -> None:
    reference = Reference.of_counts((32, 0), (1000, 0))
    taken = looks(SequentialTest(Plan(0.05, 40), reference), [(20 * n, 0) for n in range(1, 61)])
    shares = [one.units[0] / 1000 for one in taken]
    exact = planned_alpha([one.threshold for one in taken], shares, 33)
    assert taken[-1].alpha_spent == pytest.approx(exact, abs=1e-7)
    known = looks(
        SequentialTest(Plan(0.05, 40), Reference((0.032, None))),
        [(20 * n, 0) for n in range(1, 61)],
    )
    assert taken[-1].threshold > known[-1].threshold


def test_two_estimated_rates_cost_what_simulation_says() -> None:
    rng = np.random.default_rng(130)
    reference, n = Reference.of_counts((12, 21), (60, 420)), 20_000
    units = [(n // 2, 3 * n) for n in range(1, 41)]
    taken = looks(SequentialTest(Plan(0.05, 15), reference), units)
    added = np.diff([(0, 0), *(one.units for one in taken)], axis=0)
    rates = rng.gamma((13, 22), size=(n, 2)) / (60, 420)
    events = rng.poisson(rates @ added.T).cumsum(axis=1)
    rejected = (events >= [one.threshold for one in taken]).any(axis=1).mean()
    spent = taken[-1].alpha_spent
    assert abs(rejected - spent) < 3 * (spent * (1 - spent) / n) ** 0.5
    assert 0.04 < spent <= 0.05


def test_resuming_from_what_was_recorded_gives_the_same_next_look() -> None:
    reference = Reference.of_counts((12, 21), (60, 420))
    whole, units = SequentialTest(PLAN, reference), nights(30)
    taken = looks(whole, units[:20])
    resumed = SequentialTest(PLAN, reference).resume(taken)
    assert resumed.look(units[25], 3) == whole.look(units[25], 3)


def test_units_that_a_correction_takes_back_spend_nothing() -> None:
    test = SequentialTest(PLAN, Reference((0.01, None)))
    first, less, again = (test.look(*one) for one in (((500, 0), 1), ((400, 0), 0), ((500, 0), 1)))
    assert first
    assert less
    assert again
    assert first.alpha_spent == less.alpha_spent == again.alpha_spent
    assert first.threshold == less.threshold == again.threshold
    assert less.expected < first.expected


def test_nothing_is_looked_at_where_nothing_changed_too_early_or_after_the_decision() -> None:
    test = SequentialTest(Plan(0.05, 5, first_look_expected=1), Reference((0.01, None)))
    assert test.look((99, 0), 50) is None
    early = test.look((100, 0), 0)
    assert early is not None
    assert test.look((100, 0), 0) is None
    found = test.look((150, 0), early.threshold + 5)
    assert found is not None
    assert found.decision == "signal"
    assert test.look((900, 0), 0) is None


def test_without_a_reference_for_what_is_watched_there_is_no_look() -> None:
    assert SequentialTest(PLAN, Reference.of_counts((3, 0), (9, 0))).look((5, 5), 9) is None
    assert SequentialTest(PLAN, Reference.of_counts((0, 0), (9, 9))).look((500, 500), 9) is None


def test_up_to_the_end_as_much_may_be_spent_as_a_continuous_test_would_have() -> None:
    boundary = poisson_boundary(20).boundary
    assert allowed(PLAN, 7) == pytest.approx(poisson_power(boundary, 7, 1).power)
    assert allowed(PLAN, 20) == allowed(PLAN, 99) == 0.05


def test_many_small_looks_find_what_a_continuous_test_finds() -> None:
    """Kulldorff 2011: T = 10, rate ratio 2: power .6850634, expected time to signal 4.130985."""
    units = [(100 * number, 0) for number in range(1, 1001)]
    found = planned_power(Plan(0.05, 10), Reference((10 / 100_000, None)), units, 2.0)
    assert found.power == pytest.approx(0.6850634, abs=0.002)
    assert found.expected == pytest.approx(4.130985, abs=0.02)
    assert found.n_looks == 1000


def test_power_without_an_excess_is_the_alpha_that_is_spent() -> None:
    taken = looks(SequentialTest(PLAN, KNOWN), nights(80))
    found = planned_power(PLAN, KNOWN, nights(80), 1.0)
    assert found.power == pytest.approx(taken[-1].alpha_spent, abs=1e-9)
    with pytest.raises(ValueError, match="no look is taken"):
        planned_power(Plan(0.05, 20, first_look_expected=5), KNOWN, [(1, 1)], 2.0)


def test_the_example_of_the_page_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "docs" / "surveillance.md").read_text("utf-8")
    code, said = re.findall(r"```(?:python)?\n(.*?)```", text, flags=re.DOTALL)
    exec(code, {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == said


def test_chances_of_looks_add_up_to_what_is_spent() -> None:
    taken = looks(SequentialTest(PLAN, KNOWN), nights(80))
    chances = crossing_chances([one.threshold for one in taken], [one.expected for one in taken])
    assert np.cumsum(chances) == pytest.approx([one.alpha_spent for one in taken], abs=1e-9)
