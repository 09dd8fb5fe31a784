"""From the files of a delivery to candidate events in the staging database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import duckdb

import schemas
from pipelines.base import zones
from pipelines.base.duck import literal, quote
from pipelines.base.errors import DripwatchError, StorageError
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources.flat import sql
from pipelines.sources.flat.check import used_columns
from pipelines.sources.flat.mapping import Mapping
from pipelines.sources.flat.model import OUT_OF_SCOPE, Condition, FileRule
from pipelines.sources.flat.reader import FlatFile, Reading, load, open_flat
from pipelines.sources.flat.resolve import settle
from pipelines.sources.flat.shared import Context, microseconds, patients, told_code
from pipelines.sources.flat.statement import candidates
from pipelines.sources.flat.targets import UNCODED
from studies.load import ConceptRow

Scope = Literal["all"] | Sequence[ConceptRow]

_STAGING = """
CREATE SCHEMA IF NOT EXISTS event;
CREATE SCHEMA IF NOT EXISTS fate;
CREATE TABLE fate.file (source_file_sha VARCHAR, name VARCHAR, n_rows BIGINT);
CREATE TABLE fate.row (source_file_sha VARCHAR, source_row BIGINT, event_type VARCHAR,
    fate VARCHAR, reason VARCHAR, code VARCHAR, code_system VARCHAR, record_key VARCHAR);
CREATE TABLE fate.unreadable (source_file_sha VARCHAR, source_row BIGINT, raw VARCHAR);
"""
_SCRATCH = ("flat_raw", "flat_patient", "flat_out", "flat_candidate", "flat_verdict", "flat_scope")


def extract(
    con: duckdb.DuckDBPyConnection,
    facts: DeliveryFacts,
    mapping: Mapping,
    site: Site,
    scope: Scope,
    key: SiteKey,
) -> None:
    """Read a delivery into an empty staging database: `event.*` and `fate.*`.

    Every row of every file ends in exactly one place: a candidate event, or `fate.row` as
    out of scope, duplicate, superseded or quarantined (unreadable, unknown event type).

    Errors:
        DeliveryError: a file is damaged, empty, or changed since it was described.
        MappingError: a file lacks a mapped column.
    """
    opened = _open_all(facts, mapping)
    try:
        con.execute(_STAGING)
        zones.install(con)
        key.install(con)
        _load_scope(con, scope)
        for sha256, file in opened.items():
            ctx = Context(
                facts.site_id,
                facts.source,
                facts.batch_id,
                sha256,
                mapping.table.zone or site.site.zone,
                mapping.table.namespace,
                microseconds(facts.exported_at),
            )
            _read_file(con, file, ctx, whole_scope=scope == "all")
        for event_type in _types(opened):
            _settle_type(con, facts, event_type)
        for name in _SCRATCH:
            con.execute(f"DROP TABLE IF EXISTS {name}")
    except duckdb.Error as error:
        raise _failed(error, facts) from None


def _failed(error: duckdb.Error, facts: DeliveryFacts) -> DripwatchError:
    """Return an error without the database's text, which can quote cells."""
    where = f"batch {facts.batch_id[:12]} of source {facts.source}"
    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
        return StorageError(
            "The staging database could not be written.",
            where=where,
            remedy="Free disk, or raise memory_limit in site.toml.",
            next_run="Reads the delivery again.",
        )
    return DripwatchError(
        f"The rows could not be turned into events ({type(error).__name__}).",
        where=where,
        remedy="Report it with the mapping: this is a fault in Dripwatch.",
        next_run="Stops here again; nothing of the delivery was applied.",
    )


def _settle_type(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts, event_type: str) -> None:
    con.execute(f"ALTER TABLE {_candidate(event_type)} RENAME TO flat_candidate")
    con.execute(schemas.create_table_sql(event_type, f"event.{quote(event_type)}"))
    settle(con, facts.site_id, facts.source, event_type)
    con.execute("DROP TABLE flat_candidate")


def _open_all(facts: DeliveryFacts, mapping: Mapping) -> dict[str, FlatFile]:
    """Check every header before any row is read; files in an order that names don't change."""
    opened = {}
    for number, told in enumerate(sorted(facts.files, key=lambda f: f.sha256), start=1):
        where = f"file {number} of {len(facts.files)} ({told.role}, sha256 {told.sha256[:12]})"
        file = open_flat(told.path, mapping.file(told.role), where)
        mapping.check_header(told.role, file.header)
        opened[told.sha256] = file
    return opened


def _types(opened: dict[str, FlatFile]) -> list[str]:
    delivered = {t for file in opened.values() for t in file.rule.event_types}
    return [name for name in schemas.CLINICAL_TYPES if name in delivered]


def _candidate(event_type: str) -> str:
    return quote("flat_candidate_" + event_type)


