"""One JSON document taken apart: a Bundle or an array into its resources, or one resource.

The database cuts it, so no Python object stands for a resource.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa

from pipelines.base import duck
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir.blocks import LONGEST, SCHEMA, Reading
from pipelines.sources.rows.content import damaged

#: The longest document that is read, in bytes: it has to be held as a whole.
LARGEST = 128 << 20
_BUNDLE = re.compile(rb'"resourceType"\s*:\s*"Bundle"')
_ROWS = 10_000
#: One row per entry of a Bundle, or per item of an array. A deletion has no resource: it is handed
#: on as a Bundle of its own, which is how bulk exports tell deletions.
_ENTRIES = """
SELECT n AS source_row,
    CASE WHEN $is_bundle AND json_type(entry, '$.resource') IS NOT NULL
        THEN json_extract(entry, '$.resource')
    WHEN $is_bundle AND json_extract_string(entry, '$.request.method') = 'DELETE'
        THEN '{"resourceType":"Bundle","type":"transaction","entry":[' || entry || ']}'
    WHEN NOT $is_bundle THEN entry END AS resource,
    CASE WHEN json_type(entry) <> 'OBJECT' THEN 'unreadable_record'
    WHEN $is_bundle AND len(list_distinct(json_keys(entry))) < len(json_keys(entry))
        THEN 'duplicate_keys'
    WHEN resource IS NULL THEN 'no_resource'
    WHEN strlen(resource) > $longest THEN 'too_long'
    WHEN $is_bundle AND json_extract_string(entry, '$.resource.resourceType') = 'Bundle'
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
    record, is_whole = _parsed(content)
    if isinstance(record, list) or _is_bundle(record):
        if not is_whole:
            raise damaged(where, "A delivered Bundle has a key twice.")
        yield from _entries(content.decode(), found, is_bundle=isinstance(record, dict))
        return
    if record is None and (content[:1] == b"[" or _BUNDLE.search(content)):
        # how many resources are lost cannot be told, so the delivery stops
        raise damaged(where, "A delivered Bundle is no JSON, or is cut off.")
    yield from _single(content, record, found)


def _entries(text: str, found: Reading, *, is_bundle: bool) -> Iterator[pa.RecordBatch]:
    path = "$.entry[*]" if is_bundle else "$[*]"
    told = {"doc": text, "path": path, "is_bundle": is_bundle, "longest": LONGEST}
    con = duck.connect()
    try:
        result = con.execute(_ENTRIES, told)
        while rows := result.fetchmany(_ROWS):
            found.n_rows += len(rows)
            for row, _, reason, raw in rows:
                if reason:
                    found.set_aside(row, reason, raw)
            yield _batch([(row, text) for row, text, reason, _ in rows if not reason])
    finally:
        con.close()


def _single(content: bytes, record: object, found: Reading) -> Iterator[pa.RecordBatch]:
    found.n_rows = 1
    if len(content) > LONGEST:
        found.set_aside(1, "too_long", content[:200])
    elif record is None:
        found.set_aside(1, "unreadable_record", content)
    else:
        yield _batch([(1, content.decode())])


def _batch(rows: list[tuple[int, str]]) -> pa.RecordBatch:
    numbers = pa.array(np.array([row for row, _ in rows], dtype=np.int64))
    texts = pa.array([text for _, text in rows], pa.string())
    return pa.RecordBatch.from_arrays([numbers, texts], schema=SCHEMA)


def _is_bundle(record: object) -> bool:
    return isinstance(record, dict) and record.get("resourceType") == "Bundle"


def _parsed(content: bytes) -> tuple[object, bool]:
    """Return what JSON content is (None: it is none), and whether no key of a Bundle is twice."""
    try:
        return json.loads(content.decode()), True
    except (ValueError, RecursionError):
        return None, False
