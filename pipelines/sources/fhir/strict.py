"""JSON as the standard says, one text at a time: what decides where a database's parser forgives.

DuckDB takes `NaN`, a trailing comma, a key that comes twice. A key twice is the worst: two readers
of one resource see two values. So texts that could be one of these come here.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

#: Levels of objects and arrays that a resource may have; FHIR's own examples have about 15.
DEEPEST = 64


class _Found:
    """What was met on the way through a text."""

    def __init__(self) -> None:
        self.is_repeated = False

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Make an object, remembering whether one key came twice."""
        made = dict(pairs)
        self.is_repeated |= len(made) < len(pairs)
        return made


def _refuse(token: str) -> NoReturn:
    raise ValueError(len(token))


def verdict(text: str) -> tuple[str | None, str | None]:
    """Return a resource's type, or the reason why its text is none.

    Returns:
        (resource type, None), or (None, reason): unreadable_record, too_deep, duplicate_keys or
        no_resource_type; the first of them that holds.
    """
    found = _Found()
    try:
        # one of 5,000 digits is JSON, and int() would refuse it
        record = json.loads(
            text,
            object_pairs_hook=found.pairs,
            parse_constant=_refuse,
            parse_int=float,
        )
    except RecursionError:
        return None, "too_deep"
    except ValueError:
        return None, "unreadable_record"
    reason = _reason(record, found)
    return (None, reason) if reason else (record["resourceType"], None)


def _reason(record: object, found: _Found) -> str | None:
    if not isinstance(record, dict) or not _is_text(record):
        return "unreadable_record"
    if _depth(record) > DEEPEST:
        return "too_deep"
    if found.is_repeated:
        return "duplicate_keys"
    told = record.get("resourceType")
    return None if isinstance(told, str) and told else "no_resource_type"


def _is_text(record: dict[str, Any]) -> bool:
    """Whether every string can be told in UTF-8 and has no NUL, which FHIR forbids as well."""
    try:
        shown = json.dumps(record, ensure_ascii=False)
        shown.encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return "\\u0000" not in shown.replace("\\\\", "")


def _depth(record: object) -> int:
    """Return how many levels of objects and arrays there are."""
    level: list[object] = [record]
    depth = 0
    while level:
        nested = [x for x in level if isinstance(x, dict | list)]
        depth += bool(nested)
        level = [y for x in nested for y in (x.values() if isinstance(x, dict) else x)]
    return depth
