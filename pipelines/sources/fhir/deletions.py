"""Deletions: Bundles whose entries say which resources are gone (`DELETE`, `Type/id`).

A manifest's `deleted` lists files of them, and a Bundle may hold some among its resources. Only
the resource that is named goes: a deleted Patient takes no observation along, since the server
names each resource that it deleted, and guessing more would withdraw facts that still stand.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from pipelines.base.duck import literal, quote
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir.lines import FhirFile, open_fhir
from pipelines.sources.fhir.withdrawals import withdraw
from pipelines.sources.rows.content import open_content, reading
from pipelines.sources.rows.folders import AGAIN
from pipelines.sources.rows.shared import Context

_SHAPE = '{"entry":[{"request":{"method":"VARCHAR","url":"VARCHAR"}}]}'
#: A relative or absolute address that ends in type and id; conditional deletes name no resource.
_TARGET = r"^(?:https?://[^?#]*/|/)?([A-Z][A-Za-z]{1,63}/[A-Za-z0-9._-]{1,200})$"

#: Bundles with a resource that is not deleted: as lines of a file they are not taken apart.
_OTHERS = """
CREATE OR REPLACE TEMP TABLE bundle_of_resources AS
SELECT DISTINCT source_row
FROM (SELECT source_row, unnest(json_extract(resource, '$.entry[*]')) AS entry FROM {table}
    WHERE resource_type = 'Bundle')
WHERE json_type(entry, '$.resource') = 'OBJECT'
    AND coalesce(json_extract_string(entry, '$.request.method'), '') <> 'DELETE'
"""
#: One row per entry; `target` is null where it is no deletion of one resource.
_ENTRIES = """
CREATE OR REPLACE TEMP TABLE deletion AS
SELECT source_row, CASE WHEN told.request.method = 'DELETE'
    THEN nullif(regexp_extract(told.request.url, {target}, 1), '') END AS target
FROM (SELECT source_row, unnest(t.entry) AS told FROM (
    SELECT source_row, json_transform(resource, {shape}) AS t FROM {table}
    WHERE resource_type = 'Bundle'))
"""
#: One row per Bundle; one that tells anything but deletions is kept whole in the quarantine.
_BUNDLES = """
CREATE OR REPLACE TEMP TABLE deletion_bundle AS
SELECT b.source_row, b.resource, CASE
    WHEN b.source_row IN (SELECT source_row FROM bundle_of_resources) THEN 'bundle_of_resources'
    WHEN json_type(b.resource, '$.entry') NOT IN ('ARRAY', 'NULL')
        OR coalesce(d.n_unreadable, 0) > 0 THEN 'unreadable_deletion'
END AS wrong
FROM {table} AS b LEFT JOIN (
    SELECT source_row, count(*) FILTER (target IS NULL) AS n_unreadable
    FROM deletion GROUP BY source_row) AS d USING (source_row)
WHERE b.resource_type = 'Bundle'
"""


def open_deletions(path: Path, where: str) -> FhirFile:
    """Open a file that the manifest lists under `deleted`: one Bundle a line, also if it is one.

    Errors:
        DeliveryError: as `open_fhir`.
    """
    file = open_fhir(path, where)
    if file.shape == "json" and _is_one_line(path, where):
        return FhirFile(path, where, "ndjson")
    return file


def _is_one_line(path: Path, where: str) -> bool:
    is_ended = False
    with reading(where), open_content(path) as stream:
        while chunk := stream.read(1 << 20):
            first, end, rest = (b"", b"\n", chunk) if is_ended else chunk.lstrip().partition(b"\n")
            if end and rest.strip():
                return False
            is_ended = is_ended or bool(end and first.strip())
    return True


def take_deletions(con: duckdb.DuckDBPyConnection, table: str, ctx: Context, sha256: str) -> int:
    """Account for the Bundles among a file's resources, and withdraw what they say is gone.

    Args:
        con: the staging database.
        table: `source_row, resource_type, resource` of a file, as `lines.load` makes it.
        ctx: the delivery; a deletion is as new as the export that tells it.
        sha256: of the file.

    Returns:
        How many Bundles there were.

    Errors:
        DeliveryError: every record of the file is a Bundle of resources that are not deleted.
    """
    _refuse_resources(con, table, sha256)
    told = {"target": literal(_TARGET), "shape": literal(_SHAPE), "table": quote(table)}
    con.execute(_ENTRIES.format(**told))
    con.execute(_BUNDLES.format(**told))
    at = f"{ctx.exported_us}::BIGINT"
    gone = (
        f"(SELECT target AS resource_text, {literal(sha256)} AS source_file_sha, "
        f"min(source_row) AS source_row, {at} AS version, make_timestamp({at}) AS recorded_at "
        "FROM deletion WHERE target IS NOT NULL GROUP BY target)"
    )
    withdraw(con, gone, ctx, "deleted")
    con.execute(
        "INSERT INTO fate.row SELECT $sha, source_row, NULL, "
        "CASE WHEN wrong IS NULL THEN 'reference' ELSE 'quarantined' END, "
        "coalesce(wrong, 'deletions'), "
        "NULL, NULL, NULL, NULL FROM deletion_bundle",
        {"sha": sha256},
    )
    con.execute(
        "INSERT INTO fate.unreadable SELECT ?, source_row, resource FROM deletion_bundle "
        "WHERE wrong IS NOT NULL",
        [sha256],
    )
    row = con.execute("SELECT count(*) FROM deletion_bundle").fetchone()
    for name in ("deletion", "deletion_bundle", "bundle_of_resources"):
        con.execute(f"DROP TABLE {name}")
    return int(row[0]) if row else 0


def _refuse_resources(con: duckdb.DuckDBPyConnection, table: str, sha256: str) -> None:
    """Stop where a file is Bundles line by line: one among other records is quarantined."""
    con.execute(_OTHERS.format(table=quote(table)))
    counts = "SELECT (SELECT count(*) FROM bundle_of_resources), (SELECT count(*) FROM {table})"
    row = con.execute(counts.format(table=quote(table))).fetchone()
    if row and row[0] and row[0] == row[1]:
        raise DeliveryError(
            "Every record of a delivered file is a Bundle that holds resources: only a file that "
            "is one Bundle is taken apart.",
            where=f"a delivered file, sha256 {sha256[:12]}",
            remedy="Deliver each Bundle as a file of its own, or its resources as NDJSON, one a "
            "line. Files that a manifest lists under `deleted` hold deletions alone.",
            next_run=AGAIN,
        )
