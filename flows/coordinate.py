"""`dripwatch coordinate`: wait for a quarter's packs, say who is late, pool what is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.console import Console, plural, printable
from flows.lock import site_lock
from flows.reply import Reply
from pipelines.base.errors import ExitCode
from pipelines.pooling.coordinator import Coordinator, load_coordinator

if TYPE_CHECKING:
    from pipelines.pooling.inbox import Intake
    from pipelines.pooling.rounds import Standing
    from warehouse.pooled_looks import Watched

Done = Literal["waiting", "pooled", "unchanged", "nothing"]

_DONE: dict[Done, str] = {
    "waiting": "Nothing was pooled: packs of {period} are awaited until {deadline}.",
    "pooled": "{n} pooled into {out}.",
    "unchanged": "Nothing new: {out} rests on these packs.",
    "nothing": "No site has sent a pack; nothing was pooled.",
}


@dataclass(frozen=True)
class Round:
    """What a look into the inbox has come to.

    Attributes:
        period: quarter whose packs are due.
        deadline: last day, in UTC, on which they are in time.
        done: what was done.
        standings: how each site stands.
        intake: what became of what lay in the inbox.
        out: the pooled file.
        n_rows: by table of it; empty where it was left as it was.
        watched: what became of each pair that is looked at.
        unbelieved: sites of which a pack that was taken in is no longer believed.
    """

    period: str
    deadline: date
    done: Done
    standings: Sequence[Standing]
    intake: Intake
    out: Path
    n_rows: dict[str, int] = field(default_factory=dict)
    watched: Sequence[Watched] = ()
    unbelieved: Sequence[str] = ()

    @property
    def exit_code(self) -> ExitCode:
        """A pack that was refused is told first, then who is late; who is awaited is not yet."""
        if self.intake.refused:
            return ExitCode.PACK
        is_short = any(one.state != "in_time" for one in self.standings)
        if is_short:
            return ExitCode.OK if self.done == "waiting" else ExitCode.LATE
        return ExitCode.PACK if self.unbelieved else ExitCode.OK

    @property
    def message(self) -> str:
        """The round in a sentence or two, without a pack's own words."""
        used = plural(sum(one.pack is not None for one in self.standings), "site")
        told = _DONE[self.done].format(
            period=self.period, deadline=self.deadline, n=used, out=self.out.name
        )
        short = [one.site_id for one in self.standings if one.state != "in_time"]
        if short and self.done != "waiting":
            told += f" Late for {self.period}: {', '.join(short)}."
        elif short:
            told += f" Still to come: {', '.join(short)}."
        if self.intake.refused:
            told += f" {plural(len(self.intake.refused), 'pack was', 'packs were')} refused."
        return told


def run_round(
    coordinator: Coordinator, *, is_now: bool = False, today: date | None = None
) -> Round:
    """Take in what has arrived and, if it is time, pool; the same again changes nothing.

    Args:
        coordinator: whose sites.
        is_now: pool what is there, though the deadline has not passed.
        today: by default the day in UTC.

    Errors:
        PackError: as many sites count one way as another.
        LockedError: another round is at work.
        StorageError: something cannot be moved or written.
    """
    with site_lock(coordinator):
        return _round(coordinator, today or datetime.now(UTC).date(), is_now=is_now)


def _round(coordinator: Coordinator, today: date, *, is_now: bool) -> Round:
    from pipelines.pooling.inbox import Inbox
    from pipelines.pooling.rounds import deadline, quarter, standings
    from warehouse.pooling import read_ledger

    paths, settings = coordinator.paths, coordinator.coordinator
    out = coordinator.at(paths.pooled)
    ledger = read_ledger(out)
    pooled = {(row["site_id"], row["pack_number"]): row["pack_sha"] for row in ledger}
    inbox = Inbox(
        coordinator.at(paths.inbox),
        coordinator.at(paths.packs),
        coordinator.at(paths.refused),
        coordinator.at(paths.keys),
        settings.sites,
        coordinator.watch.settle_seconds,
    )
    intake = inbox.take_in(pooled)
    kept = {site_id: inbox.kept(site_id, pooled) for site_id in settings.sites}
    period, until = quarter(today), deadline(today, settings.deadline_days)
    in_file = {row["site_id"]: row["pack_sha"] for row in ledger if row["is_pooled"]}
    found = standings(
        {site_id: packs for site_id, (packs, _) in kept.items()},
        period,
        in_file,
        {site_id: _note(coordinator, site_id, note) for site_id, (_, note) in kept.items()},
    )
    is_short = any(one.state != "in_time" for one in found)
    done: Done = "waiting" if is_short and today <= until and not is_now else "pooled"
    n_rows: dict[str, int] = {}
    watched: list[Watched] = []
    if done == "pooled":
        done, n_rows, watched = _pool(coordinator, found, period, ledger)
    unbelieved = [site_id for site_id, (_, note) in kept.items() if note]
    return Round(period, until, done, found, intake, out, n_rows, watched, unbelieved)


