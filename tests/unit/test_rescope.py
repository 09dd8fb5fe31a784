"""Which codes of a study were left out of what was delivered, and of which batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pipelines.ingest.manifest import Manifest, OutOfScope
from pipelines.ingest.rescope import LeftOut, left_out
from studies.load import ConceptRow

LAB = "LabResulted"
DIAGNOSIS = "DiagnosisRecorded"


def code(told: str, match: str = "exact", system: str = "icd10cm") -> ConceptRow:
    return ConceptRow(DIAGNOSIS, system, told, match, "pain")


def batch(name: str, *missed: OutOfScope) -> Manifest:
    """As much of a manifest as is looked at."""
    return cast("Manifest", SimpleNamespace(batch_id=name, out_of_scope=missed))


def missed(told: str, n_rows: int = 1, event_type: str = DIAGNOSIS) -> OutOfScope:
    return OutOfScope(event_type, "icd10cm", told, n_rows)


@pytest.mark.parametrize(
    ("scope", "wanted", "is_new"),
    [
        (code("M79.6"), code("M79.6"), False),
        (code("M796"), code("m79.6"), False),
        (code("M79", "prefix"), code("M79.6"), False),
        (code("M79", "prefix"), code("M79.6", "prefix"), False),
        (code("M79.6"), code("M79.6", "prefix"), True),
        (code("M79.6"), code("M79", "prefix"), True),
        (code("M79.6", "prefix"), code("M79", "prefix"), True),
        (code("M79.6", system="icd9cm"), code("M79.6"), True),
    ],
)
def test_a_code_is_new_unless_one_in_scope_covers_it(
    scope: ConceptRow, wanted: ConceptRow, *, is_new: bool
) -> None:
    assert left_out([scope], [wanted], []).codes == ((wanted,) if is_new else ())


def test_only_batches_that_left_out_such_a_code_must_come_again() -> None:
    batches = [
        batch("a", missed("M79.62", 3), missed("R51", 5)),
        batch("b", missed("R51", 7)),
        batch("c", missed("M79.62", 2, LAB)),
        batch("d"),
        batch("e", missed("M7960")),
    ]
    wanted = [code("M79.6", "prefix")]
    assert left_out([], wanted, batches) == LeftOut(tuple(wanted), 4, ("a", "e"))


def test_where_all_is_in_scope_no_code_is_new_but_an_earlier_batch_may_lack_it() -> None:
    batches = [batch("early", missed("R51", 7)), batch("late")]
    assert left_out(None, [code("R51")], batches) == LeftOut((), 7, ("early",))
