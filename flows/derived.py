"""A site beside a site: the same log, key and mappings, with a store and a warehouse of its own.

What asks "what if" or "what was" works on one of these, so that the site's own store and its
published file cannot be touched, and a nightly refresh may go on meanwhile.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.console import Console
from flows.context import RunContext
from flows.lock import lock_path, site_lock
from flows.reply import UsageError
from flows.run import StageResult
from pipelines.base import vault
from pipelines.base.errors import LockedError
from pipelines.base.files import make_private, replace_durably
from pipelines.base.site import PathsTable, Site
from pipelines.base.zones import to_utc, utc_to_local

if TYPE_CHECKING:
    from pipelines.ingest.log import EventLog
    from studies.load import Study
    from warehouse.run import RunRecord

#: The stages that make results of what is committed; none of them reads an inbox or the log's tmp.
_FROM_LOG = ("store", "link", "signals", "look")


@dataclass
class DerivedContext(RunContext):
    """One piece of work on a derived site; never through a Prefect server, and nobody is told."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Return no channel."""
        return ()

    def run_record(self) -> RunRecord:
        """Return the row of `ops.run` in the derived store."""
        return replace(super().run_record(), conductor="in_process")


@contextmanager
def derived_site(site: Site, folder: Path | None = None) -> Iterator[Site]:
    """Lend a site with empty folders of its own, which are emptied at the end.

    What a killed one left there is removed by the next, or by `sweep`.

    Args:
        site: whose log is read.
        folder: private, for all of it; by default `restricted/replay` of the site.

    Errors:
        LockedError: another one is at work.
        StorageError: the folder cannot be written.
    """
    derived = _beside(site, folder)
    if folder is None:
        make_private(site.restricted)
    else:
        vault.know(derived)
    users = os.umask(0o077)
    try:
        with site_lock(derived):
            _empty(derived)
            try:
                yield derived
            finally:
                _empty(derived)
    finally:
        os.umask(users)


def sweep(site: Site) -> None:
    """Remove what a killed piece of work left in its folder; nothing of one that is at work."""
    if _beside(site).restricted.is_dir():
        with suppress(LockedError), derived_site(site):
            pass


def _beside(site: Site, folder: Path | None = None) -> Site:
    folder = folder or site.restricted / "replay"
    paths = PathsTable(
        warehouse=folder / "warehouse.duckdb", report=folder / "report", restricted=folder
    )
    return site.model_copy(update={"paths": paths})


def _empty(derived: Site) -> None:
    for path in derived.restricted.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != lock_path(derived):
            path.unlink()


def derived_context(
    derived: Site,
    log: EventLog,
    console: Console,
    *,
    run_id: str,
    studies: Sequence[Study] | None = None,
) -> DerivedContext:
    """Return the context of a derived site.

    Args:
        derived: made by `derived_site`.
        log: what it reads: the site's log, or a part of it.
        console: where it speaks.
        run_id: UUID version 7.
        studies: in place of those of site.toml.
    """
    context = DerivedContext(derived, run_id, console, datetime.now(UTC))
    context.log = log
    if studies is not None:
        context.studies = list(studies)
    return context


def bring_up(context: RunContext, stages: Sequence[str] = _FROM_LOG) -> list[StageResult]:
    """Apply the log's batches to the derived store, link them, and load what follows.

    Args:
        context: made by `derived_context`.
        stages: which of the stages, by name.

    Errors:
        DripwatchError: as the stages of a refresh.
    """
    from flows.conduct import run_in_process
    from flows.stages import STAGES
    from warehouse.store import Store

    with Store(context.site) as store:
        store.record_run(context.run_record())
    return run_in_process([one for one in STAGES if one.name in stages], context)


def publish(context: RunContext) -> Path:
    """Publish the warehouse of a derived site, inside its folder; after `bring_up`."""
    from flows.conduct import run_in_process
    from flows.stages import STAGES

    run_in_process([one for one in STAGES if one.name == "publish"], context)
    return context.site.warehouse


def put_in_place(built: Path, target: Path, facts: dict[str, str]) -> None:
    """Put a published warehouse where it shall stay, in one rename.

    Args:
        built: what `publish` made.
        target: gets the file; its folder is made.
        facts: what `ops.state` says of the file besides, such as `as_of`.

    Errors:
        StorageError: the file cannot be written.
    """
    from pipelines.base import duck
    from warehouse.guard import guarded
    from warehouse.publish import MODE

    with guarded("putting a warehouse in place", target):
        with duck.connect(built) as con:
            duck.insert(con, "ops.state", facts.items())
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied, not renamed: the target may lie on another disk.
        aside = target.with_name(f".{target.name}.tmp-{os.getpid()}")
        try:
            shutil.copyfile(built, aside)
            aside.chmod(MODE)
            replace_durably(aside, target)
        finally:
            aside.unlink(missing_ok=True)


def n_units(derived: Site) -> int:
    """Return the number of units that a derived store has linked, over all studies."""
    from warehouse.guard import one_row
    from warehouse.store import Store

    with Store(derived) as store:
        return int(one_row(store.con.execute("SELECT count(*) FROM linkage.course"))[0])


# Nights ------------------------------------------------------------------------------------


def read_date(text: str) -> date:
    """Return a date as written on the command line.

    Errors:
        UsageError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "This is no date.", remedy="Write it like 2026-01-31; nothing was done."
        ) from None


def night_of(instant: datetime, zone: str) -> date:
    """Return the local date of an aware instant: the night that an export belongs to."""
    naive = instant.astimezone(UTC).replace(tzinfo=None)
    local: datetime = utc_to_local(np.array([naive], "datetime64[us]"), zone)[0].item()
    return local.date()


def end_of(night: date, zone: str) -> datetime:
    """Return the aware instant at which a local date is over."""
    return to_utc(datetime.combine(night + timedelta(days=1), time()), zone)
