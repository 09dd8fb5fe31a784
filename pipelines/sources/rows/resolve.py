"""One delivery's candidates of a type become its events: copies, repeats and versions settled.

In this order: exact copies go, real repeats are numbered, of several versions the newest stays.
Only keys that occur more than once are looked at; the rest is one insert.
"""

from __future__ import annotations

import duckdb

import schemas
from pipelines.base.duck import literal, quote
from pipelines.sources.rows.shared import record_key

#: dense_rank gives all copies of a row the number that their first one has.
_VERDICT = """
CREATE OR REPLACE TEMP TABLE row_verdict AS
WITH keys AS (
    SELECT key_text FROM row_candidate
    WHERE key_text IS NOT NULL GROUP BY key_text HAVING count(*) > 1
), told AS (
    SELECT source_file_sha, source_row, source_part, key_text, can_repeat, version, content_hash,
        row_number() OVER copies AS copy,
        dense_rank() OVER repeats AS nth,
        first_value(version) OVER versions AS top_version,
        first_value(content_hash) OVER versions AS top_content
    FROM row_candidate SEMI JOIN keys USING (key_text)
    WINDOW
        copies AS (PARTITION BY key_text, can_repeat, version, content_hash
                   ORDER BY source_file_sha, source_row, source_part),
        repeats AS (PARTITION BY key_text, can_repeat ORDER BY content_hash, version),
        versions AS (PARTITION BY key_text, can_repeat
                     ORDER BY version DESC NULLS LAST, content_hash DESC)
)
SELECT source_file_sha, source_row, source_part, nth,
    CASE WHEN copy > 1 THEN 'duplicate'
         WHEN NOT can_repeat AND version IS NOT NULL
              AND (version, content_hash) <> (top_version, top_content)
         THEN 'superseded' END AS fate,
    CASE WHEN copy > 1 THEN 'copy'
         WHEN version = top_version THEN 'tie' ELSE 'version' END AS reason
FROM told
"""


def settle(con: duckdb.DuckDBPyConnection, site_id: str, source: str, event_type: str) -> None:
    """Move `row_candidate` into `event.<type>`, and what does not get there into `fate.row`.

    Exact copies (same key, version and content) are `duplicate`: the first by file hash and row
    stays. Where a key can really repeat, the nth by content is a record of its own. Else the
    highest version stays; with equal versions the greater content hash, and the other's reason
    is `tie`. A row without its whole key gets no record key, and one without its version is
    compared with no other: validation rejects both.
    """
    con.execute(_VERDICT)
    nth = "CASE WHEN can_repeat THEN key_part(CAST(coalesce(nth, 1) AS VARCHAR)) ELSE '' END"
    key = record_key(site_id, source, event_type, f"key_text || {nth}")
    names = [field.name for field in schemas.fields(event_type)]
    told = ", ".join(key if name == "record_key" else f"c.{quote(name)}" for name in names)
    judged = (
        "FROM row_candidate c LEFT JOIN row_verdict v "
        "ON c.source_row = v.source_row AND c.source_file_sha = v.source_file_sha "
        "AND c.source_part IS NOT DISTINCT FROM v.source_part"
    )
    con.execute(
        f"INSERT INTO event.{quote(event_type)} SELECT {told} {judged} WHERE v.fate IS NULL"
    )
    coded = "c.code, c.code_system" if "code" in names else "NULL, NULL"
    con.execute(
        f"INSERT INTO fate.row SELECT c.source_file_sha, c.source_row, {literal(event_type)}, "
        f"v.fate, v.reason, {coded}, {key}, c.source_part {judged} WHERE v.fate IS NOT NULL"
    )
