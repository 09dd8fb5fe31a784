"""Rows of a delta that make no event, though an older version of their record may have made one.

A record whose code is mended into one that no study asks for, or which a mapping's `where` now
refuses, is no event any more. Nothing of it would say so: the row is only counted. So its key is
kept, with its version, as a withdrawal. A snapshot needs none: what it lacks is gone.
"""

from __future__ import annotations

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from pipelines.sources.flat.model import FileRule
from pipelines.sources.rows import sql
from pipelines.sources.rows.shared import Context, is_one_type, record_key
from pipelines.sources.rows.targets import UNCODED


def withdraw_left_out(
    con: duckdb.DuckDBPyConnection,
    rule: FileRule,
    column: dict[str, str],
    ctx: Context,
    sha256: str,
) -> None:
    """Fill `fate.withdrawn` with the rows of `row_raw` that are out of scope.

    Args:
        con: the staging database, after `make_events`.
        rule: what the rows become.
        column: SQL name of each column.
        ctx: the delivery.
        sha256: of the file that the rows are from.
    """
    if rule.occurrence or not rule.event_types or not rule.may_leave_scope:
        return
    if _is_fixed_by_key(rule):
        return
    key = "other_key({}, {}, 'resource', resource_text)".format(*_owner(ctx))
    if is_one_type(rule):
        key = record_key(ctx.site_id, ctx.source, rule.event_types[0], _key_text(rule, column))
    version, changed = _versions(rule, column, ctx)
    left_out = "SELECT source_row FROM fate.row WHERE fate = 'out_of_scope'"
    con.execute(
        f"""INSERT INTO fate.withdrawn
        SELECT key, version, coalesce(changed, make_timestamp({ctx.exported_us}::BIGINT)),
               source_file_sha, source_row, 'out_of_scope'
        FROM (SELECT *, {key} AS key, {version} AS version
            FROM (SELECT r.*, {changed} AS changed FROM row_raw AS r
                SEMI JOIN ({left_out} AND source_file_sha = $sha) AS f
                    ON f.source_row = r.source_row))
        WHERE key IS NOT NULL AND version IS NOT NULL""",
        {"sha": sha256},
    )


def remarks(con: duckdb.DuckDBPyConnection, _mapping: object, source: str) -> list[str]:
    """Say where one key names records of several types in a delivery: perhaps it names too little.

    Args:
        con: the staging database after `extract`.
        source: the source's short name.
    """
    found = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event' ORDER BY ALL"
    ).fetchall()
    types = [str(name) for (name,) in found if name in schemas.CLINICAL_TYPES]
    each = " UNION ALL ".join(
        f"SELECT DISTINCT resource_key FROM event.{quote(name)} WHERE resource_key IS NOT NULL"
        for name in types
    )
    if not types:
        return []
    row = con.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM ({each}) GROUP BY resource_key HAVING count(*) > 1)"
    ).fetchone()
    if not (row and row[0]):
        return []
    return [
        f"{row[0]} keys of a delivery of {source} name rows of several event types: they count as "
        "versions of one record. If numbers are unique per kind of row only, add the column of "
        "the kind to `key` in the mapping."
    ]


def resource_text(rule: FileRule, column: dict[str, str]) -> str:
    """Return the SQL of the name under which rows of several types are one record; null for others.

    Of what can be an infusion in one version and a tablet in the next, the newer takes the place of
    the older only where something says that both are one record: their keys are of different types.
    """
    if is_one_type(rule) or rule.occurrence:
        return "NULL::VARCHAR"
    types = "+".join(sorted(rule.event_types))
    return f"{literal(types + '/')} || {_key_text(rule, column)}"


def _is_fixed_by_key(rule: FileRule) -> bool:
    """Whether all that decides on a row's scope is part of its key: no version can differ in it."""
    deciding = {c.column for c in rule.where} | {c.column for case in rule.event for c in case.when}
    for event_type in set(rule.event_types) - UNCODED:
        told = rule.rules(event_type)
        for name in ("code", "code_system"):
            if field := told.get(name):
                deciding |= {*([field.column] if field.column else ()), *(field.columns or ())}
    return deciding <= set(rule.key)


def _key_text(rule: FileRule, column: dict[str, str]) -> str:
    return " || ".join(f"key_part({column[name]})" for name in rule.key)


def _owner(ctx: Context) -> tuple[str, str]:
    return literal(ctx.site_id), literal(ctx.source)


def _versions(rule: FileRule, column: dict[str, str], ctx: Context) -> tuple[str, str]:
    """Return SQL of a row's version, which reads `changed`, and of `changed`; as events have them.

    A row whose version cannot be read has none: it withdraws nothing, as it would be no event.
    """
    exported = f"{ctx.exported_us}::BIGINT"
    told, changed = "NULL", "NULL::TIMESTAMP"
    if rule.last_updated:
        told = column[rule.last_updated.column]
        zone = literal(rule.last_updated.zone or ctx.zone)
        at = sql.instant(told, zone, rule.last_updated.format)
        changed = sql.believed(at, ctx.exported_us)
    version = f"CASE WHEN {told} IS NULL THEN {exported} ELSE epoch_us(changed) END"
    if rule.version:
        version = sql.whole_text(column[rule.version.column])
    return version, changed
