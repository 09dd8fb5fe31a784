"""What a line of a file is by the letter of its standard, as the standard library reads it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn


def json_lines(content: bytes) -> list[bytes]:
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(b"\xef\xbb\xbf"))
    return [line for line in lines if line.strip(b" \t")]


def csv_lines(content: bytes) -> list[bytes]:
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(b"\xef\xbb\xbf"))
    return [line for line in lines if line][1:]


def strict_resource(line: bytes) -> dict[str, Any] | str:
    """Return the resource that a line is by the letter of the standard, or why it is none."""
    doubled = []

    def pairs(told: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(told if len(dict(told)) < len(told) else [])
        return dict(told)

    def refuse(_: str) -> NoReturn:
        raise ValueError

    try:
        found = json.loads(
            line.decode(), object_pairs_hook=pairs, parse_constant=refuse, parse_int=float
        )
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        return "too_deep"
    except ValueError:
        return "unreadable_record"
    if not isinstance(found, dict) or any("\0" in text for text in texts(found)):
        return "unreadable_record"
    if depth(found) > 64:
        return "too_deep"
    if doubled:
        return "duplicate_keys"
    kind = found.get("resourceType")
    return found if isinstance(kind, str) and kind else "no_resource_type"


def strict_row(line: bytes, n_columns: int) -> list[str] | str:
    """Return the cells of a line as a parser reads it that forgives nothing."""
    try:
        text = line.decode()
        if text.count('"') % 2:
            return "unreadable_record"
        (cells,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error):
        return "unreadable_record"
    return cells if len(cells) == n_columns else "unreadable_record"


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from texts(item)


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inside), default=0)
