"""What is kept of a run: a line in the log of runs, a row of `ops.run`, the page of its summary."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from flows.console import plural
from flows.context import RunContext
from flows.run import RunResult
from pipelines.base.errors import DripwatchError, LockedError
from pipelines.base.files import write_durably
from warehouse.run import RunRecord
from warehouse.runlog import LoggedRun, RunLog

#: How a run ended that brought the warehouse up to date, as far as it could be.
GOOD = ("done", "held")


def record_end(context: RunContext, result: RunResult) -> None:
    """Keep a run that came to its end.

    Errors:
        StorageError: the log of runs, the store or the page cannot be written.
    """
    from warehouse.store import Store

    record = replace(
        context.run_record(),
        conductor=result.conductor.kind,
        status="held" if result.held else "done",
        finished_at=result.ended_at,
        exit_code=int(result.exit_code),
        n_batches_applied=context.n_applied,
        n_batches_held=len(result.held),
        message=result.sentence,
    )
    told = json.loads(json.dumps(result.to_json(), default=str))
    with Store(context.site, say=context.console.say) as store:
        store.record_run(record, told)
    write_durably(context.site.report / "summary.md", result.to_markdown().encode())


def record_failure(context: RunContext, error: DripwatchError, *, is_alone: bool) -> None:
    """Keep a run that failed, wherever that can still be written; the error matters more.

    Nothing is made in the folder of a site that never ran: its settings may name the wrong one.

    Args:
        context: the run.
        error: how it failed.
        is_alone: whether it holds the site's lock, and so may open the store.
    """
    runs = RunLog(context.site)
    if not (is_alone or runs.root.is_dir()):
        return
    record = replace(
        context.run_record(),
        status="failed",
        finished_at=datetime.now(UTC),
        exit_code=int(error.exit_code),
        n_batches_applied=context.n_applied,
        message=error.what,
    )
    try:
        _record_failure(context, record, is_alone=is_alone)
        if not isinstance(error, LockedError):  # or else another run is about to write it
            page = failure_page(context, error, runs.read(months=2))
            write_durably(context.site.report / "summary.md", page.encode())
    except Exception as second:
        context.console.say(f"The failed run could not be recorded ({type(second).__name__}).")


def _record_failure(context: RunContext, record: RunRecord, *, is_alone: bool) -> None:
    """Write the log of runs, through the store where nobody else has that."""
    from warehouse.store import Store, damaged_mark

    is_there = context.site.store_path.exists() and not damaged_mark(context.site).exists()
    if not (is_alone and is_there):  # the next run begins a damaged one anew, and says so
        RunLog(context.site).append(LoggedRun(record))
        return
    try:
        with Store(context.site, wait_seconds=2) as store:
            store.record_run(record)
    except DripwatchError:
        RunLog(context.site).append(LoggedRun(record))
        raise


def bad_nights(runs: list[LoggedRun]) -> tuple[LoggedRun | None, list[LoggedRun]]:
    """Return the last run that went well, and those that did not since, refused ones left out."""
    since: list[LoggedRun] = []
    for run in reversed(runs):
        if run.record.status in GOOD:
            return run, since[::-1]
        if run.record.exit_code != LockedError.exit_code:
            since.append(run)
    return None, since[::-1]


def failure_page(context: RunContext, error: DripwatchError, runs: list[LoggedRun]) -> str:
    """Return the summary that stands in the report after a run that failed, as markdown."""
    label = "SYNTHETIC: " if context.site.site.synthetic else ""
    lines = [
        f"# Refresh of {context.site.site.id}: failed",
        "",
        f"{label}The run of {context.started_at:%Y-%m-%d %H:%M} UTC failed. {error.what}",
        "",
        f"- exit code {int(error.exit_code)} ({error.exit_code.name})",
        f"- remedy: {error.remedy}",
    ]
    if error.next_run:
        lines.append(f"- next run: {error.next_run}")
    good, since = bad_nights(runs)
    if good is None:
        lines += ["", "No run has published a warehouse yet."]
    else:
        n_failed = plural(len(since), "run has", "runs have")
        lines += [
            "",
            f"**Stale:** the warehouse is that of the run of {_ended(good):%Y-%m-%d %H:%M} UTC; "
            f"{n_failed} failed since.",
            *feed_lines(good),
        ]
    return "\n".join([*lines, "", f"Run `{context.run_id}`."]) + "\n"


def _ended(run: LoggedRun) -> datetime:
    return run.record.finished_at or run.record.started_at


def feed_lines(run: LoggedRun) -> list[str]:
    """Return up to when each feed was complete for a run, as lines of markdown."""
    feeds = (run.result or {}).get("feeds") or []
    return [
        f"- {one['event_type']} of {one['source']} says that it is complete up to "
        f"{(one['declared_through_at'] or 'nobody knows when')[:16]}"
        for one in feeds
    ]
