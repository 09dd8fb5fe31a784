"""Resources that a delta tells and of which no event is left: what was told before is gone."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from pipelines.sources.fhir.columns import column
from pipelines.sources.rows import sql
from pipelines.sources.rows.shared import Context


def remember(con: duckdb.DuckDBPyConnection, version: str, ctx: Context) -> None:
    """Keep which resources were read, with their versions as events have them.

    Args:
        con: the staging database, with `fhir_rows`.
        version: what orders versions, `lastUpdated` or `versionId`.
        ctx: the delivery.
    """
    con.execute(
        "CREATE TEMP TABLE IF NOT EXISTS fhir_read (source_file_sha VARCHAR, source_row BIGINT, "
        "resource_text VARCHAR, version BIGINT, recorded_at TIMESTAMP)"
    )
    text = column("last_updated")
    changed = sql.believed(sql.instant(text, literal(ctx.zone)), ctx.exported_us)
    exported = f"{ctx.exported_us}::BIGINT"
    number = (
        sql.whole_text(column("version_id"))
        if version == "versionId"
        else f"CASE WHEN {text} IS NULL THEN {exported} ELSE epoch_us(changed) END"
    )
    con.execute(
        "INSERT INTO fhir_read SELECT DISTINCT source_file_sha, source_row, resource_text, "
        f"{number}, coalesce(changed, make_timestamp({exported})) "
        f"FROM (SELECT *, {changed} AS changed FROM fhir_rows WHERE refused IS NULL)"
    )


def withdraw_unseen(con: duckdb.DuckDBPyConnection, ctx: Context) -> None:
    """Withdraw the resources that were read and all of whose parts are out of scope."""
    con.execute(
        "CREATE TEMP TABLE IF NOT EXISTS fhir_read (source_file_sha VARCHAR, source_row BIGINT, "
        "resource_text VARCHAR, version BIGINT, recorded_at TIMESTAMP)"
    )
    seen = "".join(
        f" AND NOT EXISTS (SELECT 1 FROM event.{quote(name)} e "
        "WHERE e.source_file_sha = r.source_file_sha AND e.source_row = r.source_row)"
        for name in _events(con)
    )
    withdraw(
        con,
        "(SELECT resource_text, source_file_sha, source_row, version, recorded_at "
        "FROM fhir_read r WHERE version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM fate.row f "
        "WHERE f.source_file_sha = r.source_file_sha AND f.source_row = r.source_row "
        f"AND f.fate <> 'out_of_scope'){seen})",
        ctx,
        "out_of_scope",
    )
    con.execute("DROP TABLE fhir_read")


def withdraw(con: duckdb.DuckDBPyConnection, rows: str, ctx: Context, reason: str) -> None:
    """Fill `fate.withdrawn`.

    Args:
        con: the staging database.
        rows: relation with `resource_text` (`Type/id`), `source_file_sha`, `source_row`,
            `version` and `recorded_at`.
        ctx: the delivery.
        reason: `deleted` or `out_of_scope`.
    """
    owner = f"{literal(ctx.site_id)}, {literal(ctx.source)}"
    con.execute(
        f"INSERT INTO fate.withdrawn SELECT other_key({owner}, 'resource', resource_text), "
        f"version, recorded_at, source_file_sha, source_row, {literal(reason)} FROM {rows}"
    )


def _events(con: duckdb.DuckDBPyConnection) -> Iterable[str]:
    found = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event'"
    ).fetchall()
    made = {str(row[0]) for row in found}
    return [name for name in schemas.CLINICAL_TYPES if name in made]