def _note(coordinator: Coordinator, site_id: str, note: str) -> str:
    keys = coordinator.at(coordinator.paths.keys)
    if not (keys / f"{site_id}.pub").is_file():
        return f"There is no {site_id}.pub in {keys.name}: no pack of it can be believed."
    return note


def _pool(
    coordinator: Coordinator, found: Sequence[Standing], period: str, ledger: list[dict[str, Any]]
) -> tuple[Done, dict[str, int], list[Watched]]:
    """Look at and pool what the standings name, unless the file rests on just that."""
    from flows.pool import write_page
    from pipelines.ingest.recorded import Recorded
    from pipelines.pooling.tables import pooled_tables
    from warehouse.pooled_looks import pooled_look_tables, take_pooled
    from warehouse.pooling import EXPECTED, LEDGER, ledger_with, read_rows, write_pooled

    packs = [one.pack for one in found if one.pack is not None]
    if not packs:
        return "nothing", {}, []
    out, name = coordinator.at(coordinator.paths.pooled), coordinator.coordinator.id
    recorded = Recorded(coordinator.restricted / "log")
    # A look is a fact before anybody can read of it.
    watched = take_pooled(recorded, name, coordinator.pair, packs)
    after = {
        LEDGER: ledger_with(packs, ledger),
        EXPECTED: [_expected(one, period) for one in found],
        **pooled_look_tables(recorded, name, watched),
    }
    if all(read_rows(out, table) == rows for table, rows in after.items()):
        return "unchanged", {}, watched
    tables = {**pooled_tables(packs), **after}
    write_pooled(out, tables)
    write_page(out)
    return "pooled", {name: len(rows) for name, rows in tables.items()}, watched


def _expected(one: Standing, period: str) -> dict[str, Any]:
    facts = one.pack.facts if one.pack else {}
    return {
        "site_id": one.site_id,
        "period": period,
        "state": one.state,
        "pack_number": facts.get("number"),
        "exported": facts.get("exported"),
        "data_through": facts.get("data_through"),
        "note": one.note or None,
    }


# The command ----------------------------------------------------------------------------------


def coordinate(
    config: Path,
    answer: Reply,
    *,
    is_now: bool = False,
    waits: bool = False,
    today: date | None = None,
) -> None:
    """Run a round and tell of it; with `waits`, until there is nothing left to wait for.

    Errors:
        DripwatchError: as of `run_round`; the configuration is wrong.
    """
    coordinator = load_coordinator(config)
    while True:
        found = run_round(coordinator, is_now=is_now, today=today)
        if not waits or found.done != "waiting":
            break
        answer.console.say(found.message)
        time.sleep(coordinator.watch.poll_seconds)
    show(found, answer.console)
    answer.exit_code, answer.message, answer.result = found.exit_code, found.message, told(found)


def told(found: Round) -> dict[str, Any]:
    """Return a round, JSON-ready."""
    return {
        "period": found.period,
        "deadline": found.deadline.isoformat(),
        "done": found.done,
        "pooled": str(found.out),
        "sites": [
            {
                name: value
                for name, value in _expected(one, found.period).items()
                if name != "period"
            }
            for one in found.standings
        ],
        "taken": [[one.site_id, one.number] for one in found.intake.taken],
        "refused": [
            {"name": one.name, "what": one.what, "site_id": one.site_id}
            for one in found.intake.refused
        ],
        "n_arriving": found.intake.n_arriving,
        "looks": [
            {"pair": one.name, "look": str(one.look) if one.look else None, "why_not": one.why_not}
            for one in found.watched
        ],
        "n_rows": found.n_rows,
    }


_STATES = {"in_time": "in time", "late": "late", "missing": "missing"}


def show(found: Round, console: Console) -> None:
    """Print a round: each site, what was refused, what was done."""
    rows = []
    for one in found.standings:
        row = _expected(one, found.period)
        state = "awaited" if found.done == "waiting" and one.state != "in_time" else one.state
        words = [_STATES.get(state, state)]
        cells = (row[name] for name in ("pack_number", "exported", "data_through"))
        rows.append([one.site_id, *words, *("-" if cell is None else str(cell) for cell in cells)])
    console.table(
        f"Packs of {found.period}, due until {found.deadline}",
        ["site", "state", ">pack", "made in", "data into"],
        rows,
    )
    for one in found.standings:
        if one.note:
            console.say(f"{one.site_id}: {one.note}")
    for refusal in found.intake.refused:
        console.say(f"refused {printable(refusal.name)}: {refusal.what}")
    if found.intake.n_arriving:
        console.say(f"{plural(found.intake.n_arriving, 'pack')} may still be arriving.")
    for watched in found.watched:
        if watched.look or watched.why_not:
            told = str(watched.look or f"no look: {watched.why_not}")
            console.say(f"{watched.name}: {told}.")
    console.say(found.message)
