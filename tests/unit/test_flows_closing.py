"""What a run must say at its end about ties, and about studies that count nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.closing import (
    remark_on_empty_studies,
    remark_on_feeds,
    remark_on_ties,
    tell_numbers,
)
from flows.console import SilentConsole, plural
from flows.context import RunContext
from studies.load import Study, load_study
from tests.unit.store_batches import make_site
from warehouse.store import Store


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(make_site(tmp_path), "r1", SilentConsole(), datetime.now(UTC))


@pytest.fixture
def store(context: RunContext) -> Iterator[Store]:
    with Store(context.site) as opened:
        yield opened


def add_units(store: Store, study: str, reason: str | None, count: int) -> None:
    store.con.execute(
        """INSERT INTO linkage.course BY NAME
        SELECT $study AS study_id, 'north' AS site_id, uuid()::VARCHAR AS unit_id,
               $reason IS NULL AS is_eligible, $reason AS ineligible_reason
        FROM range($count)""",
        {"study": study, "reason": reason, "count": count},
    )


def test_a_study_that_counts_nobody_says_why_and_shows_no_count(
    context: RunContext, store: Store
) -> None:
    add_units(store, "s1", "no_indication", 30)
    add_units(store, "s1", "too_old", 3)
    remark_on_empty_studies(context, store)
    assert context.remarks == ["s1: none of its units is counted: no_indication, too_old."]


def test_a_study_that_counts_anybody_or_has_no_unit_says_nothing(
    context: RunContext, store: Store
) -> None:
    add_units(store, "s1", "too_old", 30)
    add_units(store, "s1", None, 1)
    remark_on_empty_studies(context, store)
    assert context.remarks == []


def test_a_study_of_whose_records_none_became_a_unit_says_why(
    context: RunContext, store: Store
) -> None:
    steps = [(1, "records of study drugs", 31), (2, "left out: route_unknown", 31), (6, "units", 0)]
    store.con.executemany(
        "INSERT INTO linkage.attrition (study_id, site_id, step_number, step, n) "
        "VALUES ('s1', 'north', ?, ?, ?)",
        steps,
    )
    remark_on_empty_studies(context, store)
    assert context.remarks == [
        "s1: no record became a unit: records of study drugs, left out: route_unknown."
    ]


def test_each_tie_is_remarked_on(context: RunContext, store: Store) -> None:
    for batch, count in (("a", 2), ("b", 1), ("c", 0)):
        store.con.execute(
            """INSERT INTO quality.reconciliation BY NAME
            SELECT 'north' AS site_id, 'ehr' AS source, $batch AS batch_id,
                   'LabResulted' AS event_type, $count AS n_tied""",
            {"batch": batch, "count": count},
        )
    remark_on_ties(context, store)
    [remark] = context.remarks
    assert remark.startswith("ehr told 3 rows of LabResulted again")


def test_without_a_tie_nothing_is_said(context: RunContext, store: Store) -> None:
    remark_on_ties(context, store)
    assert context.remarks == []


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 batches"), (1, "1 batch"), (1200, "1,200 batches")]
)
def test_a_count_agrees_with_its_noun(count: int, told: str) -> None:
    assert plural(count, "batch", "batches") == told


def test_the_flow_of_exclusion_is_told_step_by_step_the_greatest_loss_first(
    context: RunContext, store: Store
) -> None:
    store.con.execute(
        """INSERT INTO linkage.attrition BY NAME
        SELECT 's1' AS study_id, 'north' AS site_id, unnest([6, 2, 2, 1]) AS step_number,
            unnest(['units', 'left out: few', 'left out: many', 'records of study drugs']) AS step,
            unnest([5, 1, 4, 10]) AS n"""
    )
    tell_numbers(context, store)
    assert not (*context.attrition, *context.headline), "a real site's stay in its warehouse"
    about = context.site.site.model_copy(update={"synthetic": True})
    context.site = context.site.model_copy(update={"site": about})
    tell_numbers(context, store)
    assert context.attrition == (
        ("s1", "records of study drugs", 10),
        ("s1", "left out: many", 4),
        ("s1", "left out: few", 1),
        ("s1", "units", 5),
    )


def test_a_study_that_asks_for_remedies_says_so_where_nobody_delivers_drugs(
    context: RunContext, store: Store
) -> None:
    shipped = load_study("iv_bisphosphonate")
    bare = [one.model_copy(update={"remedy_concepts": []}) for one in shipped.model.outcome]
    model = shipped.model.model_copy(update={"outcome": bare})
    context.__dict__["studies"] = [Study(model, shipped.codelist, shipped.limits, shipped.folder)]
    remark_on_feeds(context, store)
    assert not any("is_treated" in text for text in context.remarks)
    context.__dict__["studies"] = [shipped]
    remark_on_feeds(context, store)
    assert any("no source delivers MedicationGiven" in text for text in context.remarks)
