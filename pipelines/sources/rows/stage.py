"""From rows of named text columns to candidate events in the staging database.

A source fills `row_raw` (`raw_sql`), then `make_events` takes every row of it somewhere: to a
candidate event of its type, or to `fate.row` with the reason. `settle_all` ends a delivery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import duckdb

import schemas
from pipelines.base import zones
from pipelines.base.codes import comparable
from pipelines.base.duck import insert, literal, quote
from pipelines.base.errors import DripwatchError, StorageError
from pipelines.base.site import Site
from pipelines.base.sitekey import SiteKey
from pipelines.base.storage import database_error
from pipelines.ingest.facts import DeliveryFacts
from pipelines.ingest.forgotten import Forgotten, leave_out
from pipelines.ingest.idmap import keep_named
from pipelines.ingest.renewal import renew_staging
from pipelines.sources.rows import sql
from pipelines.sources.rows.model import OUT_OF_SCOPE, Condition, RowRule
from pipelines.sources.rows.resolve import settle
from pipelines.sources.rows.shared import Context, named_patients, patients, told_code
from pipelines.sources.rows.statement import candidates
from pipelines.sources.rows.targets import UNCODED
from studies.load import ConceptRow

Scope = Literal["all"] | Sequence[ConceptRow]


class Everything(tuple[ConceptRow, ...]):
    """Every code is ingested; those that studies name only choose between codings of one record."""

    __slots__ = ()


def is_whole(scope: Scope) -> bool:
    """Return whether rows are ingested whatever their code."""
    return scope == "all" or isinstance(scope, Everything)


_STAGING = """
CREATE SCHEMA IF NOT EXISTS event;
CREATE SCHEMA IF NOT EXISTS fate;
CREATE TABLE fate.file (source_file_sha VARCHAR, name VARCHAR, n_rows BIGINT);
CREATE TABLE fate.row (source_file_sha VARCHAR, source_row BIGINT, event_type VARCHAR,
    fate VARCHAR, reason VARCHAR, code VARCHAR, code_system VARCHAR, record_key VARCHAR,
    source_part INTEGER);
CREATE TABLE fate.unreadable (source_file_sha VARCHAR, source_row BIGINT, raw VARCHAR);
CREATE TABLE fate.withdrawn (resource_key VARCHAR, version BIGINT, recorded_at TIMESTAMP,
    source_file_sha VARCHAR, source_row BIGINT, reason VARCHAR);
"""
_SCRATCH = (
    "row_raw",
    "row_patient",
    "row_person",
    "row_out",
    "row_candidate",
    "row_verdict",
    "row_scope",
)


def open_staging(con: duckdb.DuckDBPyConnection, scope: Scope, key: SiteKey) -> None:
    """Make the staging tables, and what statements over rows call: zones, keys, the scope."""
    con.execute(_STAGING)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE row_person (namespace VARCHAR, id VARCHAR, k VARCHAR)"
    )
    zones.install(con)
    key.install(con)
    _load_scope(con, scope)


def close_staging(con: duckdb.DuckDBPyConnection, key: SiteKey, site: Site) -> None:
    """Leave out whom the site forgot, renew the keys, drop what only the making of events needed.

    Until here, keys are those of the first secret: what hangs on their order (copies, repeats) is
    settled alike before and after a renewal.
    """
    leave_out(con, key, Forgotten(site.log_root))
    if site.privacy.idmap:
        keep_named(con)
    if key.n_renewals:
        renew_staging(con)
    for name in _SCRATCH:
        con.execute(f"DROP TABLE IF EXISTS {name}")


def raw_sql(rule: RowRule, cells: Mapping[str, str], column: Mapping[str, str], rows: str) -> str:
    """Return the statement that stores rows as `row_raw`, each routed to its event type.

    Args:
        rule: what the rows become.
        cells: SQL of each column's text, by the column's name in the mapping.
        column: safe SQL name of each column.
        rows: relation with `source_file_sha`, `source_row`, `source_part` (null: the whole
            record), `resource_text` (`<type>/<id>` of a resource; null for flat rows), `noted`
            (flags that the source itself raises, VARCHAR[] or null) and what the cells read;
            rows of many files may stand in one relation.
    """
    told = ", ".join(f"{text} AS {column[name]}" for name, text in cells.items())
    named = dict(column)
    cases = " ".join(f"WHEN {_all(c.when, named)} THEN {literal(c.event)}" for c in rule.event)
    tests = " ".join(
        f"WHEN NOT {sql.holds(condition, named)} THEN {literal(_reason(condition))}"
        for condition in rule.where
    )
    excluded = f"CASE {tests} END" if tests else "NULL::VARCHAR"
    return (
        f"CREATE OR REPLACE TEMP TABLE row_raw AS "
        f"SELECT *, CASE {cases} END AS route, {excluded} AS excluded "
        "FROM (SELECT source_file_sha, source_row, source_part, resource_text, noted, "
        f"{told} FROM {rows})"
    )


def make_events(
    con: duckdb.DuckDBPyConnection,
    rule: RowRule,
    column: dict[str, str],
    ctx: Context,
    *,
    whole_scope: bool,
) -> None:
    """Turn `row_raw` into candidate events, or account for its rows otherwise."""
    _set_aside(con)
    con.execute(f"CREATE OR REPLACE TEMP TABLE row_patient AS {patients(rule, column, ctx)}")
    if ctx.keeps_ids:
        con.execute(f"INSERT INTO row_person {named_patients(rule, ctx)}")
    for event_type in rule.event_types:
        code = told_code(rule, event_type, column)
        _leave_out(con, event_type, code, whole_scope=whole_scope)
        query = candidates(rule, event_type, column, ctx)
        name = _candidate(event_type)
        # Planning such a query takes longer than a small file: not twice.
        is_there = "SELECT 1 FROM duckdb_tables() WHERE table_name = ?"
        known = con.execute(is_there, [name.strip('"')]).fetchone()
        con.execute(
            f"INSERT INTO {name} {query}" if known else f"CREATE TEMP TABLE {name} AS {query}"
        )


def settle_all(
    con: duckdb.DuckDBPyConnection, facts: DeliveryFacts, event_types: Iterable[str]
) -> None:
    """Settle copies, repeats and versions of each type that the delivery can hold."""
    delivered = set(event_types)
    for name in (t for t in schemas.CLINICAL_TYPES if t in delivered):
        con.execute(f"ALTER TABLE {_candidate(name)} RENAME TO row_candidate")
        con.execute(schemas.create_table_sql(name, f"event.{quote(name)}"))
        settle(con, facts.site_id, facts.source, name)
        con.execute("DROP TABLE row_candidate")


def failed(error: duckdb.Error, facts: DeliveryFacts) -> DripwatchError:
    """Return an error without the database's text, which can quote cells."""
    where = f"batch {facts.batch_id[:12]} of source {facts.source}"
    refused = database_error(error, "staging a delivery", where)
    if refused is not None:
        return refused
    if isinstance(error, duckdb.IOException):
        return StorageError(
            "The staging database could not be written.",
            where=where,
            remedy="Check that its disk is well and has room.",
            next_run="Reads the delivery again.",
        )
    return DripwatchError(
        f"The rows could not be turned into events ({type(error).__name__}).",
        where=where,
        remedy="Report it with the mapping: this is a fault in Dripwatch.",
        next_run="Stops here again; nothing of the delivery was applied.",
    )