def _load_scope(con: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    con.execute(
        "CREATE OR REPLACE TEMP TABLE flat_scope "
        "(event_type VARCHAR, code_system VARCHAR, code VARCHAR, is_prefix BOOLEAN)"
    )
    if scope == "all":
        return
    if rows := [(*row[:3], row.match == "prefix") for row in scope]:
        con.executemany("INSERT INTO flat_scope VALUES (?, ?, ?, ?)", rows)


def _read_file(
    con: duckdb.DuckDBPyConnection, file: FlatFile, ctx: Context, *, whole_scope: bool
) -> None:
    column = file.sql_names()
    used = list(dict.fromkeys(name for name, _ in used_columns(file.rule, ())))
    read = load(con, file, used, _raw_sql(file.rule, used, column), ctx.sha256)
    con.execute("INSERT INTO fate.file VALUES (?, ?, ?)", [ctx.sha256, file.path.name, read.n_rows])
    _set_aside(con, read, ctx)
    patient = patients(file.rule, column, ctx)
    con.execute(f"CREATE OR REPLACE TEMP TABLE flat_patient AS {patient}")
    for event_type in file.rule.event_types:
        code = told_code(file.rule, event_type, column)
        _leave_out(con, event_type, code, ctx, whole_scope=whole_scope)
        query = candidates(file.rule, event_type, column, ctx)
        name = _candidate(event_type)
        con.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} AS {query} LIMIT 0")
        con.execute(f"INSERT INTO {name} {query}")
    con.execute("DROP TABLE flat_raw")


def _raw_sql(rule: FileRule, used: list[str], column: dict[str, str]) -> str:
    """Return the statement that stores a file's rows, each routed to its event type."""
    cells = ", ".join(f"{sql.cell(column[name], rule.null)} AS {column[name]}" for name in used)
    cases = " ".join(f"WHEN {_all(c.when, column)} THEN {literal(c.event)}" for c in rule.event)
    tests = " ".join(
        f"WHEN NOT {sql.holds(condition, column)} THEN {literal(_reason(condition))}"
        for condition in rule.where
    )
    excluded = f"CASE {tests} END" if tests else "NULL::VARCHAR"
    return (
        f"CREATE OR REPLACE TEMP TABLE flat_raw AS "
        f"SELECT *, CASE {cases} END AS route, {excluded} AS excluded "
        f"FROM (SELECT source_row, {cells} FROM delivered)"
    )


def _all(conditions: list[Condition], column: dict[str, str]) -> str:
    return " AND ".join(sql.holds(condition, column) for condition in conditions) or "true"


def _reason(condition: Condition) -> str:
    return condition.reason or f"where:{condition.column}"


def _set_aside(con: duckdb.DuckDBPyConnection, read: Reading, ctx: Context) -> None:
    """Account for rows that are no event whatever their type."""
    if read.unreadable:
        rows = [(ctx.sha256, row, raw) for row, raw in read.unreadable]
        con.executemany("INSERT INTO fate.unreadable VALUES (?, ?, ?)", rows)
    con.execute(
        "INSERT INTO fate.row SELECT source_file_sha, source_row, NULL, 'quarantined', "
        "'unreadable_record', NULL, NULL, NULL FROM fate.unreadable WHERE source_file_sha = ?",
        [ctx.sha256],
    )
    con.execute(
        "INSERT INTO fate.row SELECT ?, source_row, NULL, "
        "CASE WHEN excluded IS NULL AND route IS NULL THEN 'quarantined' ELSE 'out_of_scope' END, "
        "CASE WHEN excluded IS NOT NULL THEN excluded WHEN route IS NULL "
        "THEN 'unknown_event_type' ELSE 'mapping' END, NULL, NULL, NULL "
        "FROM flat_raw WHERE route IS NULL OR route = ?",
        [ctx.sha256, OUT_OF_SCOPE],
    )


def _leave_out(
    con: duckdb.DuckDBPyConnection,
    event_type: str,
    told: tuple[str, str],
    ctx: Context,
    *,
    whole_scope: bool,
) -> None:
    """Account for rows of a type that fail `where`, or whose code no study names.

    A row without a code or system stays in: only validation may reject it.
    """
    code, system = told
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE flat_out AS SELECT DISTINCT {code} AS code, "
        f"{system} AS code_system FROM flat_raw WHERE route = ? AND excluded IS NULL "
        f"AND {str(not whole_scope and event_type not in UNCODED).lower()}",
        [event_type],
    )
    con.execute(
        "DELETE FROM flat_out o WHERE code IS NULL OR code_system IS NULL OR EXISTS "
        "(SELECT 1 FROM flat_scope s WHERE s.event_type = ? AND s.code_system = o.code_system "
        "AND (s.code = o.code OR (s.is_prefix AND starts_with(o.code, s.code))))",
        [event_type],
    )
    con.execute(
        "INSERT INTO fate.row SELECT $sha, source_row, $type, 'out_of_scope', "
        "coalesce(excluded, 'code'), code, code_system, NULL FROM "
        f"(SELECT source_row, excluded, {code} AS code, {system} AS code_system "
        "FROM flat_raw WHERE route = $type) r "
        "WHERE excluded IS NOT NULL OR EXISTS (SELECT 1 FROM flat_out o "
        "WHERE o.code = r.code AND o.code_system = r.code_system)",
        {"sha": ctx.sha256, "type": event_type},
    )
