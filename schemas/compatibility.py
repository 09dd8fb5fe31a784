"""Which changes of a schema keep an old log readable, and old software able to read a new log.

Compatibility is full and transitive: every version reads every other. On top of what Avro
resolves, events have rules of their own, because columns are written without a per-field decision
and because Avro resolves some changes by silently losing values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any

from schemas.registry import ENVELOPE, Schema, duckdb_type, value_type


def problems(history: Mapping[int, Schema]) -> list[str]:
    """Return why the versions of one record cannot stand together; empty if they can.

    Args:
        history: schemas by version number.
    """
    numbers = sorted(history)
    if numbers != list(range(1, len(numbers) + 1)):
        return [f"versions must be numbered 1, 2, ... without gaps, not {numbers}"]
    found = [f"v{number}: {why}" for number in numbers for why in shape_problems(history[number])]
    if found:
        return found  # what follows relies on the shape
    for old, new in combinations(numbers, 2):
        found += [f"v{old} and v{new}: {why}" for why in _pair(history[old], history[new])]
    for old, new in pairwise(numbers):
        found += [f"v{old} to v{new}: {why}" for why in _step(history[old], history[new])]
    return found


def shape_problems(schema: Schema, *, has_envelope: bool = False) -> list[str]:
    """Return what is wrong with one schema by itself.

    Args:
        schema: a record.
        has_envelope: whether it must start with the fields that every event type has.
    """
    found = [] if schema.get("doc") else ["the record has no doc"]
    names = [field["name"] for field in schema["fields"]]
    spoken = [*names, *(alias for field in schema["fields"] for alias in field.get("aliases", ()))]
    if len(set(spoken)) < len(spoken):
        found.append("two fields share a name or an alias")
    if has_envelope and tuple(names[: len(ENVELOPE)]) != ENVELOPE:
        found.append("the fields do not start with the envelope")
    for field in schema["fields"]:
        found += [f"{field['name']}: {why}" for why in _field_problems(field)]
    return found


def _field_problems(field: Mapping[str, Any]) -> list[str]:
    found = [] if field.get("doc") else ["no doc"]
    try:
        # An enum fails here too: it could not hold a wrong value, and a new symbol stops old
        # readers.
        duckdb_type(value_type(field["type"]))
    except ValueError as error:
        found.append(str(error))
    if "default" not in field:
        found.append("no default; older files lack the field")
    elif field["default"] is not None:
        found.append("the default must be null: absent is not a value")
    return found


def _pair(old: Schema, new: Schema) -> list[str]:
    """Return what keeps one version from reading another, in either direction."""
    if (old.get("namespace"), old["name"]) != (new.get("namespace"), new["name"]):
        return ["the record's name changed; readers go by it"]
    found = []
    before = {field["name"]: field for field in old["fields"]}
    for field in new["fields"]:
        known = [name for name in (field["name"], *field.get("aliases", ())) if name in before]
        if len(known) > 1:
            found.append(f"{field['name']}: {known} were separate fields and cannot become one")
        for name in known[:1]:
            was, now = _type(before[name]), _type(field)
            if was != now:
                found.append(f"{field['name']}: type changed from {was} to {now}")
    return found + _dropped_aliases(before, new)


def _dropped_aliases(before: Mapping[str, Any], new: Schema) -> list[str]:
    """Return the fields whose earlier names were given up, so that older files would lose them."""
    found = []
    for field in new["fields"]:
        earlier = before.get(field["name"], {}).get("aliases", ())
        if lost := sorted(set(earlier) - set(field.get("aliases", ()))):
            found.append(f"{field['name']}: aliases {lost} are gone; older files still need them")
        for alias in field.get("aliases", ()):
            older = before.get(alias, {}).get("aliases", ())
            if lost := sorted(set(older) - set(field.get("aliases", ()))):
                found.append(f"{field['name']}: aliases {lost} of {alias} must be kept")
    return found


def _step(old: Schema, new: Schema) -> list[str]:
    """Return renames that lack an alias: one field gone and a like one new, in one version.

    Avro would read the new field as null from every older file, without a word.
    """
    before = {field["name"]: field for field in old["fields"]}
    names = {n for f in new["fields"] for n in (f["name"], *f.get("aliases", ()))}
    gone = [field for name, field in before.items() if name not in names]
    added = [
        field
        for field in new["fields"]
        if not {field["name"], *field.get("aliases", ())} & before.keys()
    ]
    return [
        f"{lost['name']} is gone and {field['name']} is new with its type: a rename needs an "
        "alias; if it is none, do it in two versions"
        for lost in gone
        for field in added
        if _type(lost) == _type(field)
    ]


def _type(field: Mapping[str, Any]) -> str:
    return json.dumps(value_type(field["type"]), sort_keys=True)
