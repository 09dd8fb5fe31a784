"""The nightly road, stage by stage. Each stage only calls the part that does the work.

A stage may be run again after a fault, and so may the whole list after a crash: what an earlier
attempt left is either whole or thrown away.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

from flows.announce import announce
from flows.closing import (
    find_held,
    remark_on_empty_studies,
    remark_on_feeds,
    remark_on_held,
    remark_on_open_windows,
    remark_on_reading,
    remark_on_rows,
    remark_on_sources,
    remark_on_ties,
    remark_on_withheld,
    tell_numbers,
)
from flows.console import Step, plural
from flows.context import Incoming, RunContext
from flows.derived import sweep
from flows.drift import earlier_of, remark_on_drift
from flows.feeds import remark_on_silences, tell_quiet
from flows.linking import link, signals
from flows.looks import look, remark_on_surveillance
from flows.news import keep_fresh, remark_on_bad_nights, remark_on_stale, tell_changes
from flows.plan import LINKED, find_deliveries, inputs_hash
from flows.report import write_page
from flows.run import Stage, StageResult
from pipelines.base import duck
from pipelines.base.at_rest import close_to_others
from pipelines.base.files import make_private
from pipelines.base.generations import check_newest, drop_older, older
from pipelines.ingest.accounting import n_candidates, n_set_aside

if TYPE_CHECKING:
    import duckdb

    from warehouse.store import Store


def _store(context: RunContext) -> Store:
    from warehouse.store import Store

    return Store(context.site, say=context.console.say)


def recover(context: RunContext, _step: Step) -> StageResult:
    """Throw away what a killed run left half done; apply committed batches that the store lacks."""
    site = context.site
    check_newest(site.restricted)
    if n_open := close_to_others(make_private(site.restricted)):
        told = plural(n_open, "file or folder", "files or folders")
        context.remark(f"{told} of the restricted folder could be used by others; closed to them.")
    for scratch in (site.staging, site.shards, site.spill):
        shutil.rmtree(scratch, ignore_errors=True)
        make_private(scratch)
    context.log.clean_tmp()
    sweep(site)
    with _store(context) as store:
        if store.rebuilt_because:
            context.remark(f"The site store was rebuilt from the log: {store.rebuilt_because}.")
        store.catch_up_runs()
        store.record_run(context.run_record())
        n_applied = len(store.apply_missing(context.log, context.run_id))
    _give_up_older(context)
    context.n_applied = n_applied
    note = f"{plural(n_applied, 'batch', 'batches')} of earlier runs applied" if n_applied else ""
    return StageResult("recover", note=note)


def _give_up_older(context: RunContext) -> None:
    """Remove what a new generation of the log has replaced, and what was made of that.

    The older log goes last: as long as it is there, a run that was killed has not done this.
    """
    from pipelines.ingest.forgotten import Forgotten
    from pipelines.ingest.idmap import IdMap

    site = context.site
    if older(site.restricted):
        if (cache := site.restricted / "cache").exists():
            shutil.rmtree(cache)  # it has names of files
        IdMap(site).drop_forgotten(context.key, Forgotten(site.log_root))
    drop_older(site.restricted)


def discover(context: RunContext, step: Step) -> StageResult:
    """Find the deliveries that no earlier run has read."""
    find_deliveries(context, step)
    context.inbox.save()
    n_new, n_known = len(context.incoming), len(context.known)
    return StageResult("discover", note=f"{n_new} new, {n_known} known")


def extract(context: RunContext, step: Step) -> StageResult:
    """Read new deliveries into staging databases, one per batch."""
    from pipelines.sources import source_kind

    step.expect(len(context.incoming))
    n_out = 0
    for one in context.incoming:
        one.staging.unlink(missing_ok=True)
        with closing(_staging(context, one)) as con:
            kind = source_kind(one.source.kind)
            kind.extract(con, one.facts, one.mapping, context.site, context.scope, context.key)
            for text in kind.remarks(con, one.mapping, one.source.name):
                context.remark(text)
            one.n_rows = _number(con, "SELECT coalesce(sum(n_rows), 0) FROM fate.file")
            n_out += n_candidates(con)
        step.advance(one.facts.batch_id[:8])
    return StageResult("extract", sum(one.n_rows for one in context.incoming), n_out)


def _staging(context: RunContext, one: Incoming) -> duckdb.DuckDBPyConnection:
    con = duck.connect(
        one.staging,
        memory_limit=context.site.resources.memory_limit,
        temp_dir=context.site.spill,
        threads=duck.threads_for(duck.rows_at_most(file.path for file in one.facts.files)),
    )
    one.staging.chmod(0o600)
    return con


def _number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def validate(context: RunContext, step: Step) -> StageResult:
    """Judge every row: accepted, flagged, or rejected with the check's name."""
    n_in = n_rejected = 0
    step.expect(len(context.incoming))
    proven: set[str] = set()  # each run plants its bad rows once: the suites are the same
    for number, one in enumerate(context.incoming, start=1):
        from expectations.validate import validate as judge

        is_last = number == len(context.incoming)
        with closing(_staging(context, one)) as con, earlier_of(context, one, con) as earlier:
            one.validation = judge(
                con,
                event_types=tuple(one.facts.data_through),
                data_through=one.facts.data_through,
                concepts=context.concepts,
                thresholds=context.site.thresholds,
                docs_dir=context.site.report / "data_docs" if is_last else None,
                is_synthetic=context.site.site.synthetic,
                proven=proven,
                earlier=earlier,
                hold_on=context.site.feeds.hold_on,
            )
            one.n_rejected = n_set_aside(con)
            n_in += n_candidates(con)
            n_rejected += _number(con, "SELECT count(*) FROM judge.rejected")
        step.advance(one.facts.batch_id[:8])
    quarantined = sum(one.n_rejected for one in context.incoming)
    return StageResult("validate", n_in, n_in - n_rejected, quarantined)


