"""The stages that link and count: only patients whom the night touches, or everybody, and why."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING

from flows.console import Step, plural
from flows.context import RunContext
from flows.plan import LINKED, inputs_hash, inputs_parts
from flows.run import StageResult
from pipelines.base.files import make_private

if TYPE_CHECKING:
    from pipelines.linkage.kernel import LinkageInput
    from pipelines.linkage.transform import LinkageResult
    from warehouse.store import Store
    from warehouse.touched import Touched

#: Enough to keep a bucket's fixed cost small, few enough for a small machine's memory.
EVENTS_PER_BUCKET = 250_000

#: What the store was last linked under, besides the batches, as JSON.
LINKED_UNDER = "linked_under"

_CHANGED = {
    "studies": "a study has changed",
    "software": "the software has changed",
    "settings": "settings in site.toml have changed",
    "feeds": "the event types that sources deliver have changed",
}


def link(context: RunContext, step: Step) -> StageResult:
    """Link the infusions of the patients whom the night touches to what followed them."""
    if not context.must_link:
        return StageResult("link", note="nothing new: not run")
    from warehouse.store import Store
    from warehouse.touched import Relinked, find_touched

    site = context.site
    shutil.rmtree(site.shards, ignore_errors=True)
    make_private(site.shards)
    with Store(site, say=context.console.say) as site_store:
        why = why_everybody(context, site_store)
        touched = find_touched(
            site_store.con,
            site_store.data_through(),
            site.shards / "touched.parquet",
            everybody=why is not None,
        )
        linked = None if touched.is_nobody else _link(context, step, site_store, touched)
    context.linked = linked
    context.relinked = Relinked(touched, linked.kept if linked else {})
    return StageResult(
        "link",
        rows_in=touched.n_events,
        rows_out=linked.n_units if linked else 0,
        note=_note(touched, why),
    )


def _note(touched: Touched, why: str | None) -> str:
    if not touched.is_everybody:
        return "units linked, of the patients who are touched"
    return f"units linked, of all patients: {why or 'most are touched'}"


def why_everybody(context: RunContext, site_store: Store) -> str | None:
    """Return why nothing that was linked before can be kept; None where it can."""
    known = site_store.get_state(LINKED_UNDER)
    if known is None:
        return "the store is new"
    before, now = json.loads(known), _linked_under(context, site_store)
    changed = [text for part, text in _CHANGED.items() if before.get(part) != now[part]]
    return ", ".join(changed) or None


def _linked_under(context: RunContext, site_store: Store) -> dict[str, object]:
    return {**inputs_parts(context), "feeds": sorted(site_store.data_through())}


def _link(context: RunContext, step: Step, site_store: Store, touched: Touched) -> LinkageResult:
    from pipelines.linkage.transform import run_linkage
    from warehouse.relink import relink

    site = context.site
    n_buckets = bucket_count(touched.n_events, site.resources.buckets)
    step.expect(n_buckets)
    return relink(
        site_store,
        touched,
        linkage_inputs(context, site_store),
        n_buckets=n_buckets,
        folder=site.shards,
        run_linkage=run_linkage,
    )


def bucket_count(n_events: int, at_most: int) -> int:
    """Return how many buckets to link in: each costs half a second, whatever it holds."""
    return max(1, min(at_most, math.ceil(n_events / EVENTS_PER_BUCKET)))


def linkage_inputs(context: RunContext, site_store: Store) -> list[LinkageInput]:
    """Return what linkage is given besides events, one entry per study."""
    from pipelines.linkage.kernel import LinkageInput

    site = context.site
    through = tuple(
        (site.site.id, event_type, instant)
        for event_type, instant in site_store.data_through().items()
    )
    return [
        LinkageInput(
            study,
            through,
            patients_implied=site.site.patients == "implied",
            memory_limit=site.resources.memory_limit,
            temp_dir=site.spill,
        )
        for study in context.studies
    ]


def signals(context: RunContext, step: Step) -> StageResult:
    """Load linked rows, counts and risks into the store, in one transaction."""
    if context.relinked is None:
        return StageResult("signals", note="nothing new: not run")
    from warehouse.row_signals import load_row_signals
    from warehouse.store import Store

    tables = context.linked.tables if context.linked else {}
    with Store(context.site, say=context.console.say) as site_store:
        under = json.dumps(_linked_under(context, site_store))
        loaded = site_store.load_linkage(tables, context.run_id, context.relinked)
        loaded += load_row_signals(site_store, context.studies, context.run_id, under)
        # Last, and the batches after all else: killed in between, the next run links everybody.
        site_store.set_state(LINKED_UNDER, under)
        site_store.set_state(LINKED, inputs_hash(context, site_store.batch_ids()))
    for table in loaded:
        step.advance(table.name)
    n_changed = sum(table.has_changed for table in loaded)
    n_rows = sum(table.n_rows for table in loaded)
    shutil.rmtree(context.site.shards, ignore_errors=True)
    return StageResult("signals", rows_out=n_rows, note=f"{plural(n_changed, 'table')} changed")
