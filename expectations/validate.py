"""Judge a batch: name the rows that fail, flag what is doubtful, say whether it must be held."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import duckdb

from expectations import judged as tables
from expectations import sqlpass
from expectations.columns import SCHEMA
from expectations.judged import RECORDS, ConceptLike, Judged
from expectations.table import Check, checks_hash, checks_of
from pipelines.base.duck import insert, quote
from pipelines.base.errors import DripwatchError
from pipelines.base.storage import database_error
from pipelines.ingest.facts import CheckResult, ValidationSummary

if TYPE_CHECKING:
    from expectations.drift import Earlier
    from expectations.suites import GxResult


class Thresholds(Protocol):
    """When a batch is held (`[thresholds]` of site.toml)."""

    @property
    def min_rows(self) -> int:
        """Types with fewer rows than this are never held for their share."""

    def share_of(self, event_type: str) -> float:
        """Return the tolerated share of rejected rows of an event type."""


class CheckError(DripwatchError):
    """A check could not be run."""


@dataclass(frozen=True)
class Validation(ValidationSummary):
    """The verdict on a batch, with what it cost.

    Attributes:
        rejected_by_type: rows that a `reject` check failed, per event type of the batch.
        gx_seconds: time spent in Great Expectations, its import and the sentinels included.
        sql_seconds: time spent in SQL.
    """

    rejected_by_type: Mapping[str, int] = field(default_factory=dict)
    gx_seconds: float = 0.0
    sql_seconds: float = 0.0


@dataclass(frozen=True)
class _Docs:
    """Where the Data Docs go, and whether their pages say that the patients are invented."""

    folder: Path
    is_synthetic: bool


def validate(
    con: duckdb.DuckDBPyConnection,
    *,
    event_types: Sequence[str],
    data_through: Mapping[str, datetime],
    concepts: Iterable[ConceptLike],
    thresholds: Thresholds,
    docs_dir: Path | None = None,
    is_synthetic: bool = False,
    proven: set[str] | None = None,
    earlier: Earlier | None = None,
    hold_on: Collection[str] = (),
) -> Validation:
    """Judge every candidate row of a staged batch, and fill `judge.*` and the events' flags.

    Args:
        con: the staging database of one batch: schemas `event` and `fate` filled.
        event_types: the event types that the batch delivers; each has its table in `event`.
        data_through: per event type, the instant up to which the extract is complete.
        concepts: the codes of the studies in scope.
        thresholds: what share of rejected rows holds the batch.
        docs_dir: folder that the Data Docs are written to; None writes none.
        is_synthetic: whether their pages say that the patients are invented.
        proven: event types whose sentinels this run has already found; grows. None starts anew.
        earlier: what the source had told before; None compares the batch with nothing.
        hold_on: checks of drift that hold the batch.

    Errors:
        DeliveryError: an event type has no `data_through`.
        StorageError: the disk or memory does not suffice.
        CheckError: DuckDB refused a check; its own message, which quotes values, is not passed on.
    """
    try:
        seen = set() if proven is None else proven
        docs = None if docs_dir is None else _Docs(docs_dir, is_synthetic)
        verdict = _validate(con, event_types, data_through, concepts, thresholds, docs, seen)
        if earlier is None:
            return verdict
        return _with_drift(con, verdict, earlier, data_through, hold_on, seen)
    except duckdb.Error as error:
        refused = database_error(error, "checking a delivery", "restricted/staging")
        if refused is not None:
            raise refused from None
        raise CheckError(
            f"The checks could not be run ({type(error).__name__}).",
            remedy="Report it with the software's version; the delivery is not at fault.",
            next_run="The batch was not committed; the next run judges it again.",
        ) from None
    finally:
        # After some failures of the disk the connection refuses everything; the file goes anyway.
        with suppress(duckdb.Error):
            con.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def _validate(
    con: duckdb.DuckDBPyConnection,
    event_types: Sequence[str],
    data_through: Mapping[str, datetime],
    concepts: Iterable[ConceptLike],
    thresholds: Thresholds,
    docs: _Docs | None,
    proven: set[str],
) -> Validation:
    from expectations import sentinels, suites

    clock = _Clock()
    present = [name for name in event_types if _count(con, f"event.{quote(name)}")]
    latest = {name: tables.latest(data_through, name) for name in present}
    con.execute(sqlpass.TABLES)
    tables.prepare_vocabulary(con, concepts)
    judged = {name: tables.prepare(con, name, latest[name]) for name in present}
    named = {name: sqlpass.name_failures(con, judged[name]) for name in present}
    judged[RECORDS] = tables.prepare_records(con)
    named[RECORDS] = sqlpass.count_failures(con, judged[RECORDS])
    clock.lap("sql")

    by_gx = {
        name: suites.run(con, table, thresholds.share_of(name)) for name, table in judged.items()
    }
    lost = sentinels.lost(con, [name for name in judged if name not in proven], latest)
    if not lost:
        proven.update(judged)
    clock.lap("gx")

    n_rows = {name: _n_rows(con, table) for name, table in judged.items()}
    results = [
        _result(check, name, n_rows[name][check.rows], named[name], by_gx[name])
        for name in judged
        for check in checks_of(name)
    ]
    _store(con, results)
    for name in present:
        sqlpass.append_flags(con, name)
    shares, rejected = _shares(con, event_types, thresholds)
    if docs is not None:
        from expectations.docs import write_docs

        write_docs(docs.folder, results, by_gx, is_synthetic=docs.is_synthetic)
    clock.lap("sql")
    return Validation(
        checks=tuple(results),
        checks_hash=checks_hash(),
        hold_reasons=(*shares, *_disagreements(results), *lost),
        rejected_by_type=rejected,
        gx_seconds=clock.seconds["gx"],
        sql_seconds=clock.seconds["sql"],
    )


def _with_drift(
    con: duckdb.DuckDBPyConnection,
    verdict: Validation,
    earlier: Earlier,
    data_through: Mapping[str, datetime],
    hold_on: Collection[str],
    proven: set[str],
) -> Validation:
    """Add what differs from the days before to a verdict about rows."""
    from expectations import drift, drift_cells, sentinels

    cells = drift_cells.prepare(con, earlier, data_through)
    if cells is None:
        return verdict
    lost = sentinels.lost(con, {tables.DRIFT} - proven, {})
    if not lost:
        proven.add(tables.DRIFT)
    results, drifts = drift.judge(con, cells)
    _store(con, results)
    reasons = (*_disagreements(results), *drift.hold_reasons(drifts, hold_on), *lost)
    return replace(
        verdict,
        checks=(*verdict.checks, *results),
        hold_reasons=(*verdict.hold_reasons, *reasons),
        drift=tuple(drifts),
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds = {"sql": 0.0, "gx": 0.0}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0]) if row else 0


def _n_rows(con: duckdb.DuckDBPyConnection, judged: Judged) -> dict[str, int]:
    """Return how many rows the checks over all rows, and those over content, judge."""
    told = {
        rows: _count(con, f"{SCHEMA}.{quote(judged.relation(rows))}") for rows in ("all", "content")
    }
    if judged.event_type == RECORDS:  # its table holds the exceptions, the files all records
        total = con.execute("SELECT coalesce(sum(n_rows), 0) FROM fate.file").fetchone()
        return {rows: max(n, int(total[0]) if total else 0) for rows, n in told.items()}
    return told


def _result(
    check: Check,
    event_type: str,
    n_rows: int,
    named: Mapping[str, int],
    by_gx: Mapping[str, GxResult],
) -> CheckResult:
    counted = by_gx[check.id].n_failed if check.id in by_gx else None
    return CheckResult(
        check_id=check.id,
        event_type=event_type,
        column=check.column,
        severity=check.severity,
        n_rows=n_rows,
        n_failed_sql=named[check.id],
        n_failed_gx=counted,
        agrees=counted == named[check.id],
        kahn_category=check.category,
    )


def _store(con: duckdb.DuckDBPyConnection, results: Sequence[CheckResult]) -> None:
    insert(con, 'judge."check"', map(astuple, results))


def _disagreements(results: Sequence[CheckResult]) -> list[str]:
    reasons = []
    for one in results:
        name = f"{one.event_type}.{one.check_id}"
        if one.n_failed_gx is None:
            reasons.append(f"checks_disagree: Great Expectations gave no verdict on {name}.")
        elif not one.agrees:
            reasons.append(
                f"checks_disagree: for {name} the SQL pass names {one.n_failed_sql} rows, "
                f"Great Expectations counts {one.n_failed_gx}."
            )
    return reasons


def _shares(
    con: duckdb.DuckDBPyConnection, event_types: Sequence[str], thresholds: Thresholds
) -> tuple[list[str], dict[str, int]]:
    """Return why the batch is held for rejected rows, and the rejected event rows per type.

    Quarantined rows that became no event count for the type that they were sent as; those that
    name none (unreadable, type unknown) are set against all records of the delivery.
    """
    rejected = dict(
        con.execute("SELECT event_type, count(*) FROM judge.rejected GROUP BY ALL").fetchall()
    )
    unread = dict(
        con.execute(
            "SELECT CASE WHEN list_contains($types, event_type) THEN event_type ELSE $none END "
            "AS sent_as, CASE WHEN sent_as = $none THEN count(DISTINCT (source_file_sha, "
            "source_row)) ELSE count(*) END "
            "FROM fate.row WHERE fate = 'quarantined' GROUP BY sent_as",
            {"types": list(event_types), "none": RECORDS},
        ).fetchall()
    )
    reasons = []
    for name in (*event_types, RECORDS):
        bad = rejected.get(name, 0) + unread.get(name, 0)
        if name == RECORDS:
            total = con.execute("SELECT coalesce(sum(n_rows), 0) FROM fate.file").fetchone()
            n_rows = int(total[0]) if total else 0
        else:
            n_rows = _count(con, f"event.{quote(name)}") + unread.get(name, 0)
        allowed = thresholds.share_of(name)
        if n_rows and n_rows >= thresholds.min_rows and bad / n_rows > allowed:
            what = "records without a known event type" if name == RECORDS else f"{name} rows"
            reasons.append(
                f"reject_share: {bad} of {n_rows} {what} are quarantined "
                f"({bad / n_rows:.1%}), more than the {allowed:.1%} that the site allows."
            )
    return reasons, {name: rejected.get(name, 0) for name in event_types}
