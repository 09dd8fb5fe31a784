"""Since when results rest on old data: a feed that is held, quiet, or behind the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from warehouse.batch import naive
from warehouse.store import Store

#: A feed this far behind the newest one is called stale.
STALE_AFTER = timedelta(days=2)

#: Why a feed is stale, in the order in which reasons are told.
WORDS = {
    "held": "a later delivery of it is held",
    "quiet": "it fell silent while others deliver",
    "behind": "it is behind the newest feed",
}


@dataclass(frozen=True)
class Feed:
    """A row of `reference.freshness`; instants are naive UTC.

    Attributes:
        declared_through_at: what the source says; the other instants may be a record's.
    """

    site_id: str
    source: str
    event_type: str
    declared_through_at: datetime | None
    complete_through_at: datetime | None
    stale_since_at: datetime | None
    reasons: tuple[str, ...]


#: A held delivery of one event type: source, event type, and up to when it says it is complete.
HeldFeed = tuple[str, str, datetime]


def feeds(store: Store, held: Iterable[HeldFeed]) -> list[Feed]:
    """Return how fresh each feed is, those without any committed batch included.

    Args:
        store: open store.
        held: what the batches say that wait for somebody; aware instants.
    """
    store.keep_feeds()
    told = {
        (source, event_type): (declared, complete)
        for source, event_type, declared, complete in store.con.execute(
            "SELECT source, event_type, data_through_at, complete_through_at FROM quality.feed"
        ).fetchall()
    }
    waiting: dict[tuple[str, str], datetime] = {}
    for source, event_type, through in held:
        at = naive(through)
        waiting[source, event_type] = max(at, waiting.get((source, event_type), at))
    newest = max((declared for declared, _ in told.values() if declared), default=None)
    found = []
    for feed in sorted({*told, *waiting}):
        declared, complete = told.get(feed, (None, None))
        reasons = {
            "held": feed in waiting and (complete is None or waiting[feed] > complete),
            "quiet": complete != declared,
            "behind": bool(declared and newest and newest - declared > STALE_AFTER),
        }
        why = tuple(name for name in WORDS if reasons[name])
        since = complete if why else None
        found.append(Feed(store.site.site.id, *feed, declared, complete, since, why))
    return found


def keep(store: Store, held: Iterable[HeldFeed]) -> list[Feed]:
    """Write how fresh each feed is into `reference.freshness`, and return it.

    Errors:
        StorageError: the store cannot be written.
    """
    found = feeds(store, held)
    store.load_reference(
        {"reference.freshness": [{**asdict(one), "reasons": list(one.reasons)} for one in found]}
    )
    return found
