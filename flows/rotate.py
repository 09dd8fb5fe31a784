"""`dripwatch key rotate`: the log under a renewed key, proven to say the same."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import Console, plural
from flows.derived import bring_up, derived_context, derived_site
from flows.lock import site_lock
from flows.refresh import answer_with, new_run_id, private_by_default, refresh
from flows.replay import Proof, rebuilding
from flows.reply import Reply, UsageError, may_name
from pipelines.base.duck import quote
from pipelines.base.errors import DripwatchError, ExitCode, ReconciliationError
from pipelines.base.generations import adopt, building, check_newest
from pipelines.base.keys import add_secret, load_key
from pipelines.base.site import Site, load_site
from pipelines.base.sitekey import SiteKey
from pipelines.base.storage import storing
from pipelines.ingest.asked import Asked
from pipelines.ingest.idmap import IdMap
from pipelines.ingest.log import EventLog
from pipelines.ingest.past import PastLog

if TYPE_CHECKING:
    import duckdb

    from pipelines.ingest.manifest import Manifest
    from warehouse.digest import Columns

Row = tuple[Any, ...]

#: What the order of a sum may change.
_LAST_DIGITS = 1e-9

#: Columns of linkage that hold a key as it stands in the log, and those that hold a list of them.
_KEYS = ("patient_key", "record_key", "infusion_key", "unit_id")
_LISTS = ("record_keys",)


class RenewalDiffersError(DripwatchError):
    """Under the renewed key, linkage or signals came out differently."""

    exit_code = ExitCode.PROBLEMS


def rotate_command(config: Path, answer: Reply, *, accept_ties: bool) -> None:
    """Renew the site's key and every key of its log; rebuild and publish.

    Killed before the new generation counts, the log is as it was, and a secret waits at the end of
    the key for the next attempt; killed after, the next refresh rebuilds and publishes.

    Errors:
        UsageError: there is no log yet.
        KeyFileError: the key cannot be read, or is not ours to change.
        RenewalDiffersError: the results are not the same; nothing has changed.
        LockedError: another run is at work.
    """
    site = load_site(config)
    may_name(site)
    with site_lock(site), private_by_default(site):
        told = _renew(site, answer.console, accept_ties=accept_ties)
    proof = Proof()
    result = refresh(site, console=answer.console, stages=rebuilding(proof))
    answer_with(result, answer)
    answer.result = {**told, "generation": site.log_root.name, "digest": proof.digest_after}
    answer.message = (
        f"The key was renewed: {plural(told['n_events'], 'event')} of "
        f"{plural(told['n_batches'], 'batch', 'batches')} lie in {site.log_root.name} under new "
        f"keys. {told['verdict']}"
    )
    answer.console.say(answer.message)
    answer.console.say(
        f"- The key has {told['n_renewals'] + 1} secrets now, and all are needed: renew the copy "
        "that is kept apart. The older copy opens nothing that is written from here on."
    )


def _renew(site: Site, console: Console, *, accept_ties: bool) -> dict[str, Any]:
    from warehouse.told import seal_again

    check_newest(site.restricted)
    log = EventLog(site.log_root)
    log.check_site(site.site.id)
    if not (batches := [*log.committed(), *log.held()]):
        raise UsageError(
            "There is no event log yet, so nothing has been made with the key.",
            remedy="Put another key in its place (`openssl rand -hex 32`).",
        )
    key = load_key(site)
    used = log.fit_key(key, site.site.id)
    log.check_key(used.check_value(site.site.id))
    if key.n_renewals == used.n_renewals:
        with storing("adding a secret to the key", site.restricted):
            add_secret(site)
        key = load_key(site)
    new = rewritten(site, log, key, used.n_renewals)
    _check_counts(batches, [*new.committed(), *new.held()])
    differ = _differing(site, log, new, key, used.n_renewals, console)
    n_tied = _n_tied(site) if differ else 0
    if differ and not (n_tied and accept_ties):
        shutil.rmtree(new.root)
        raise _differs(differ, n_tied)
    IdMap(site).seal_again()
    Asked(site).seal_again()
    seal_again(site)
    # Last of all: from here on the renewal is taken as done.
    with storing("letting the new generation of the log count", new.root):
        adopt(new.root)
    return {
        "n_batches": len(batches),
        "n_events": sum(file.rows for one in batches for file in one.types.values()),
        "n_renewals": key.n_renewals,
        "tables_that_differ": differ,
        "verdict": f"These tables differ by how ties are settled: {', '.join(differ)}."
        if differ
        else "Linkage and signals, made anew from both, are equal up to the keys.",
    }


def rewritten(site: Site, log: EventLog, key: SiteKey, since: int) -> EventLog:
    """Return the log under a renewed key, whole and on the disk, in a folder that does not count.

    Errors:
        LogError: a file of the log is damaged.
        StorageError: the folder cannot be written.
    """
    from pipelines.ingest.changes import Renewal
    from pipelines.ingest.rewrite import rewrite

    return rewrite(log, building(site.restricted), Renewal(key, site.site.id, since))


def _check_counts(old: list[Manifest], new: list[Manifest]) -> None:
    def counts(batches: list[Manifest]) -> Counter[tuple[str, str, int]]:
        return Counter(
            (m.batch_id, file.path, file.rows) for m in batches for file in m.event_files
        )

    if counts(old) != counts(new):
        raise ReconciliationError(
            "The renewed log does not hold as many events as the log.",
            remedy="Report it; it is a fault of the program.",
            next_run="goes on with the log as it was",
        )


def _differing(
    site: Site, old: EventLog, new: EventLog, key: SiteKey, since: int, console: Console
) -> list[str]:
    """Return the tables of linkage and signals that come out differently but for their keys."""
    with console.step("prove"):
        before = _state(site, old, key, since, console)
        after = _state(site, new, key, key.n_renewals, console)
    return sorted(name for name in after if not _is_same(before.get(name, []), after[name]))


def _state(
    site: Site, log: EventLog, key: SiteKey, since: int, console: Console
) -> dict[str, list[Row]]:
    """Return what a log leads to, as if its keys had gone through the whole chain.

    Of linkage, a table is its digest; of signals, its rows.
    """
    from warehouse.digest import content_sums, digest_columns, state_tables
    from warehouse.store import Store

    with derived_site(site) as derived:
        bring_up(derived_context(derived, PastLog(log), console, run_id=new_run_id()))
        with Store(derived) as store:
            key.install_renewal(store.con, since)
            told: dict[str, list[Row]] = {}
            for schema, table in state_tables(store.con, "store"):
                columns = digest_columns(store.con, "store", schema, table)
                source = _renamed(f"store.{schema}.{table}", [name for name, _ in columns])
                if schema == "linkage":
                    told[f"{schema}.{table}"] = [content_sums(store.con, source, columns)]
                else:
                    told[f"{schema}.{table}"] = _rows(store.con, source, columns)
    return told


def _rows(con: duckdb.DuckDBPyConnection, source: str, columns: Columns) -> list[Row]:
    """Return rows in an order that no rounding changes."""
    names = sorted(columns, key=lambda one: (one[1] == "DOUBLE", one[0]))
    told = ", ".join(quote(name) for name, _ in names)
    return con.execute(f"SELECT {told} FROM {source} ORDER BY ALL").fetchall()


def _is_same(one: list[Row], other: list[Row]) -> bool:
    """Return whether rows are the same but for the last digits of numbers.

    Sums over patients are taken in the order of their keys, which a renewal changes.
    """
    cells = zip(chain(*one), chain(*other), strict=False)
    return [*map(len, one)] == [*map(len, other)] and all(_is_close(a, b) for a, b in cells)


def _is_close(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=_LAST_DIGITS, abs_tol=_LAST_DIGITS) or a == b
    return a == b


def _renamed(table: str, columns: list[str]) -> str:
    new = [f"renewed({one}) AS {one}" for one in _KEYS if one in columns]
    new += [
        f"list_sort(list_transform({one}, lambda k: renewed(k))) AS {one}"
        for one in _LISTS
        if one in columns
    ]
    return f"(SELECT * REPLACE ({', '.join(new)}) FROM {table})" if new else table


def _n_tied(site: Site) -> int:
    """Return how many events are told twice in one version, with different content."""
    from warehouse.guard import one_row
    from warehouse.store import Store

    with Store(site) as store:
        tied = store.con.execute("SELECT coalesce(sum(n_tied), 0) FROM quality.reconciliation")
        return int(one_row(tied)[0])


def _differs(tables: list[str], n_tied: int) -> RenewalDiffersError:
    ties = (
        f" {plural(n_tied, 'event')} came twice in one version with different content; which "
        "stands hangs on a hash, and a renewed key changes it."
        if n_tied
        else ""
    )
    return RenewalDiffersError(
        f"Under the renewed key, other results came out: {', '.join(tables)}.{ties}",
        remedy="Look at `n_tied` in quality.reconciliation; if that is all, use --accept-ties."
        if n_tied
        else "Report it; it is a fault of the program.",
        next_run="goes on with the log and the keys as they were",
    )
