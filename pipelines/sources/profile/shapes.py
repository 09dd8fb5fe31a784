"""Which elements resources have, from their shapes: each kind of shape is looked at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Elements that are told as one: their parts are of no use here, or are a person's.
_CLOSED = frozenset(
    {"meta", "text", "extension", "modifierExtension", "contained", "identifier", "note"}
    | {"telecom", "address", "contact", "photo", "communication", "language", "link"}
)
_KEY = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")
_DEEPEST = 5
#: Datatypes by the keys that an object of it may have, and the one it must.
_DATATYPES: tuple[tuple[str, frozenset[str], str], ...] = (
    ("CodeableConcept", frozenset({"coding", "text"}), "coding"),
    ("Reference", frozenset({"reference", "type", "identifier", "display"}), "reference"),
    ("Period", frozenset({"start", "end"}), "start"),
    ("Period", frozenset({"start", "end"}), "end"),
    ("Quantity", frozenset({"value", "unit", "code", "system", "comparator"}), "value"),
    ("Coding", frozenset({"system", "code", "display", "version", "userSelected"}), "code"),
    ("Ratio", frozenset({"numerator", "denominator"}), "numerator"),
    ("Range", frozenset({"low", "high"}), "low"),
    ("Range", frozenset({"low", "high"}), "high"),
    ("CodeableConcept", frozenset({"text"}), "text"),
)
_PRIMITIVES = {
    "VARCHAR": "text", "BOOLEAN": "yes/no", "UBIGINT": "integer", "BIGINT": "integer",
    "HUGEINT": "integer", "UHUGEINT": "integer", "DOUBLE": "decimal", "NULL": "empty",
    "JSON": "mixed",
}  # fmt: skip


@dataclass(frozen=True)
class Element:
    """An element of a resource.

    Attributes:
        path: its keys, `[*]` after those that repeat, joined by dots.
        kind: its datatype, or what its primitive looks like.
    """

    path: str
    kind: str


def sql_path(path: str) -> str:
    """Return an element's path as DuckDB's JSON path in an SQL literal.

    Keys hold letters and digits alone, so nothing in them needs quoting.
    """
    return f"'$.{path}'"


def elements(shape: str) -> Iterator[Element]:
    """Yield the elements of one shape (what DuckDB's json_structure gives).

    Keys that no FHIR element can have are left out: they may be anything.
    """
    yield from _walk(json.loads(shape), "", 1)


def _walk(node: dict[str, Any], prefix: str, depth: int) -> Iterator[Element]:
    for key, inner in node.items():
        if not _KEY.fullmatch(key) or (depth == 1 and key == "resourceType"):
            continue
        path, below = prefix + key, inner
        if isinstance(below, list):
            path += "[*]"
            below = below[0] if below else "NULL"
        yield from _element(key, path, below, depth)


def _element(key: str, path: str, below: object, depth: int) -> Iterator[Element]:
    if isinstance(below, list):
        yield Element(path, "mixed")
    elif not isinstance(below, dict):
        yield Element(path, _PRIMITIVES.get(str(below), "text"))
    elif key in _CLOSED or key.startswith("_"):
        yield Element(path, "not looked into")
    elif key == "name":
        yield Element(path, "name")
    elif kind := _datatype(below):
        yield Element(path, kind)
    elif depth >= _DEEPEST:
        yield Element(path, "object")
    else:
        yield Element(path, "object")
        yield from _walk(below, path + ".", depth + 1)


def _datatype(node: dict[str, Any]) -> str | None:
    keys = set(node) - {"id", "extension"}
    return next((name for name, may, must in _DATATYPES if must in keys and keys <= may), None)
