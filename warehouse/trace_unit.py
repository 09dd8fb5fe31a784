"""From a unit to its rows: infusions, outcomes, the records behind them and where those stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from pipelines.base.duck import quote
from warehouse.trace import Row, UnknownKeyError, refuse_unlinked, rows_of

#: Shortest beginning of a key that is taken for it.
MIN_START = 8
_WHERE_KEYS = (
    "Copy a key from the units of a signal: `dripwatch explain --signal KEY` lists them, and "
    f"`select signal_key from signals.risk` the signals. Its first {MIN_START} characters do where "
    "they are of one unit."
)


def trace_unit(
    con: duckdb.DuckDBPyConnection, start: str, outcome: str | None = None
) -> dict[str, Any]:
    """Return a unit with its infusions, its outcomes and the delivered rows behind them.

    Args:
        con: see `reading`.
        start: the unit's key, or how it begins (8 characters or more).
        outcome: tell this outcome alone.

    Errors:
        UnknownKeyError: there is no such unit, there are several, or no such outcome.
        StorageError: see `refuse_unlinked`.
    """
    refuse_unlinked(con)
    unit = {"unit": _unit_id(con, start)}
    courses = rows_of(
        con, "SELECT * FROM store.linkage.course WHERE unit_id = $unit ORDER BY study_id", unit
    )
    infusions = rows_of(
        con,
        """SELECT * FROM store.linkage.infusion WHERE unit_id = $unit
        ORDER BY study_id, started_at, infusion_key""",
        unit,
    )
    outcomes = rows_of(con, _OUTCOMES, {**unit, "outcome": outcome})
    if outcome is not None and not outcomes:
        raise UnknownKeyError(
            "The unit has no such outcome.",
            remedy="Leave `--outcome` out, or name one of: "
            + ", ".join(sorted({row["outcome"] for row in _all_outcomes(con, unit)})),
        )
    evidence = rows_of(con, _EVIDENCE, {**unit, "outcome": outcome})
    keys = [("InfusionRecorded", key) for one in infusions for key in one["record_keys"] or ()]
    keys += [(one["event_type"], one["record_key"]) for one in evidence]
    records = records_of(con, keys)
    for one in infusions:
        one["records"] = [records[key] for key in one.pop("record_keys") or () if key in records]
    members = _components(con, unit)
    for one in outcomes:
        one["components"] = members.get((one["study_id"], one["outcome"], one["window_name"]), {})
        one["evidence"] = [
            {**_kept(row, _LINK), "record": records.get(row["record_key"])}
            for row in evidence
            if all(row[name] == one[name] for name in ("study_id", "outcome", "window_name"))
        ]
    return {"unit_id": unit["unit"], "courses": courses, "infusions": infusions,
            "outcomes": outcomes}  # fmt: skip


def _components(
    con: duckdb.DuckDBPyConnection, unit: Mapping[str, str]
) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return each composite's components with their status in the unit, by study and window."""
    rows = con.execute(
        """SELECT c.study_id, c.outcome, m.window_name, m.outcome, m.status
        FROM store.reference.outcome AS c
        JOIN store.linkage.unit_outcome AS m
          ON m.study_id = c.study_id
         AND list_contains(
            flatten((c.definition::JSON -> 'of')::VARCHAR[][]), m.outcome)
        WHERE m.unit_id = $unit AND c.kind = 'composite'
        ORDER BY ALL""",
        unit,
    ).fetchall()
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for study_id, outcome, window, member, status in rows:
        found.setdefault((study_id, outcome, window), {})[member] = status
    return found


_LINK = ("record_key", "event_type", "role", "rule", "occurred_at", "is_counted", "reason")

_OUTCOMES = """
SELECT * FROM store.linkage.unit_outcome
WHERE unit_id = $unit AND ($outcome IS NULL OR outcome = $outcome)
ORDER BY study_id, outcome, window_name
"""

_EVIDENCE = """
SELECT * FROM store.linkage.evidence
WHERE unit_id = $unit AND ($outcome IS NULL OR outcome = $outcome)
ORDER BY study_id, outcome, window_name, occurred_at, record_key, role, rule
"""


def _all_outcomes(con: duckdb.DuckDBPyConnection, unit: Mapping[str, str]) -> list[Row]:
    return rows_of(
        con, "SELECT outcome FROM store.linkage.unit_outcome WHERE unit_id = $unit", unit
    )


def _unit_id(con: duckdb.DuckDBPyConnection, start: str) -> str:
    if len(start) < MIN_START:
        raise UnknownKeyError(
            f"The beginning of a unit's key has {MIN_START} characters or more.", remedy=_WHERE_KEYS
        )
    found = con.execute(
        """SELECT DISTINCT unit_id FROM store.linkage.course
        WHERE starts_with(unit_id, $start) ORDER BY unit_id <> $start LIMIT 2""",
        {"start": start},
    ).fetchall()
    if not found or (len(found) > 1 and found[0][0] != start):
        raise UnknownKeyError(
            f"{'Several units begin' if found else 'No unit of this site begins'} like this.",
            remedy=_WHERE_KEYS,
        )
    return str(found[0][0])


#: A delivery may hold one content under two names.
_FILES = """
SELECT batch_id, source_file_sha, string_agg(file_name, ' and ' ORDER BY file_name) AS file_name
FROM store.ledger.file GROUP BY ALL"""

#: What is told of a record besides where it stands; the texts of a source are not.
_TOLD = ("occurred_at", "time_precision", "ended_at", "status", "evidence", "code_system", "code",
         "value", "unit", "dose_value", "dose_unit", "grade", "flags")  # fmt: skip
_PLACE = ("source", "batch_id", "source_file_sha", "source_row", "source_part")


def records_of(
    con: duckdb.DuckDBPyConnection, keys: Sequence[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """Return records by key: what they say in codes and numbers, where they stand, what failed.

    Args:
        con: see `reading`.
        keys: event type and record key of each.
    """
    found: dict[str, dict[str, Any]] = {}
    for event_type in sorted({event_type for event_type, _ in keys}):
        rows = rows_of(
            con,
            f"""SELECT e.*, f.file_name, b.exported_at FROM store.event.{quote(event_type)} AS e
            LEFT JOIN ({_FILES}) AS f USING (batch_id, source_file_sha)
            LEFT JOIN store.ops.batch AS b ON b.batch_id = e.batch_id
            WHERE e.record_key IN (SELECT unnest($keys))""",
            {"keys": [key for kind, key in keys if kind == event_type]},
        )
        for row in rows:
            found[row["record_key"]] = {
                "record_key": row["record_key"],
                "event_type": event_type,
                **{name: row[name] for name in _TOLD if row.get(name) not in (None, [])},
                "place": _kept(row, (*_PLACE, "file_name", "exported_at")),
                "quarantined": [],
            }
    for row in rows_of(con, _QUARANTINED, {"keys": list(found)}):
        found[row.pop("record_key")]["quarantined"].append(row)
    return found


#: Other versions of the same records, which checks rejected.
_QUARANTINED = f"""
SELECT q.record_key, q.check_ids, q.batch_id, q.source_file_sha, q.source_row, q.source_part,
       f.file_name
FROM store.quality.quarantine AS q
LEFT JOIN ({_FILES}) AS f USING (batch_id, source_file_sha)
WHERE q.record_key IN (SELECT unnest($keys))
ORDER BY ALL
"""


def _kept(row: Row, names: Sequence[str]) -> Row:
    return {name: row[name] for name in names}
