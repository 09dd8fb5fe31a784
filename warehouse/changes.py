"""What a night changes in the signals, and why: the published file held against the next one.

Numbers are compared with those that readers have; reasons come from what the store remembers of the
time when that file was published (`memory`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base.duck import attach
from warehouse import memory
from warehouse.guard import is_broken, transaction

#: Reasons in the order in which they are told, and the column that counts each.
REASONS = {
    "window_closed": "n_closed",
    "window_reopened": "n_reopened",
    "record_new": "n_new",
    "record_late": "n_late",
    "record_corrected": "n_corrected",
    "record_retracted": "n_retracted",
    "patient_merged": "n_merged",
}


@dataclass(frozen=True)
class Change:
    """A row of `ops.change`; see warehouse/models/ops.change.sql."""

    study_id: str
    outcome: str
    label: str
    window_name: str
    signal_key: str
    n_units_before: int | None
    n_units: int | None
    n_events_before: int | None
    n_events: int | None
    n_changed_units: int
    reasons: tuple[str, ...]
    counts: dict[str, int]


@contextmanager
def _published(con: duckdb.DuckDBPyConnection, path: Path) -> Iterator[bool]:
    """Attach the published file as `before`, for reading; False where there is none to read."""
    is_there = False
    if path.is_file():
        try:
            attach(con, path, "before", read_only=True)
            is_there = True
            con.execute("SELECT run_id FROM before.ops.change LIMIT 0")
            con.execute(_HEADLINE.format(catalog="before") + " LIMIT 0")
        except duckdb.Error:  # damaged, or published by a version that told no changes
            if is_there:
                con.execute("DETACH before")
            is_there = False
    try:
        yield is_there
    finally:
        if is_there:
            con.execute("DETACH before")


def tell(
    con: duckdb.DuckDBPyConnection, path: Path, run_id: str, facts: Mapping[str, str]
) -> list[Change]:
    """Write what differs between the published file and the store into `ops.change`.

    Run before the file is replaced; run again, after a crash, it comes to the same.

    Args:
        con: the store in use.
        path: the published warehouse.
        run_id: the run that is about to publish.
        facts: rows of `ops.state` of the file that it is about to publish.

    Errors:
        duckdb.Error: the store cannot be written.
    """
    try:
        return _tell(con, path, run_id, facts)
    except duckdb.Error as error:
        # A store that was begun anew is well, so it is the published file that is not: it goes.
        if is_broken(error) and memory.is_empty(con):
            return []
        raise


def _tell(
    con: duckdb.DuckDBPyConnection, path: Path, run_id: str, facts: Mapping[str, str]
) -> list[Change]:
    with _published(con, path) as is_there, transaction(con):
        if not is_there:
            return []
        # What a run told that was killed before it published never happened.
        con.execute(
            "DELETE FROM ops.change WHERE run_id NOT IN (SELECT run_id FROM before.ops.run)"
        )
        _compare_units(con)
        con.execute(
            _CHANGED,
            {
                "site": facts["site_id"],
                "run": run_id,
                "version": facts["software_version"],
                "settings": facts["settings"],
                "is_rebuilt": memory.is_empty(con),
            },
        )
        return _changes(con, run_id)


def restore(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Fill `ops.change` of a store that was made anew from the published file, where it can."""
    with _published(con, path) as is_there:
        if not is_there:
            return
        try:
            con.execute("INSERT INTO ops.change BY NAME SELECT * FROM before.ops.change")
        except duckdb.Error as error:
            if not is_broken(error):
                raise


def _compare_units(con: duckdb.DuckDBPyConnection) -> None:
    """Make temp table `changed_unit`: units that are counted as something else, and why."""
    if memory.is_empty(con):
        con.execute(_NO_UNIT)
        return
    kept = memory.kept_patients(con)
    memory.read_records(con)
    con.execute(_CHANGED_RECORD.format(kept=kept))
    con.execute(_PAIR.format(kept=kept, counted=memory.COUNTED))
    con.execute(_REASON)
    for table in ("current_record", "changed_record", "pair"):
        con.execute(f"DROP TABLE temp.{table}")