def commit(context: RunContext, step: Step) -> StageResult:
    """Write each batch to the log and commit it by one rename, or hold it."""
    from pipelines.ingest.idmap import IdMap, delivered
    from pipelines.ingest.shrunk import shrunk

    n_in = n_out = n_held = 0
    step.expect(len(context.incoming))
    for one in context.incoming:
        batch_id = one.facts.batch_id
        assert one.validation is not None  # noqa: S101 - `validate` ran before
        with closing(_staging(context, one)) as con:
            manifest = context.log.write(
                con,
                one.facts,
                one.validation,
                study_hashes={study.id: study.study_hash for study in context.studies},
                key_check=context.key.check_value(context.site.site.id),
            )
            if context.site.privacy.idmap:
                IdMap(context.site).add(delivered(con))
        n_in += one.n_rows
        limits = context.site.thresholds
        reasons = shrunk(
            manifest,
            context.log.in_force(),
            drop=limits.snapshot_drop,
            min_rows=limits.min_rows,
        )
        if one.validation.hold_reasons or reasons:
            context.log.hold(batch_id, reasons)
            n_held += 1
        else:
            context.log.commit(batch_id)
            n_out += manifest.fates.get("accepted", 0)
            context.n_new += 1
        one.staging.unlink(missing_ok=True)
        step.advance(batch_id[:8])
    return StageResult("commit", n_in, n_out, held=n_held)


def store(context: RunContext, _step: Step) -> StageResult:
    """Apply the committed batches that the site store lacks."""
    with _store(context) as site_store:
        n_applied = len(site_store.apply_missing(context.log, context.run_id))
        context.n_applied += n_applied
        tell_quiet(context, site_store)
        tables: dict[str, list[dict[str, object]]] = {}
        for study in context.studies:
            for name, rows in study.reference_tables().items():
                tables.setdefault(name, []).extend(rows)
        site_store.load_reference(tables)
        wanted = inputs_hash(context, site_store.batch_ids())
        context.must_link = site_store.get_state(LINKED) != wanted
    return StageResult("store", note=f"{plural(n_applied, 'batch', 'batches')} applied")


def publish(context: RunContext, _step: Step) -> StageResult:
    """Build the warehouse beside the published one and swap it in."""
    from warehouse import publish as publishing

    context.held = find_held(context)
    closing_record = context.closing_record()
    make = publishing.publish if context.is_replay else publishing.publish_if_needed
    key = context.key if context.site.site.row_level == "deidentified" else None
    with _store(context) as site_store:
        keep_fresh(context, site_store)
        publication = make(site_store, context.site, context.run_id, closing_record, key)
    if publication is None:
        return StageResult("publish", note="nothing new: not run")
    context.is_changed = True
    tell_changes(context, publication.changes)
    n_rows = sum(publication.n_rows.values())
    return StageResult("publish", rows_out=n_rows, note=context.site.warehouse.name)


def report(context: RunContext, _step: Step) -> StageResult:
    """Write the page; collect what must be told: rejected, held, stale, provisional."""
    page = write_page(context)
    context.held = find_held(context)
    remark_on_rows(context)
    remark_on_drift(context)
    remark_on_held(context)
    remark_on_reading(context)
    remark_on_sources(context)
    remark_on_stale(context)
    remark_on_bad_nights(context)
    with _store(context) as site_store:
        remark_on_feeds(context, site_store)
        remark_on_silences(context, site_store)
        remark_on_open_windows(context, site_store)
        remark_on_withheld(context, site_store)
        remark_on_ties(context, site_store)
        remark_on_empty_studies(context, site_store)
        remark_on_surveillance(context, site_store)
        tell_numbers(context, site_store)
    remarks = plural(len(context.remarks), "remark")
    return StageResult("report", note=", ".join(filter(None, (page, remarks))))


#: The nightly road, in order. Retries only where waiting can help: files and locks.
STAGES: tuple[Stage[RunContext], ...] = (
    Stage("recover", recover, retries=2),
    Stage("discover", discover, retries=2),
    Stage("extract", extract, retries=2),
    Stage("validate", validate),
    Stage("commit", commit),
    Stage("store", store, retries=2),
    Stage("link", link, retries=1),
    Stage("signals", signals, retries=2),
    Stage("look", look, retries=2),
    Stage("publish", publish, retries=2),
    Stage("announce", announce, retries=2),
    Stage("report", report, retries=2),
)
