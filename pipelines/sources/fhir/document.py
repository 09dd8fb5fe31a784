"""One JSON document taken apart: a Bundle or an array into its resources, or one resource.

The database cuts it, so no Python object stands for a resource.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.base import duck
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir.blocks import LONGEST, SCHEMA, Reading
from pipelines.sources.fhir.marks import suspects
from pipelines.sources.fhir.shape import BUNDLE
from pipelines.sources.fhir.strict import verdict
from pipelines.sources.rows.content import damaged

#: The longest document that is read, in bytes: it has to be held as a whole.
LARGEST = 128 << 20
_LAST_COMMA = re.compile(rb",[ \t\r\n]*[}\]]")
_ROWS = 10_000
#: What a document is; nulls where it is no JSON.
_KIND = """
SELECT json_type(d), json_extract_string(d, '$.resourceType'),
    json_type(d) = 'ARRAY' OR len(list_distinct(json_keys(d))) = len(json_keys(d))
        AND coalesce(json_type(d, '$.entry'), 'ARRAY') IN ('ARRAY', 'NULL'),
    list_contains(json_extract_string(d, '$.link[*].relation'), 'next')
        OR TRY_CAST(json_extract_string(d, '$.total') AS BIGINT)
            > len(list_filter(json_extract(d, '$.entry[*]'), lambda e: coalesce(
                json_extract_string(e, '$.search.mode'), 'match') = 'match'))
FROM (SELECT CASE WHEN json_valid(d) THEN d END AS d FROM (SELECT ?::VARCHAR AS d))
"""
#: One row per entry of a Bundle, or per item of an array. A deletion has no resource: it is handed
#: on as a Bundle of its own, which is how bulk exports tell deletions.
_ENTRIES = """
SELECT n AS source_row,
    CASE WHEN $is_bundle AND json_extract_string(entry, '$.request.method') = 'DELETE'
        THEN '{"resourceType":"Bundle","type":"transaction","entry":[' || entry || ']}'
    WHEN $is_bundle AND json_type(entry, '$.resource') IS NOT NULL
        THEN json_extract(entry, '$.resource')
    WHEN NOT $is_bundle THEN entry END AS resource,
    CASE WHEN json_type(entry) <> 'OBJECT' THEN 'unreadable_record'
    WHEN $is_bundle AND len(list_distinct(json_keys(entry))) < len(json_keys(entry))
        THEN 'duplicate_keys'
    WHEN resource IS NULL THEN 'no_resource'
    WHEN strlen(resource) > $longest THEN 'too_long'
    WHEN $is_bundle AND json_extract_string(entry, '$.resource.resourceType') = 'Bundle'
        AND coalesce(json_extract_string(entry, '$.request.method'), '') <> 'DELETE'
        THEN 'too_deep' END AS reason,
    CASE WHEN reason IS NOT NULL THEN entry::VARCHAR END AS raw
FROM (SELECT unnest(entries) AS entry, generate_subscripts(entries, 1) AS n FROM
    (SELECT json_extract($doc::JSON, $path) AS entries))
