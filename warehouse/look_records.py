"""A look as a record of the log, and back; and the tables that are made of the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from pipelines.ingest.recorded import Row
from pipelines.signals.surveillance import Look, Plan, Reference
from warehouse.models import model
from warehouse.results import replace_content, stage_rows

TABLES = ("ops.look", "signals.sequential")


def record_of(
    head: tuple[str, str, str, str],
    hashes: tuple[str, str],
    plan: Plan,
    reference: Reference,
    look: Look,
    before: Look | None,
) -> Row:
    """Return the own fields of the record of a look.

    Args:
        head: study, outcome, window, and the drug or class that is watched.
        hashes: of the study, and of what the looks depend on.
        plan: what was fixed beforehand.
        reference: what the look was held against.
        look: what it saw and decided.
        before: the look before; None for the first.
    """
    study_id, outcome, window_name, watched = head
    events, units = reference.events or (None, None), reference.units or (None, None)
    expected_added = look.expected - (before.expected if before else 0)
    return {
        "study_id": study_id,
        "outcome": outcome,
        "window_name": window_name,
        "watched": watched,
        "study_hash": hashes[0],
        "pair_hash": hashes[1],
        "look_number": look.number,
        "n_units": sum(look.units),
        "n_units_first": look.units[0],
        "n_units_later": look.units[1],
        "n_events": look.events,
        "n_events_added": look.events - (before.events if before else 0),
        "expected": look.expected,
        "expected_added": round(expected_added, 10),
        "reference": reference.kind,
        "rate_first": reference.rates[0],
        "rate_later": reference.rates[1],
        "baseline_events_first": events[0],
        "baseline_units_first": units[0],
        "baseline_events_later": events[1],
        "baseline_units_later": units[1],
        "alpha": plan.alpha,
        "max_expected": plan.max_expected,
        "min_events": plan.min_events,
        "threshold": look.threshold,
        "statistic": look.statistic,
        "boundary": look.boundary,
        "alpha_allowed": look.alpha_allowed,
        "alpha_spent": look.alpha_spent,
        "decision": look.decision,
    }


def reference_of(row: Row) -> Reference:
    """Return the reference that a record was held against."""
    if row["reference"] == "fixed":
        return Reference((row["rate_first"], row["rate_later"]))
    return Reference.of_counts(
        (row["baseline_events_first"], row["baseline_events_later"]),
        (row["baseline_units_first"], row["baseline_units_later"]),
        row["reference"],
    )


def look_of(row: Row) -> Look:
    """Return the look that a record tells."""
    return Look(
        number=row["look_number"],
        units=(row["n_units_first"], row["n_units_later"]),
        events=row["n_events"],
        expected=row["expected"],
        threshold=row["threshold"],
        statistic=row["statistic"],
        boundary=row["boundary"],
        alpha_allowed=row["alpha_allowed"],
        alpha_spent=row["alpha_spent"],
        decision=row["decision"],
    )


def load(con: duckdb.DuckDBPyConnection, rows: Sequence[Row], run_id: str) -> None:
    """Make `ops.look` and `signals.sequential` equal to the records; the caller commits."""
    for name in TABLES:
        found = model(name)
        stage_rows(con, found, list(_of_table(rows, found.content_columns)))
        replace_content(con, found, run_id)


def _of_table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        told = {
            **row,
            "look_key": row["record_key"],
            "exported_at": row["recorded_at"],
            "rate_ratio": row["n_events"] / row["expected"] if row["expected"] else None,
            "is_signal": row["decision"] == "signal",
        }
        yield {name: told[name] for name in columns}
