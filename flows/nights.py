"""`dripwatch replay --from --to`: the nights of a log again, one by one, beside the site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from flows.console import plural
from flows.replay import published_digest
from flows.reply import Reply, UsageError
from pipelines.base.site import Site

if TYPE_CHECKING:
    from pipelines.ingest.past import PastLog

#: Digits of a hash that people compare.
_WIDTH = 12

#: Label of what lies before the first night.
BEFORE = "before"

_PUBLISHED = {
    None: "",
    True: " The last one is what is published.",
    False: " What is published is not the last one: refresh, or replay the whole site.",
}


@dataclass(frozen=True)
class Night:
    """One night of a replay, or all those before the first.

    Attributes:
        night: local date of the exports, ISO; `before` where they lie before the first night.
        n_batches: exported then.
        n_units: linked units after it, over all studies.
        state, history: digests of the warehouse as it was published then.
    """

    night: str
    n_batches: int
    n_units: int
    state: str
    history: str


def show_nights(site: Site, answer: Reply, first: str | None, last: str | None) -> None:
    """Build a site again beside itself and print a line a night.

    Args:
        site: whose log.
        answer: gets the nights.
        first: first night, as written on the command line; None: the first that there is.
        last: last night; None: the last that there is.

    Errors:
        UsageError: a night is no date, or nothing was exported then.
        LockedError: another piece of work beside the site is under way.
    """
    from flows.derived import end_of, read_date
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.past import PastLog

    start = read_date(first) if first else date.min
    before = end_of(read_date(last), site.site.zone) if last else None
    log = PastLog(EventLog(site.log_root), before)
    told = []
    for night in _replayed(site, log, _nights(site, log, start), answer):
        told.append(night)
        answer.console.say(
            f"{night.night:<12}{plural(night.n_batches, 'batch', 'batches'):>12}"
            f"{plural(night.n_units, 'unit'):>16}  state {night.state[:_WIDTH]}"
            f"  history {night.history[:_WIDTH]}"
        )
    is_last = len(log.committed()) == len(EventLog(site.log_root).committed())
    is_published = told[-1].state == published_digest(site) if is_last else None
    answer.result = {"nights": [asdict(one) for one in told], "is_published": is_published}
    n_nights = sum(one.night != BEFORE for one in told)
    answer.message = (
        f"{plural(n_nights, 'night')} replayed beside the site, which is as it was."
        f"{_PUBLISHED[is_published]}"
    )
    answer.console.say(answer.message)


def _nights(site: Site, log: PastLog, start: date) -> list[tuple[str, date]]:
    """Return label and last date of each step: what lies before `start`, then every night."""
    from flows.derived import night_of

    exported = sorted({night_of(one.exported_at, site.site.zone) for one in log.committed()})
    nights = [(night.isoformat(), night) for night in exported if night >= start]
    if not nights:
        raise UsageError(
            "No batch of the log was exported in these nights.",
            where=str(site.log_root),
            remedy="Name others; `ops.batch` of the warehouse lists every export.",
        )
    if exported[0] < start:
        nights.insert(0, (BEFORE, start - timedelta(days=1)))
    return nights


def _replayed(
    site: Site, log: PastLog, nights: Sequence[tuple[str, date]], answer: Reply
) -> Iterator[Night]:
    from flows.derived import bring_up, derived_context, derived_site, end_of, n_units, publish
    from flows.refresh import new_run_id
    from pipelines.ingest.past import PastLog
    from warehouse.digest import digest

    n_before = 0
    with derived_site(site) as derived:
        for label, night in nights:
            past = PastLog(log, end_of(night, site.site.zone))
            context = derived_context(derived, past, answer.console, run_id=new_run_id())
            bring_up(context)
            publish(context)
            n_batches = len(past.committed())
            yield Night(
                night=label,
                n_batches=n_batches - n_before,
                n_units=n_units(derived),
                state=digest(derived.warehouse).value,
                history=digest(derived.warehouse, "history").value,
            )
            n_before = n_batches
