"""Every row of the spec tables holds in the product and in the plain reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.spec.engines import by_product, by_reference, stories
from tests.spec.expected import Answer, misses, statements
from tests.spec.tables import Row, rows_of, spec_files

ENGINES: dict[str, Callable[[Row, str], Answer]] = {
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


@pytest.mark.parametrize(
    ("row", "resolution", "engine"),
    CASES,
    ids=[f"{row.file}-{row.case}-{by}-{engine}" for row, by, engine in CASES],
)
def test_a_case_has_the_outcome_that_the_rule_gives(row: Row, resolution: str, engine: str) -> None:
    expected = statements(row, stories(row.file)[row.key].clock)
    answer = ENGINES[engine](row, resolution)
    found = list(misses(answer, expected, may_lack=engine == "reference"))
    if found:
        lines = [f"{row.where}, by {resolution}, {engine}: {row.case}", f"  {row.happens}"]
        lines += [f"  asked: {row.outcome} {row.settings}", f"  expected: {row.expected}"]
        pytest.fail("\n".join([*lines, *(f"  {one}" for one in found)]), pytrace=False)
