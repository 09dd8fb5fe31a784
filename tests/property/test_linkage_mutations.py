"""Mistakes that are made on purpose (`tests/mutations.py`) are noticed, each by two readings."""

from __future__ import annotations

import itertools

import pytest

from pipelines.linkage import kernel
from tests.mutations import MUTATIONS, PAGE, Mutation, mutated, rendered
from tests.reference.compare import FEEDS, OPEN_FEEDS, differences
from tests.reference.patients import make_patients
from tests.reference.studies import STUDIES
from tests.spec.engines import Spec, by_product
from tests.spec.expected import misses, statements
from tests.spec.tables import rows_of

EACH = pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.rule)


@EACH
def test_the_place_that_is_changed_is_there_once_and_so_is_the_case(one: Mutation) -> None:
    assert dict(kernel.sql_files())[one.sql].count(one.old) == 1
    assert one.case in {row.case for row in rows_of(one.spec)}


def test_the_page_lists_every_mistake() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rendered(page) == page, "run `make docs`"
    assert all(f"| {one.rule} " in page and f"| `{one.sql}` |" in page for one in MUTATIONS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "one", [one for one in MUTATIONS if not one.is_rare], ids=lambda one: one.rule
)
def test_the_reference_notices_a_mistake(one: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    files = mutated(one)
    monkeypatch.setattr(kernel, "sql_files", lambda: files)
    for seed, (study, feeds) in itertools.product(
        range(3), itertools.product(STUDIES.values(), (FEEDS, OPEN_FEEDS))
    ):
        if differences(make_patients(9000 + seed, 150), study, feeds):
            return
    pytest.fail("no patient shows the difference")


@pytest.mark.slow
@EACH
def test_the_case_that_is_named_notices_it(one: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not told_wrong(one)
    files = mutated(one)
    monkeypatch.setattr(kernel, "sql_files", lambda: files)
    assert told_wrong(one)


def told_wrong(one: Mutation) -> list[str]:
    """What the product tells otherwise than the case expects, in any resolution."""
    spec = Spec([one.spec], only=one.case)
    return [
        said
        for row in spec.rows
        for by in row.resolutions
        for said in misses(
            by_product(spec, row, by),
            statements(row, spec.stories[row.key].clock),
            may_lack=False,
        )
    ]
