"""From the files of a delivery to candidate events in the staging database."""

from __future__ import annotations

import duckdb

from pipelines.base.duck import literal
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources.flat.left_out import resource_text, withdraw_left_out
from pipelines.sources.flat.mapping import Mapping
from pipelines.sources.flat.reader import FlatFile, load, open_flat
from pipelines.sources.rows import sql
from pipelines.sources.rows.check_rule import used_columns
from pipelines.sources.rows.shared import Context, microseconds
from pipelines.sources.rows.stage import (
    Scope,
    close_staging,
    failed,
    is_whole,
    make_events,
    open_staging,
    raw_sql,
    set_unreadable_aside,
    settle_all,
)


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
        open_staging(con, scope, key)
        ctx = Context(
            facts.site_id,
            facts.source,
            facts.batch_id,
            mapping.table.zone or site.site.zone,
            mapping.table.namespace,
            microseconds(facts.exported_at),
            site.privacy.idmap,
        )
        for sha256, file in opened.items():
            _read_file(con, file, sha256, ctx, whole_scope=is_whole(scope))
            if facts.kind == "delta":
                withdraw_left_out(con, file.rule, file.sql_names(), ctx, sha256)
            con.execute("DROP TABLE row_raw")
        settle_all(con, facts, {t for f in opened.values() for t in f.rule.event_types})
        close_staging(con, key, site)
    except duckdb.Error as error:
        raise failed(error, facts) from None


def _open_all(facts: DeliveryFacts, mapping: Mapping) -> dict[str, FlatFile]:
    """Check every header before any row is read; files in an order that names don't change."""
    opened = {}
    for number, told in enumerate(sorted(facts.files, key=lambda f: f.sha256), start=1):
        where = f"file {number} of {len(facts.files)} ({told.role}, sha256 {told.sha256[:12]})"
        file = open_flat(told.path, mapping.file(told.role), where)
        mapping.check_header(told.role, file.header)
        opened[told.sha256] = file
    return opened


def _read_file(
    con: duckdb.DuckDBPyConnection,
    file: FlatFile,
    sha256: str,
    ctx: Context,
    *,
    whole_scope: bool,
) -> None:
    column = file.sql_names()
    used = list(dict.fromkeys(name for name, _ in used_columns(file.rule, ())))
    cells = {name: sql.cell(column[name], file.rule.null) for name in used}
    whose = resource_text(file.rule, cells)
    rows = (
        f"(SELECT *, {literal(sha256)} AS source_file_sha, NULL::INTEGER AS source_part, "
        f"{whose} AS resource_text, NULL::VARCHAR[] AS noted FROM delivered)"
    )
    read = load(con, file, used, raw_sql(file.rule, cells, column, rows), sha256)
    con.execute("INSERT INTO fate.file VALUES (?, ?, ?)", [sha256, file.path.name, read.n_rows])
    unreadable = [(row, "unreadable_record", raw) for row, raw in read.unreadable]
    set_unreadable_aside(con, unreadable, sha256)
    make_events(con, file.rule, column, ctx, whole_scope=whole_scope)