def set_unreadable_aside(
    con: duckdb.DuckDBPyConnection, unreadable: Sequence[tuple[int, str, str]], sha256: str
) -> None:
    """Account for records that are no row at all.

    Args:
        con: the staging database.
        unreadable: number, reason and text of each; the text goes to the quarantine alone.
        sha256: of the file that holds them.
    """
    if not unreadable:
        return
    insert(con, "fate.unreadable", ((sha256, row, raw) for row, _, raw in unreadable))
    insert(
        con,
        "fate.row (source_file_sha, source_row, fate, reason)",
        ((sha256, row, "quarantined", reason) for row, reason, _ in unreadable),
    )


def _candidate(event_type: str) -> str:
    return quote("row_candidate_" + event_type)


def _load_scope(con: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    con.execute(
        "CREATE OR REPLACE TEMP TABLE row_scope "
        "(event_type VARCHAR, code_system VARCHAR, code VARCHAR, is_prefix BOOLEAN)"
    )
    if scope == "all":
        return
    if rows := [(*row[:3], row.match == "prefix") for row in scope]:
        insert(con, "row_scope", rows)
        con.execute(f"UPDATE row_scope SET code = {comparable('code', 'code_system')}")


def _all(conditions: list[Condition], column: dict[str, str]) -> str:
    return " AND ".join(sql.holds(condition, column) for condition in conditions) or "true"


def _reason(condition: Condition) -> str:
    return condition.reason or f"where:{condition.column}"


def _set_aside(con: duckdb.DuckDBPyConnection) -> None:
    """Account for rows that are no event whatever their type."""
    con.execute(
        "INSERT INTO fate.row SELECT source_file_sha, source_row, NULL, "
        "CASE WHEN excluded IS NULL AND route IS NULL THEN 'quarantined' ELSE 'out_of_scope' END, "
        "CASE WHEN excluded IS NOT NULL THEN excluded WHEN route IS NULL "
        "THEN 'unknown_event_type' ELSE 'mapping' END, NULL, NULL, NULL, source_part "
        "FROM row_raw WHERE route IS NULL OR route = ?",
        [OUT_OF_SCOPE],
    )


def in_scope(code: str, system: str, event_type: str) -> str:
    """Return SQL for whether some study of the site names a code as this type of event."""
    compared = comparable(code, system)
    return (
        f"EXISTS (SELECT 1 FROM row_scope s WHERE s.event_type = {literal(event_type)} "
        f"AND s.code_system = {system} AND (s.code = {compared} "
        f"OR (s.is_prefix AND starts_with({compared}, s.code))))"
    )


def _leave_out(
    con: duckdb.DuckDBPyConnection,
    event_type: str,
    told: tuple[str, str],
    *,
    whole_scope: bool,
) -> None:
    """Account for rows of a type that fail `where`, or whose code no study names.

    A row without a code or system stays in: only validation may reject it.
    """
    code, system = told
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE row_out AS SELECT DISTINCT {code} AS code, "
        f"{system} AS code_system FROM row_raw WHERE route = ? AND excluded IS NULL "
        f"AND {str(not whole_scope and event_type not in UNCODED).lower()}",
        [event_type],
    )
    con.execute(
        "DELETE FROM row_out o WHERE code IS NULL OR code_system IS NULL OR "
        + in_scope("o.code", "o.code_system", event_type)
    )
    con.execute(
        "INSERT INTO fate.row SELECT source_file_sha, source_row, $type, 'out_of_scope', "
        "coalesce(excluded, 'code'), code, code_system, NULL, source_part FROM "
        f"(SELECT source_file_sha, source_row, source_part, excluded, {code} AS code, "
        f"{system} AS code_system "
        "FROM row_raw WHERE route = $type) r "
        "WHERE excluded IS NOT NULL OR EXISTS (SELECT 1 FROM row_out o "
        "WHERE o.code = r.code AND o.code_system = r.code_system)",
        {"type": event_type},
    )
