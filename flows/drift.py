"""What a batch is compared with: the site store, and what this run has read of its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flows.console import plural
from flows.context import Incoming, RunContext
from pipelines.base.duck import attach

if TYPE_CHECKING:
    import duckdb

    from expectations.drift import Earlier


@contextmanager
def earlier_of(
    context: RunContext, one: Incoming, con: duckdb.DuckDBPyConnection
) -> Iterator[Earlier | None]:
    """Attach what the source told before a delivery to its staging database; None where nothing.

    Args:
        context: the run; deliveries before this one in `incoming` count where they are not held.
        one: the delivery to compare.
        con: its staging database.

    Errors:
        StorageError, LockedError: the store cannot be read.
    """
    from expectations.drift import Earlier
    from warehouse.guard import guarded

    before = [
        other
        for other in context.incoming[: context.incoming.index(one)]
        if other.source.name == one.source.name
        and other.validation is not None
        and not other.validation.hold_reasons
    ]
    since, unmapped = _known(context, one)
    for other in before:
        for event_type, through in other.facts.data_through.items():
            at = _naive(through)
            since[event_type] = max(at, since.get(event_type, at))
    if not since:
        yield None
        return
    places = [(context.site.store_path, "current")] + [(other.staging, "event") for other in before]
    with guarded("comparing a batch with the days before", context.site.store_path):
        for number, (path, _) in enumerate(places):
            attach(con, path, f"earlier_{number}", read_only=True)
    try:
        relations = tuple(f"earlier_{n}.{schema}" for n, (_, schema) in enumerate(places))
        yield Earlier(one.source.name, since, relations, unmapped)
    finally:
        for number in range(len(places)):
            con.execute(f"DETACH earlier_{number}")


def _known(
    context: RunContext, one: Incoming
) -> tuple[dict[str, datetime], dict[str, tuple[int, int]]]:
    """Return, of the store: up to when each type was declared, and what was left out of scope."""
    from warehouse.store import Store

    exported = _naive(one.facts.exported_at)
    with Store(context.site, say=context.console.say) as store:
        since = store.con.execute(
            "SELECT event_type, data_through_at FROM ledger.data_through "
            "WHERE source = ? AND data_through_at IS NOT NULL",
            [one.source.name],
        ).fetchall()
        unmapped = store.con.execute(
            """SELECT r.event_type, sum(r.n_out_of_scope)::BIGINT, sum(r.n_read)::BIGINT
            FROM quality.reconciliation AS r JOIN ops.batch AS b USING (batch_id)
            WHERE r.source = $source AND b.exported_at >= $first AND b.exported_at < $exported
            GROUP BY ALL""",
            {
                "source": one.source.name,
                "first": exported - timedelta(days=28),
                "exported": exported,
            },
        ).fetchall()
    return dict(since), {event_type: (n_out, n) for event_type, n_out, n in unmapped}


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)


def remark_on_drift(context: RunContext) -> None:
    """Remark on what this run's deliveries tell differently from the days before them."""
    for one in context.incoming:
        found = one.validation.drift if one.validation else ()
        for check_id in dict.fromkeys(drift.check_id for drift in found):
            types = [drift.event_type for drift in found if drift.check_id == check_id]
            context.remark(
                f"Drift: {one.source.name} tells {_LABELS[check_id]} otherwise than in the 28 days "
                f"before: {_listed(types)}. `select * from quality.drift`."
            )


_LABELS = {
    "drift_volume": "a number of records",
    "drift_null": "empty columns",
    "drift_unit": "units",
    "drift_code": "a mix of codes",
    "drift_unmapped": "codes that no study asks for",
}


def _listed(types: Sequence[str]) -> str:
    return ", ".join(
        f"{name} ({plural(types.count(name), 'place')})" for name in dict.fromkeys(types)
    )
