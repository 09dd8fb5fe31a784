"""Every row of the spec tables holds in the product and in the plain reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.spec.engines import Spec, by_product, by_reference
from tests.spec.expected import Answer, misses, statements
from tests.spec.tables import Row, rows_of, spec_files

ENGINES: dict[str, Callable[[Spec, Row, str], Answer]] = {
    "product": by_product,
    "reference": by_reference,
}
CASES = [
    (row, resolution, engine)
    for file in spec_files()
    for row in rows_of(file)
    for resolution in row.resolutions
    for engine in ENGINES
]


#: Files whose rows name much the same outcomes are linked together, which halves the cost.
TOGETHER = (
    ("1_time", "3_windows", "4_overlap", "5_episodes"),
    ("6_follow_up", "8_vital_signs", "9_seriousness", "10_denominators", "12_edges"),
)


@pytest.fixture(scope="module")
def specs(request: pytest.FixtureRequest) -> dict[str, Spec]:
    """By file: what answers its rows; of the files of which a case was asked for."""
    items = (item for item in request.session.items if item.path == request.path)
    rows = [item.callspec.params["row"] for item in items]  # type: ignore[attr-defined]
    asked = {row.file for row in rows}
    alone = [(file,) for file in sorted(asked - {one for group in TOGETHER for one in group})]
    groups = [[file for file in group if file in asked] for group in (*TOGETHER, *alone)]
    return {file: spec for group in groups for spec in [Spec(group)] for file in group}


@pytest.mark.parametrize(
    ("row", "resolution", "engine"),
    CASES,
    ids=[f"{row.file}-{row.case}-{by}-{engine}" for row, by, engine in CASES],
)
def test_a_case_has_the_outcome_that_the_rule_gives(
    specs: dict[str, Spec], row: Row, resolution: str, engine: str
) -> None:
    spec = specs[row.file]
    expected = statements(row, spec.stories[row.key].clock)
    answer = ENGINES[engine](spec, row, resolution)
    found = list(misses(answer, expected, may_lack=engine == "reference"))
    if found:
        lines = [f"{row.where}, by {resolution}, {engine}: {row.case}", f"  {row.happens}"]
        lines += [f"  asked: {row.outcome} {row.settings}", f"  expected: {row.expected}"]
        pytest.fail("\n".join([*lines, *(f"  {one}" for one in found)]), pytrace=False)
