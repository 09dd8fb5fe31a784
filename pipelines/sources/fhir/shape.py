"""What a delivered file holds, seen by how it begins."""

from __future__ import annotations

import json
import re
from typing import IO, Literal

from pipelines.sources.fhir.blocks import LONGEST
from pipelines.sources.rows.content import check_head, damaged, foreign

#: Where content that is no JSON seems to be a Bundle.
BUNDLE = re.compile(rb'"resourceType"\s*:\s*"Bundle"')
_BLANKS = b" \t\r\n"
_CHUNK = 1 << 16
#: Where a printer of JSON breaks lines; no line of NDJSON ends so.
_OPEN = (b"{", b"[", b",", b":")


def shape_of(stream: IO[bytes], where: str) -> Literal["ndjson", "json"]:
    """Return whether content is one resource a line, or one JSON document.

    Args:
        stream: content from its start.
        where: how messages call the file.

    Errors:
        DeliveryError: it is empty, or neither.
    """
    lines = _first_lines(stream, where)
    if not lines:
        raise damaged(where, "A delivered file is empty.")
    if lines[0].startswith(b"<"):
        raise foreign(where, "markup (XML, or a page that tells an error)", "Deliver FHIR as JSON.")
    if len(lines) == 1:
        return "json" if _holds_many(lines[0]) else "ndjson"
    is_printed = lines[0].endswith(_OPEN) and _object(lines[0]) is None
    if is_printed and (lines[0] == b"[" or _object(lines[1]) is None):
        return "json"
    return "ndjson"


def _first_lines(stream: IO[bytes], where: str) -> list[bytes]:
    """Return the first two lines that are not blank (too long ones cut), without blanks around."""
    head = stream.read(_CHUNK)
    check_head(head, where)
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANKS)
    is_ended = False
    while not is_ended and len(head) <= 2 * LONGEST and len(_split(head)) < 3:
        chunk = stream.read(max(_CHUNK, len(head)))
        is_ended = not chunk
        head = (head + chunk).lstrip(_BLANKS)
    return _split(head)[:2]


def _split(head: bytes) -> list[bytes]:
    return [line for part in head.splitlines() if (line := part.strip(_BLANKS))]


def _object(line: bytes) -> object:
    """Return the JSON object that a line is; None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _holds_many(line: bytes) -> bool:
    """Whether the only line of a file is a Bundle or an array of resources."""
    record = _object(line)
    if record is None:
        return line.startswith(b"[") or BUNDLE.search(line) is not None  # cut off, as it seems
    return isinstance(record, dict) and record.get("resourceType") == "Bundle"