"""


def batches(stream: IO[bytes], found: Reading, where: str) -> Iterator[pa.RecordBatch]:
    """Yield batches of `blocks.SCHEMA` from a stream that holds one document.

    Errors:
        DeliveryError: it is longer than `LARGEST`, or a Bundle that cannot be taken apart.
    """
    content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DeliveryError(
            f"A delivered file is one JSON document of more than {LARGEST >> 20} MB.",
            where=where,
            remedy="Deliver it as NDJSON, one resource a line: that may be of any size.",
            next_run="Stops here again until the file is replaced; nothing of it was applied.",
        )
    found.sha256 = hashlib.sha256(content).hexdigest()
    content = content.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if (one := _one_resource(content)) is not None:
        yield from _single(content, *one, found)
        return
    with closing(duck.connect()) as con:
        try:
            yield from _taken_apart(con, content, found, where)
        except duckdb.Error:
            # its text can quote the content
            raise damaged(where, "A delivered JSON document cannot be taken apart.") from None


def _taken_apart(
    con: duckdb.DuckDBPyConnection, content: bytes, found: Reading, where: str
) -> Iterator[pa.RecordBatch]:
    text = _strict(content)
    row = con.execute(_KIND, [text]).fetchone() if text is not None else None
    kind, resource_type, is_whole, is_page = row or (None, None, None, None)
    if kind == "ARRAY" or resource_type == "Bundle":
        if is_page and resource_type == "Bundle":
            raise DeliveryError(
                "A delivered Bundle is one page of several: it links to a next one, or tells of "
                "more entries than it has.",
                where=where,
                remedy="Deliver all pages, without their links, or one Bundle that is whole.",
                next_run="Stops here again until it is replaced; nothing of it was applied.",
            )
        if not is_whole:
            raise damaged(where, "A delivered Bundle has a key twice, or its entries are no list.")
        yield from _entries(con, text or "", found, is_bundle=kind == "OBJECT")
    elif kind is None and (content[:1] == b"[" or BUNDLE.search(content)):
        # how many resources are lost cannot be told, so the delivery stops
        raise damaged(where, "A delivered Bundle is no JSON, or is cut off.")
    else:
        if kind is None and content.count(b'"resourceType"') > 1:
            # several, one behind the other: how many are lost cannot be told
            raise damaged(where, "A delivered JSON document is no JSON, and holds several records.")
        reason = "too_long" if len(content) > LONGEST else "unreadable_record"
        yield from _single(content, None, reason, found)


def _one_resource(content: bytes) -> tuple[str | None, str | None] | None:
    """Return a single resource's text, or the reason why it is none; None where there are several.

    Exports of one file a resource have thousands of files: a connection would cost more than each.
    """
    if len(content) > LONGEST or content[:1] == b"[":
        return None
    text = _text(content)
    told, reason = (None, "unreadable_record") if text is None else verdict(text)
    is_odd = reason == "unreadable_record" and content.count(b'"resourceType"') > 1
    is_odd |= told is None and BUNDLE.search(content) is not None
    if told == "Bundle" or is_odd:
        return None
    return (None, reason) if reason else (text, None)


def _strict(content: bytes) -> str | None:
    """Return content as text; None where it is no text, or JSON that only DuckDB would forgive."""
    try:
        text = content.decode()
        if _LAST_COMMA.search(content):
            json.loads(text)  # the comma may be in a string
    except (ValueError, RecursionError):
        return None
    return text


def _entries(
    con: duckdb.DuckDBPyConnection, text: str, found: Reading, *, is_bundle: bool
) -> Iterator[pa.RecordBatch]:
    path = "$.entry[*]" if is_bundle else "$[*]"
    told = {"doc": text, "path": path, "is_bundle": is_bundle, "longest": LONGEST}
    result = con.execute(_ENTRIES, told)
    while rows := result.fetchmany(_ROWS):
        found.n_rows += len(rows)
        for row, _, reason, raw in rows:
            if reason:
                found.set_aside(row, reason, raw)
        yield _batch([(row, text) for row, text, reason, _ in rows if not reason])


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _single(
    content: bytes, text: str | None, reason: str | None, found: Reading
) -> Iterator[pa.RecordBatch]:
    found.n_rows = 1
    if text is None or reason:
        raw = content[:200] if reason == "too_long" else content
        found.set_aside(1, reason or "unreadable_record", raw)
    else:
        columns: list[pa.Array[Any]] = [pa.array([1]), pa.array([text]), pa.array([False])]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _batch(rows: list[tuple[int, str]]) -> pa.RecordBatch:
    texts = pa.array([text for _, text in rows], pa.string())
    # entries as the database writes them hold no line end
    block = "\n".join(text for _, text in rows).encode()
    lengths = np.array([len(text.encode()) for _, text in rows], dtype=np.int64)
    ends = np.cumsum(lengths + 1) - 1
    marks = suspects(block, ends - lengths, ends)
    numbers = pa.array(np.array([row for row, _ in rows], dtype=np.int64))
    return pa.RecordBatch.from_arrays([numbers, texts, pa.array(marks)], schema=SCHEMA)
