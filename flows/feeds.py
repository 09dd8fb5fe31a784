"""What must be said about feeds: those that fell silent, gaps, and deliveries that drift.

No date of a record is named: in a small hospital it is a patient's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flows.console import plural
from flows.context import RunContext
from warehouse.feeds import FEED_QUIET, Silence, last_told_days, silences

if TYPE_CHECKING:
    from warehouse.outbox import Message
    from warehouse.store import Store

#: Gaps that ended longer ago stay in `quality.silence` and are not said every night.
GAPS_SAID_FOR = timedelta(days=90)
#: A site whose sources have all told nothing for so many days is said to be silent.
ALL_SILENT_DAYS = 7


def tell_quiet(context: RunContext, store: Store) -> None:
    """Put a message for each feed that holds windows open into the outbox, once in its silence.

    What is quiet follows from the store alone, so a run that was killed before tells it again.
    """
    from warehouse.guard import guarded, transaction
    from warehouse.outbox import put

    store.keep_feeds()
    quiet = [one for one in _needed(context, store) if one.holds_windows]
    if not quiet or not context.channels:
        return
    with guarded("writing to the outbox", context.site.store_path), transaction(store.con):
        for channel in context.channels:
            put(store.con, [_message(context, one, channel) for one in quiet])


def _message(context: RunContext, silence: Silence, channel: str) -> Message:
    from warehouse.outbox import Message, message_key

    site = context.site.site
    feed = f"{silence.source}/{silence.event_type}"
    key = message_key(FEED_QUIET, site.id, channel, feed, silence.last_date)
    mark = "SYNTHETIC: " if site.synthetic else ""
    subject = f"{mark}{site.id}: {feed} is quiet"
    told = {
        "event": FEED_QUIET,
        "key": key,
        "site_id": site.id,
        "source": silence.source,
        "event_type": silence.event_type,
        "alert_key": f"feed/{feed}",
        "state": "quiet",
        "synthetic": site.synthetic,
        "run_id": context.run_id,
        "subject": subject,
        "text": mark + quiet_text(silence),
    }
    return Message(key, site.id, channel, subject, json.dumps(told), context.run_id)


def remark_on_silences(context: RunContext, store: Store) -> None:
    """Remark on feeds that are quiet, on gaps that nobody filled, and on a site without any news.

    Feeds that no outcome of the site's studies reads are left to `quality.silence`.
    """
    through = store.declared_through()
    told = _needed(context, store)
    for silence in told:
        if silence.holds_windows:
            context.remark(quiet_text(silence))
    for text in _gap_texts(told, through):
        context.remark(text)
    days = last_told_days(store.con, context.site.site.zone)
    if days is not None and days >= ALL_SILENT_DAYS:
        context.remark(
            f"Silent: no source has told of anything in the last {days} days that it says are "
            "complete. Windows close all the same: a clinic may have been closed, or every extract "
            "empty."
        )


def _needed(context: RunContext, store: Store) -> list[Silence]:
    read = {
        name
        for study in context.studies
        for outcome in study.model.outcome
        for name in study.reads(outcome)
    }
    return [one for one in silences(store.con) if one.event_type in read]


def quiet_text(silence: Silence) -> str:
    """Return what is said of a feed that is quiet."""
    return (
        f"Quiet: {silence.source} has told of no {silence.event_type} for "
        f"{plural(silence.n_days, 'day')} that it says are complete, while others deliver. Windows "
        "that need it and end after its last record stay open. If its silence is real, name "
        f"{silence.source}/{silence.event_type} in `[feeds] believed` of site.toml."
    )


def _gap_texts(told: Iterable[Silence], through: dict[str, datetime]) -> list[str]:
    gaps: dict[tuple[str, str], list[Silence]] = {}
    for one in told:
        ended = through.get(one.event_type)
        if one.next_date and ended and ended.date() - one.next_date <= GAPS_SAID_FOR:
            gaps.setdefault((one.source, one.event_type), []).append(one)
    return [
        f"Gap: {source} told of no {event_type} for {plural(some[-1].n_days, 'day')} while others "
        f"delivered{_and_before(len(some))}, and nobody has filled it in. Windows in it have "
        "closed; `select * from quality.silence` says when."
        for (source, event_type), some in gaps.items()
    ]


def _and_before(count: int) -> str:
    return f", the last of {count} such times in 90 days" if count > 1 else ""