_NO_UNIT = """
CREATE OR REPLACE TEMP TABLE changed_unit (
    study_id VARCHAR, outcome VARCHAR, window_name VARCHAR, reasons VARCHAR[])
"""

_CHANGED_RECORD = """
CREATE OR REPLACE TEMP TABLE changed_record AS
WITH told AS (FROM ledger.told_record {kept}),
changed AS (
    SELECT patient_key, event_type, record, n.content IS NOT NULL AS is_now,
        t.content IS NOT NULL AS was_told, n.occurred_at
    FROM temp.current_record AS n FULL JOIN told AS t USING (patient_key, event_type, record)
    WHERE n.content IS DISTINCT FROM t.content
), moved AS (
    -- told of another patient, whether that one is linked again (has any infusion) or not
    SELECT record FROM changed SEMI JOIN ledger.told_record USING (record)
    WHERE is_now AND NOT was_told
    UNION
    SELECT record FROM changed SEMI JOIN temp.current_record USING (record)
    WHERE was_told AND NOT is_now
)
SELECT patient_key, event_type, record, CASE
    WHEN record IN (FROM moved) THEN 'patient_merged'
    WHEN is_now AND was_told THEN 'record_corrected'
    WHEN was_told THEN 'record_retracted'
    WHEN occurred_at <= d.through_at THEN 'record_late'
    ELSE 'record_new' END AS kind
FROM changed LEFT JOIN ledger.told_through AS d USING (event_type)
"""

_PAIR = """
CREATE OR REPLACE TEMP TABLE pair AS
WITH new AS (
    SELECT study_id, unit_id, outcome, window_name, patient_key, status, {counted} AS counted
    FROM linkage.unit_outcome {kept}
)
SELECT row_number() OVER () AS pair, study_id, unit_id, outcome, window_name, old.records,
    old.patient_key AS old_patient, new.patient_key AS new_patient,
    old.status AS old_status, new.status AS new_status
FROM ledger.old_unit AS old FULL JOIN new USING (study_id, unit_id, outcome, window_name)
WHERE old.counted IS DISTINCT FROM new.counted
"""

# A window that closes over what was told of it before needs no record to be explained by. The
# records behind an outcome are its evidence; a unit comes and goes with its infusions.
_REASON = f"""
CREATE OR REPLACE TEMP TABLE changed_unit AS
WITH judged AS (
    SELECT *, CASE
        WHEN old_status = 'open' THEN new_status NOT IN ('open', 'event', 'open_event')
        WHEN old_status = 'open_event' THEN new_status = 'event'
        END AS is_closing,
        coalesce(old_status IN ('open', 'open_event'), false) AS was_open,
        coalesce(new_status IN ('open', 'open_event'), false) AS is_open
    FROM temp.pair
), behind AS (
    SELECT pair, unnest(records) AS record FROM temp.pair
    UNION
    SELECT pair, {memory.hashed("e.record_key")}
    FROM temp.pair JOIN linkage.evidence AS e USING (study_id, unit_id, outcome, window_name)
), of_patient AS (
    SELECT pair, event_type, record, kind,
        (old_status IS NULL OR new_status IS NULL)
            AND event_type IN ('InfusionRecorded', 'MedicationGiven') AS is_of_unit
    FROM judged JOIN temp.changed_record AS c ON c.patient_key IN (old_patient, new_patient)
    WHERE is_closing IS DISTINCT FROM true
), kinds AS (
    SELECT pair,
        list_distinct(list(kind) FILTER (b.record IS NOT NULL)) AS of_evidence,
        list_distinct(list(kind) FILTER (is_of_unit)) AS of_infusions,
        list_distinct(list(kind)) AS of_any
    FROM of_patient LEFT JOIN behind AS b USING (pair, record) GROUP BY pair
)
SELECT study_id, outcome, window_name, list_concat(
    CASE WHEN was_open AND NOT is_open AND new_status IS NOT NULL THEN ['window_closed'] END,
    CASE WHEN is_open AND NOT was_open AND old_status IS NOT NULL THEN ['window_reopened'] END,
    CASE WHEN len(of_infusions) > 0 THEN of_infusions
        WHEN len(of_evidence) > 0 THEN of_evidence ELSE of_any END) AS reasons
FROM judged LEFT JOIN kinds USING (pair)
"""

