"""`dripwatch quality`: what was lost and why, how far each feed reaches, what looks unusual."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from flows.asked import Asked, Row, chosen, headline, minute, print_csv
from flows.console import printable
from flows.reply import Reply

Part = Literal["rows", "feeds", "checks", "drift", "silences"]


class _Table(NamedTuple):
    """A part of the answer: its title, statement, and how a row is shown at 80 columns."""

    title: str
    sql: str
    header: tuple[str, ...]
    cells: tuple[str, ...]


_TABLES: dict[Part, _Table] = {
    "rows": _Table(
        "Every row that was read",
        """SELECT source, event_type, sum(n_read)::BIGINT AS n_read,
            sum(n_accepted)::BIGINT AS n_accepted, sum(n_quarantined)::BIGINT AS n_quarantined,
            round(100 * sum(n_quarantined) / nullif(sum(n_read), 0), 2) AS quarantined_percent,
            sum(n_duplicate + n_superseded)::BIGINT AS n_repeated,
            sum(n_out_of_scope)::BIGINT AS n_out_of_scope, sum(n_reference)::BIGINT AS n_reference
        FROM quality.reconciliation GROUP BY source, event_type ORDER BY source, event_type""",
        ("source", "event type", ">read", ">accepted", ">rejected", ">repeats", ">other"),
        ("source", "event_type", "n_read", "n_accepted", "n_quarantined", "n_repeated", "n_other"),
    ),
    "feeds": _Table(
        "How far each feed reaches",
        """SELECT feed.source, feed.event_type, feed.n_rows, feed.complete_through_at,
            fresh.stale_since_at, coalesce(fresh.reasons, []) AS stale_reasons
        FROM quality.feed AS feed
        LEFT JOIN reference.freshness AS fresh USING (site_id, source, event_type)
        ORDER BY feed.source, feed.event_type""",
        ("source", "event type", ">records", "complete to (UTC)", "stale"),
        ("source", "event_type", "n_rows", "complete_through_at", "stale_reasons"),
    ),
    "checks": _Table(
        "Checks that failed",
        """SELECT source, event_type, check_id, severity, n_batches, n_rows, n_failed,
            round(failed_percent, 2) AS failed_percent
        FROM analysis.failed_checks
        ORDER BY severity <> 'reject', failed_percent DESC, source, event_type, check_id""",
        ("check", "event type", "severity", ">failed", ">%"),
        ("check_id", "event_type", "severity", "n_failed", "failed_percent"),
    ),
    "drift": _Table(
        "Batches unlike the 28 days before them",
        """SELECT source, event_type, batch_id, check_id, what, n_rows, n_rows_before, observed,
            before, low, high
        FROM quality.drift ORDER BY source, event_type, batch_id, check_id, what""",
        ("event type", "check", "what", ">found", ">at least", ">at most"),
        ("event_type", "check_id", "what", "observed", "low", "high"),
    ),
    "silences": _Table(
        "Silences too long to be chance",
        """SELECT source, event_type, last_date, next_date, n_days, expected_days, is_open,
            holds_windows
        FROM quality.silence ORDER BY is_open DESC, last_date DESC, source, event_type""",
        ("source", "event type", "after", "until", ">days", "holds windows"),
        ("source", "event_type", "last_date", "next_date", "n_days", "holds_windows"),
    ),
}
PARTS: tuple[Part, ...] = ("rows", "feeds", "checks", "drift", "silences")
#: Rows of each table where all of them are shown.
_MOST = 10
_NOTES = {
    "rows": "repeats: duplicates and older versions; other: out of scope, or looked up in.",
}


def show_quality(
    config: Path,
    answer: Reply,
    *,
    part: Part | None,
    types: Sequence[str],
    sources: Sequence[str],
    as_csv: bool,
) -> None:
    """Show what was read, lost, late and unusual, over all batches.

    Args:
        config: the site's site.toml.
        answer: gets it all.
        part: the only table to show; all where None.
        types: event types to show; all where empty.
        sources: sources to show; all where empty.
        as_csv: print one table as CSV: `part`, or the rows that were read.

    Errors:
        UsageError: a filter names what is not there.
        StorageError: nothing has been published yet.
    """
    asked = Asked(config)
    fresh = asked.freshness()
    read = asked.rows(_TABLES["rows"].sql)
    chosen(read, "event_type", types, "--type")
    chosen(read, "source", sources, "--source")
    found: dict[Part, list[Row]] = {
        name: [
            row
            for row in (read if name == "rows" else asked.rows(_TABLES[name].sql))
            if (not types or row["event_type"] in types)
            and (not sources or row["source"] in sources)
        ]
        for name in ([part] if part else PARTS)
    }
    answer.result = {"freshness": fresh} | {str(name): rows for name, rows in found.items()}
    answer.message = headline(fresh)
    if as_csv:
        name: Part = part or "rows"
        rows = found[name]
        print_csv(answer, rows, list(rows[0]) if rows else _TABLES[name].cells)
    elif not answer.as_json:
        answer.console.say(answer.message)
        for name, rows in found.items():
            _print(answer, name, rows, most=None if part else _MOST)


def _print(answer: Reply, name: Part, rows: list[Row], *, most: int | None) -> None:
    told = _TABLES[name]
    if not rows:
        answer.console.say(f"{told.title}: none.")
        return
    sources = {row["source"] for row in rows}
    title = told.title + (f" (source {printable(*sources)})" if len(sources) == 1 else "")
    # A site with one source has no column for it: names of event types are long.
    shown = [
        (head, cell)
        for head, cell in zip(told.header, told.cells, strict=True)
        if cell != "source" or len(sources) > 1
    ]
    cells = [[_cell(cell, row) for _, cell in shown] for row in rows[:most]]
    answer.console.table(title, [head for head, _ in shown], cells)
    if len(rows) > len(cells):
        answer.console.say(f"and {len(rows) - len(cells):,} more: dripwatch quality --only {name}")
    if name in _NOTES:
        answer.console.say(_NOTES[name])


def _cell(name: str, row: Row) -> str:
    if name == "n_other":
        return f"{row['n_out_of_scope'] + row['n_reference']:,}"
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2f}" if name.endswith("_percent") else f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(value)
    return minute(value) if isinstance(value, datetime) else printable(str(value))
