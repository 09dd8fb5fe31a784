"""What is not told leaves a range that holds the truth: against every count that there can be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest

from pipelines.disclosure.rule import coarse, is_coarse
from pipelines.pooling.cells import Cell
from pipelines.pooling.ratios import Pair, pooled_ranges
from pipelines.pooling.risks import COARSE, PATIENTS_RANGE, RANGE, pooled_risk
from pipelines.signals.comparison import Shared

Child = tuple[int, int]
Counts = tuple[int, int]


def told(site_id: str, children: Sequence[Child], *, has_patients: bool = True) -> Cell:
    """A hospital's row of its children's events and units."""
    e, n = (sum(child[place] for child in children) for place in (0, 1))
    row = {
        "n_events": e,
        "n_units": n,
        "n_patients": len(children) if has_patients else None,
        "sum_e2": sum(a * a for a, _ in children),
        "sum_en": sum(a * b for a, b in children),
        "sum_n2": sum(b * b for _, b in children),
    }
    return Cell(site_id, row, None if has_patients else "n_patients", (e, n), (e, n))


#: Of 50 children with four infusions each every fifth reacted each time that it could.
OTHERS = [told(name, [(1, 4)] * n + [(0, 4)] * (50 - n)) for name, n in (("a", 40), ("b", 44))]


@pytest.mark.parametrize("rare", [[(9, 10)], [(1, 5)] * 9])
def test_a_masked_risk_is_in_its_range_however_events_cluster(rare: list[Child]) -> None:
    """Nine events of one child are worth less than of nine: that is not told either."""
    children = rare + [(0, 5)] * 20
    truth = pooled_risk([*OTHERS, told("m", children)])
    n = sum(units for _, units in children)
    found = pooled_risk([*OTHERS, Cell("m", None, "few_events", (1, n), (10, n))])
    assert (found.get("risk"), found["note"]) == (None, RANGE)
    assert found["risk_lowest"] <= truth["risk"] <= found["risk_highest"]
    assert found["ci_lowest"] < found["risk_lowest"] < found["risk_highest"] < found["ci_highest"]


def test_units_without_an_event_weigh_as_the_patients_that_are_not_told() -> None:
    children = [(0, 41), *[(0, 1)] * 99]
    truth = pooled_risk([*OTHERS, told("z", children)])
    found = pooled_risk([*OTHERS, told("z", children, has_patients=False)])
    assert (found.get("risk"), found["note"]) == (None, PATIENTS_RANGE)
    assert found["risk_lowest"] <= truth["risk"] <= found["risk_highest"]
    assert found["risk_lowest"] < 0.9 * found["risk_highest"]
    assert found["crude_risk"] == truth["crude_risk"]


def test_it_is_said_where_sums_over_patients_are_not_exact() -> None:
    hidden = told("c", [(1, 4)] * 30 + [(0, 4)] * 20, has_patients=False)
    found = pooled_risk([*OTHERS, hidden])
    assert found["note"] == COARSE
    assert found["ci_low"] < found["risk"] < found["ci_high"]
    row = told("c", [(2, 2), *[(1, 1)] * 40, *[(0, 1)] * 200]).row
    assert row is not None
    assert is_coarse(coarse(row, 11), 11)
    assert not is_coarse(row, 11)


def a_side(rng: random.Random) -> tuple[Cell, list[Counts]]:
    """A hospital's side of a comparison, and all that it can be."""
    n = rng.randint(4, 8)
    e = rng.randint(0, 4)
    kind = rng.choice(("told", "few", "rest"))
    if kind == "told":
        return Cell("s", {}, None, (e, n), (e, n)), [(e, n)]
    if kind == "few":
        return Cell("s", None, "few_events", (1, n), (3, n)), [(one, n) for one in (1, 2, 3)]
    every = [(a, b) for a in range(e + 1) for b in range(a, n - e + a + 1)]
    return Cell("s", None, "small_count", (0, n - e), (e, e), (0, n)), every


def parts(one: Counts, other: Counts) -> tuple[float, float]:
    (e, n), (oe, on) = one, other
    return (e * on / (n + on), oe * n / (n + on)) if n + on else (0.0, 0.0)


def test_the_ends_of_a_ratio_are_the_farthest_of_all_counts_that_there_can_be() -> None:
    rng, n_unbounded = random.Random(5), 0  # noqa: S311 - no secret
    for _ in range(60):
        sites = [(a_side(rng), a_side(rng)) for _ in range(2)]
        found = pooled_ranges([Pair(one[0], other[0], Shared()) for one, other in sites])
        every = [{parts(a, b) for a in one[1] for b in other[1]} for one, other in sites]
        sums = [[sum(each) for each in zip(*one, strict=True)] for one in product(*every)]
        ratios = [top / bottom for top, bottom in sums if bottom]
        if not ratios:
            continue
        assert found["ratio_lowest"] == pytest.approx(min(ratios))
        if any(top and not bottom for top, bottom in sums):
            n_unbounded += 1
            assert found["ratio_highest"] is None
        else:
            assert found["ratio_highest"] == pytest.approx(max(ratios))
    assert n_unbounded < 30
