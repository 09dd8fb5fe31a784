"""What a night brought: what changed in the signals and why, and how fresh the data are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.console import plural
from flows.context import RunContext
from flows.record import bad_nights
from pipelines.base.errors import ExitCode
from warehouse.runlog import RunLog

if TYPE_CHECKING:
    from warehouse.changes import Change
    from warehouse.freshness import Feed
    from warehouse.store import Store

#: Signals that a summary names; the warehouse has them all.
MAX_SIGNALS = 25

WORDS = {
    "study_changed": "the study changed",
    "software_changed": "another version of Dripwatch",
    "settings_changed": "settings changed",
    "store_rebuilt": "the log was read anew",
    "window_closed": "windows closed",
    "window_reopened": "windows open again",
    "record_new": "new records",
    "record_late": "late records",
    "record_corrected": "corrected records",
    "record_retracted": "records withdrawn",
    "patient_merged": "patients merged or split",
}


def tell_changes(context: RunContext, changes: tuple[Change, ...]) -> None:
    """Put what changed into the summary: at a real site without any number.

    A difference between two nights is smaller than the counts that it is made of; a signal over few
    units is not even named.
    """
    min_cell = context.site.privacy.min_cell
    is_open = context.site.site.synthetic
    told = [one for one in changes if is_open or _least(one) >= min_cell]
    context.changes = [_told(one, is_open=is_open) for one in told[:MAX_SIGNALS]]
    if len(told) > MAX_SIGNALS:
        more = plural(len(told) - MAX_SIGNALS, "more signal")
        context.remark(f"{more} changed; `select * from ops.change` lists all.")


def _least(change: Change) -> int:
    return min(change.n_units_before or 0, change.n_units or 0)


def _told(change: Change, *, is_open: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "signal_key": change.signal_key,
        "label": change.label,
        "window": change.window_name,
        "before": None,
        "now": None,
        "why": _why(change, is_open=is_open),
        "reasons": list(change.reasons),
    }
    if is_open:
        told["before"] = _counts(change.n_events_before, change.n_units_before)
        told["now"] = _counts(change.n_events, change.n_units)
    return told


def _counts(n_events: int | None, n_units: int | None) -> str:
    return "none" if n_units is None else f"{n_events}/{n_units}"


def _why(change: Change, *, is_open: bool) -> str:
    words = [
        WORDS[one] + (f" ({change.counts[one]})" if is_open and one in change.counts else "")
        for one in change.reasons
    ]
    return ", ".join(words) or "other units are in the denominator"


def keep_fresh(context: RunContext, store: Store) -> None:
    """Work out how fresh each feed is, for the warehouse and the summary."""
    from warehouse.freshness import keep

    waiting = [one for one in context.log.held() if one.batch_id in context.held]
    held = [
        (one.source, event_type, at)
        for one in waiting
        for event_type, at in one.data_through.items()
    ]
    found = keep(store, held)
    context.feeds = [_feed(one) for one in found]


def _feed(feed: Feed) -> dict[str, Any]:
    """Return a feed as a summary tells it: what a quiet one is complete to is a record's date."""
    reasons = [name for name in feed.reasons if name != "quiet"]
    return {
        "source": feed.source,
        "event_type": feed.event_type,
        "declared_through_at": _instant(feed.declared_through_at),
        "stale_since_at": _instant(feed.declared_through_at) if reasons else None,
        "reasons": list(feed.reasons),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else f"{at.isoformat()}Z"


def remark_on_stale(context: RunContext) -> None:
    """Remark on feeds whose data should reach further; those that are quiet say so themselves."""
    from warehouse.freshness import WORDS

    by_state: dict[tuple[str, str, str], list[str]] = {}
    for one in context.feeds:
        why = " and ".join(WORDS[name] for name in one["reasons"] if name != "quiet")
        if why:
            since = (one["stale_since_at"] or "the start")[:10]
            by_state.setdefault((since, one["source"], why), []).append(one["event_type"])
    for (since, source, why), types in by_state.items():
        context.remark(f"Stale since {since}: {', '.join(types)} of {source}: {why}.")


def remark_on_bad_nights(context: RunContext) -> None:
    """Remark on runs that failed since the last good one: results were stale meanwhile."""
    runs = RunLog(context.site).read(months=2)
    good, since = bad_nights([run for run in runs if run.record.run_id != context.run_id])
    if not since:
        return
    codes = sorted({run.record.exit_code for run in since if run.record.exit_code is not None})
    how = ", ".join(f"{code} {ExitCode(code).name}" for code in codes) or "killed"
    n_bad = plural(len(since), "run")
    last = good and (good.record.finished_at or good.record.started_at)
    stale = f"; results had been stale since the run of {last:%Y-%m-%d %H:%M} UTC" if last else ""
    context.remark(f"{n_bad} before this one failed ({how}){stale}. `dripwatch runs` lists them.")


def batches(context: RunContext) -> list[dict[str, Any]]:
    """Return the deliveries that the run has read, as `runs show` tells them."""
    return [
        {
            "batch_id": one.facts.batch_id,
            "source": one.source.name,
            "kind": one.facts.kind,
            "exported_at": one.facts.exported_at.isoformat(),
            "n_files": len(one.facts.files),
            "n_rows": one.n_rows,
            "n_quarantined": one.n_rejected,
            "state": "committed" if context.log.is_committed(one.facts.batch_id) else "held",
        }
        for one in context.incoming
    ]
