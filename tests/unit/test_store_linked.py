"""What linkage really writes fits the models: columns, types, keys, up to the warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.linkage.kernel import LinkageInput
from pipelines.linkage.transform import run_linkage
from studies.load import load_study
from tests.linkage_cases import ALL_TYPES, THROUGH, child, event_tables
from tests.unit.store_batches import make_batch, make_site
from warehouse.publish import publish
from warehouse.query import run_query
from warehouse.store import Store

#: Nobody has two units, and no outcome has a control window.
NOBODY = {"signals.counts_shared", "signals.counts_self_controlled"}


@pytest.mark.slow
def test_events_go_from_the_store_through_linkage_into_the_warehouse(tmp_path: Path) -> None:
    # Keys of patients are hex: their first digits tell the bucket.
    start, end = "2024-03-01 09:00", "2024-03-01 09:30"
    ill = child("0a" * 32).infusion(start, end).temperature("2024-03-02 09:00", 38.6)
    ill = ill.report("2024-03-02 09:00", "R50.9").calcium("2024-02-01 09:00", 9.5)
    ill = ill.calcium("2024-03-02 09:00", 7.4)
    well = child("fa" * 32).infusion(start, end).temperature("2024-03-03 09:00", 36.8)
    site = make_site(tmp_path)
    events = {name: table.to_pylist() for name, table in event_tables([ill, well]).items()}
    study = load_study("iv_bisphosphonate")
    given = LinkageInput(study, tuple(("north", name, THROUGH) for name in ALL_TYPES))
    with Store(site) as store:
        store.apply([make_batch("b", events)])
        store.load_reference(study.reference_tables())
        for number, run in enumerate(("r1", "r2")):
            shards = store.export_shards(tmp_path / f"in{number}", 4)
            assert [shard.name for shard in shards] == ["bucket=0", "bucket=3"]
            linked = run_linkage(shards, [given], tmp_path / f"out{number}")
            loaded = store.load_linkage(linked.tables, run)
            assert {table.name for table in loaded if not table.n_rows} == NOBODY
            assert {table.name for table in loaded if table.has_changed} == (
                {table.name for table in loaded} - NOBODY if run == "r1" else set()
            )
        publish(store, site, "r2")
    told = run_query(
        site.warehouse,
        """SELECT outcome, n_events, n_units FROM analysis.headline_risk
        WHERE outcome IN ('fever', 'tachycardia', 'any_side_effect') AND window_name = 'risk'
        ORDER BY ALL""",
    )
    assert told.rows[1] == ("fever", 1, 2)
    published = {
        row["outcome"] for row in study.reference_tables()["outcome"] if row["is_published"]
    }
    shown = run_query(site.warehouse, "SELECT DISTINCT outcome FROM linkage.unit_outcome")
    assert {row[0] for row in shown.rows} == published
    assert len(published) == 8
    runs = run_query(site.warehouse, "SELECT DISTINCT run_id FROM linkage.evidence")
    assert runs.rows == (("r1",),)
