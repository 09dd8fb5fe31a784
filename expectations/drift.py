"""Drift: what a batch tells, judged against the 28 days before in the same feed.

Each comparison is a cell (`expectations.drift_cells`): an observed number between the bounds that
the days before and chance allow. Cells are judged as rows are, by Great Expectations and by SQL. No
row is rejected or flagged for drift, so that no result depends on the order of nights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from expectations import sqlpass, suites
from expectations.columns import SCHEMA
from expectations.judged import DRIFT, DRIFT_TABLE, Judged
from expectations.table import Check, checks_of
from pipelines.base.duck import quote
from pipelines.ingest.facts import CheckResult, Drift

if TYPE_CHECKING:
    import duckdb

    from expectations.suites import GxResult

Cell = tuple[Any, ...]


@dataclass(frozen=True)
class Earlier:
    """What a source had told before a batch.

    Attributes:
        source: the source.
        since: per event type, the naive UTC instant up to which it had declared itself complete.
        relations: schemas, as SQL, that hold tables of its earlier events, one per event type; of
            two that tell of one day the one that tells more stands.
        unmapped: per event type, rows out of scope and all rows of the batches of the 28 days
            before.
    """

    source: str
    since: Mapping[str, datetime]
    relations: tuple[str, ...]
    unmapped: Mapping[str, tuple[int, int]]


def judge(con: duckdb.DuckDBPyConnection, judged: Judged) -> tuple[list[CheckResult], list[Drift]]:
    """Judge the cells: return a result per event type and check, and the cells that drifted."""
    by_gx = suites.run(con, judged, 0.0, suites.IDENTITIES)
    by_sql: dict[str, set[int]] = {}
    for check_id, number in con.execute(
        f"SELECT check_id, source_row FROM ({sqlpass.failures_sql(judged)})"
    ).fetchall():
        by_sql.setdefault(check_id, set()).add(number)
    results, drifts = [], []
    for check in checks_of(DRIFT):
        failing = by_sql.get(check.id, set())
        for event_type, cells in _cells(con, check).items():
            results.append(_result(check, event_type, cells, failing, by_gx.get(check.id)))
            found = (cell for cell in cells if cell[0] in failing)
            drifts += [Drift(event_type, check.id, *cell[1:]) for cell in found]
    return results, drifts


def _cells(con: duckdb.DuckDBPyConnection, check: Check) -> dict[str, list[Cell]]:
    """Return a check's cells per event type: number of the cell, then the fields of a Drift."""
    rows = con.execute(
        f"""SELECT event_type, source_row, what, n_rows, n_rows_before, {quote(check.id)}, before,
            low, high
        FROM {SCHEMA}.{DRIFT_TABLE} WHERE {quote(check.id)} IS NOT NULL
        ORDER BY event_type, source_row"""
    ).fetchall()
    found: dict[str, list[Cell]] = {}
    for event_type, *cell in rows:
        found.setdefault(event_type, []).append(tuple(cell))
    return found


def _result(
    check: Check,
    event_type: str,
    cells: Sequence[Cell],
    failing: Collection[int],
    by_gx: GxResult | None,
) -> CheckResult:
    numbers = [cell[0] for cell in cells]
    n_failed = sum(number in failing for number in numbers)
    counted = None
    if by_gx is not None and by_gx.n_failed is not None:
        counted = sum(number in by_gx.rows for number in numbers)
    return CheckResult(
        check_id=check.id,
        event_type=event_type,
        column=check.column,
        severity=check.severity,
        n_rows=len(cells),
        n_failed_sql=n_failed,
        n_failed_gx=counted,
        agrees=counted == n_failed,
        kahn_category=check.category,
    )


def hold_reasons(drifts: Sequence[Drift], hold_on: Collection[str]) -> list[str]:
    """Return why a batch must be held: checks that drifted and that site.toml holds batches on."""
    pairs = dict.fromkeys((one.event_type, one.check_id) for one in drifts)
    return [
        f"{check_id}: what the batch tells of {event_type} is not what the 28 days before told, "
        "and `[feeds] hold_on` names the check; see quality.drift."
        for event_type, check_id in pairs
        if check_id in hold_on
    ]
