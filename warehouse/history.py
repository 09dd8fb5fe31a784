"""What the store keeps that no event tells: which runs there were, and what is to be announced."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import duckdb

from pipelines.base.duck import insert
from pipelines.base.site import Site
from warehouse import outbox
from warehouse.guard import one_row
from warehouse.run import RunRecord
from warehouse.runlog import KILLED, LoggedRun, RunLog


def record_run(
    con: duckdb.DuckDBPyConnection,
    site: Site,
    run: RunRecord,
    result: Mapping[str, Any] | None = None,
) -> None:
    """Write or overwrite a run's row, in the log of runs first; the caller holds the transaction.

    A run that begins is the only one at work: others that never ended were killed.

    Args:
        con: the store in use.
        site: whose log of runs.
        run: the run as it is now; the hash of what it published stays.
        result: what it found and did; None while it is at work.

    Errors:
        OSError: the log of runs cannot be written.
    """
    (state_hash,) = one_row(
        con.execute("SELECT max(state_hash) FROM ops.run WHERE run_id = ?", [run.run_id])
    )
    RunLog(site).append(LoggedRun(run, state_hash, dict(result) if result else None))
    con.execute("DELETE FROM ops.run WHERE run_id = ?", [run.run_id])
    con.execute("UPDATE ops.run SET status = ? WHERE status = 'running'", [KILLED])
    _insert(con, [run.row(state_hash)])


def save(con: duckdb.DuckDBPyConnection, site: Site) -> None:
    """Write down what a store that is about to be thrown away still knows, as far as it can tell.

    Errors:
        OSError: the file of the outbox cannot be written.
    """
    with suppress(duckdb.Error):  # another version made it: it may have other columns
        outbox.synchronise(con, site)


def restore(con: duckdb.DuckDBPyConnection, site: Site) -> None:
    """Fill the tables of an empty store that cannot be made again from the event log.

    Errors:
        OSError: the log of runs, or the file of the outbox, cannot be read.
    """
    _insert(con, list(RunLog(site).records()))
    outbox.restore(con, site)


def catch_up(con: duckdb.DuckDBPyConnection, site: Site) -> None:
    """Make the rows of the latest runs equal to the log of runs, which knows of more.

    A run that never came to open the store is in the log alone, and so is that a run was killed.

    Errors:
        OSError: the log of runs cannot be read.
    """
    rows = list(RunLog(site).records(months=2))
    con.execute(
        "DELETE FROM ops.run WHERE run_id IN (SELECT unnest(?::VARCHAR[]))",
        [[row["run_id"] for row in rows]],
    )
    _insert(con, rows)


def _insert(con: duckdb.DuckDBPyConnection, rows: list[dict[str, object]]) -> None:
    for row in rows[:1]:
        columns = ", ".join(row)
        insert(con, f"ops.run ({columns})", [tuple(one.values()) for one in rows])