_COUNTS = ",\n".join(
    f"count(*) FILTER (list_contains(reasons, '{name}')) AS {column}"
    for name, column in REASONS.items()
)
_NAMED = ",\n".join(f"CASE WHEN {column} > 0 THEN '{name}' END" for name, column in REASONS.items())

_HEADLINE = """
SELECT r.study_id, r.outcome, r.window_name, r.signal_key, r.n_units, r.n_events
FROM {catalog}.signals.risk AS r
SEMI JOIN {catalog}.reference.outcome AS o
    ON o.study_id = r.study_id AND o.outcome = r.outcome AND o.is_published
WHERE r.is_headline AND r.stratum = 'all'
"""

_CHANGED = f"""
INSERT INTO ops.change BY NAME
WITH old AS ({_HEADLINE.format(catalog="before")}), new AS ({_HEADLINE.format(catalog="store")}),
signal AS (
    SELECT study_id, outcome, window_name, signal_key, old.n_units AS n_units_before, new.n_units,
        old.n_events AS n_events_before, new.n_events
    FROM old FULL JOIN new USING (study_id, outcome, window_name, signal_key)
    WHERE (old.n_units, old.n_events) IS DISTINCT FROM (new.n_units, new.n_events)
), why AS (
    SELECT study_id, outcome, window_name, count(*) AS n_changed_units, {_COUNTS}
    FROM temp.changed_unit GROUP BY ALL
), study AS (
    SELECT study_id FROM before.reference.study AS b FULL JOIN store.reference.study AS s
        USING (study_id) WHERE b.study_hash IS DISTINCT FROM s.study_hash
)
SELECT $site AS site_id, signal.*, why.* EXCLUDE (study_id, outcome, window_name),
    list_filter([
        CASE WHEN signal.study_id IN (FROM study) THEN 'study_changed' END,
        CASE WHEN $version <> (SELECT value FROM before.ops.state WHERE name = 'software_version')
            THEN 'software_changed' END,
        CASE WHEN $settings <> (SELECT value FROM before.ops.state WHERE name = 'settings')
            THEN 'settings_changed' END,
        CASE WHEN $is_rebuilt THEN 'store_rebuilt' END,
        {_NAMED}], lambda x: x IS NOT NULL) AS reasons,
    $run AS run_id
FROM signal LEFT JOIN why USING (study_id, outcome, window_name)
"""


def _changes(con: duckdb.DuckDBPyConnection, run_id: str) -> list[Change]:
    names = ", ".join(REASONS.values())
    rows: list[tuple[Any, ...]] = con.execute(
        f"""SELECT study_id, outcome, coalesce(o.label, outcome), window_name, signal_key,
            n_units_before, n_units, n_events_before, n_events, coalesce(n_changed_units, 0),
            reasons, {names}
        FROM ops.change LEFT JOIN reference.outcome AS o USING (study_id, outcome)
        WHERE run_id = ?
        ORDER BY n_events IS NOT DISTINCT FROM n_events_before, study_id, outcome, window_name""",
        [run_id],
    ).fetchall()
    return [_change(row) for row in rows]


def _change(row: tuple[Any, ...]) -> Change:
    told = dict(zip((one.name for one in fields(Change)), row, strict=False))
    told["reasons"] = tuple(told["reasons"])
    told["counts"] = {name: n for name, n in zip(REASONS, row[11:], strict=True) if n}
    return Change(**told)
