"""Checks of `[file.fields]`: each field known, each rule fit for its kind."""

from __future__ import annotations

from collections.abc import Iterator

import schemas
from pipelines.base import zones
from pipelines.sources.rows import probe
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import FieldRule, RowRule
from pipelines.sources.rows.targets import VOCABULARY, tellable

At = tuple[str | int, ...]
Mistakes = Iterator[Mistake]
_TIMES = frozenset({"TIMESTAMP", "DATE"})
_NUMBERS = frozenset({"DOUBLE", "INTEGER", "BIGINT"})
#: Lists are of texts: ids of patients, one a line.
_TEXTS = frozenset({"VARCHAR", "VARCHAR[]"})


def placed_rules(file: RowRule, at: At) -> Iterator[tuple[At, FieldRule]]:
    """Yield every field rule of a file with the key that holds it."""
    for name, rule in file.fields.items():
        yield (*at, "fields", name), rule
    for event_type in schemas.CLINICAL_TYPES:
        for name, rule in file.override(event_type).items():
            yield (*at, event_type, "fields", name), rule


def check_rules(file: RowRule, at: At) -> Mistakes:
    """Tell every mistake of a file's field rules."""
    types = [t for t in file.event_types if t in schemas.CLINICAL_TYPES]
    for name, rule in file.fields.items():
        place = (*at, "fields", name)
        having = [t for t in types if name in tellable(t)]
        if types and not having:
            yield _unknown(name, types, place)
        yield from _rule(rule, place)
        for event_type in having:
            if name not in file.override(event_type):
                yield from _for_type(rule, event_type, name, place)
    for event_type in schemas.CLINICAL_TYPES:
        for name, rule in file.override(event_type).items():
            place = (*at, event_type, "fields", name)
            yield from _rule(rule, place)
            if name not in tellable(event_type):
                yield _unknown(name, [event_type], place)
            else:
                yield from _for_type(rule, event_type, name, place)


def _unknown(name: str, types: list[str], at: At) -> Mistake:
    if name in schemas.ENVELOPE or name == "end_precision":
        cause = f"{name} is filled in by Dripwatch."
        return Mistake(at, cause, "Delete it; key, patient and version have their own tables.")
    known = {field for event_type in types for field in tellable(event_type)}
    return Mistake(at, f"{' and '.join(types)} have no such field.", closest(name, known))


def _rule(rule: FieldRule, at: At) -> Mistakes:
    ways = [w for w in ("column", "columns", "constant") if getattr(rule, w) is not None]
    if len(ways) != 1:
        yield Mistake(at, f"{len(ways)} origins.", "Give one of column, columns, constant.")
    if rule.columns is not None and not rule.columns:
        yield Mistake(at, "no columns.", "Name at least one.")
    if rule.constant is not None:
        extra = [w for w in ("values", "default", "if_missing") if getattr(rule, w) is not None]
        for name in extra:
            yield Mistake(at, f"{name} has no meaning beside constant.", "Delete one of the two.")
    if rule.default is not None and rule.values is None:
        remedy = "Add `values`, or use if_missing for empty cells."
        yield Mistake(at, "default without values replaces every text.", remedy)
    if rule.zone is not None and rule.zone not in zones.known_zones():
        yield Mistake(at, "not an IANA time zone.", closest(rule.zone, zones.known_zones()))
    if rule.format is not None:
        yield from check_format(rule.format, at)
    if rule.decimal and rule.decimal == rule.thousands:
        yield Mistake(at, "decimal and thousands are one sign.", "Change or delete one.")


def check_format(pattern: str, at: At) -> Mistakes:
    """Tell of a format of times that cannot work."""
    if not probe.is_format(pattern):
        remedy = "Write iso, or a strptime pattern such as %d.%m.%Y %H:%M:%S."
        yield Mistake(at, "not a format of times.", remedy)
    elif "%Z" in pattern:
        remedy = "Leave it out of the file, or write offsets (%z); set `zone` otherwise."
        yield Mistake(at, "names of zones (%Z) are not unique.", remedy)


def _for_type(rule: FieldRule, event_type: str, name: str, at: At) -> Mistakes:
    kind = tellable(event_type)[name]
    yield from _options(rule, kind, name, at)
    for text in told_texts(rule):
        if cause := _misfit(text, rule, kind):
            yield Mistake(at, cause, f"{event_type}.{name} is {_spoken(kind)}.")
    words = VOCABULARY.get((event_type, name))
    for text in told_texts(rule) if words else ():
        if words and text and text not in words:
            yield Mistake(at, f"{text!r} is not understood.", closest(text, words))


def _options(rule: FieldRule, kind: str, name: str, at: At) -> Mistakes:
    for option in ("format", "zone", "precision"):
        if getattr(rule, option) is not None and kind not in _TIMES:
            yield Mistake(at, f"{option} is for times.", f"Delete it: {name} is {_spoken(kind)}.")
    for option in ("decimal", "thousands"):
        if getattr(rule, option) is not None and kind not in _NUMBERS:
            yield Mistake(at, f"{option} is for numbers.", f"Delete it: {name} is {_spoken(kind)}.")
    if rule.precision not in (None, "auto", "instant") and "%z" in (rule.format or ""):
        remedy = "Leave out precision; an offset names an instant."
        yield Mistake(at, "an offset (%z) with a coarser precision.", remedy)


def told_texts(rule: FieldRule) -> list[str]:
    """Return every text that a rule itself puts into a field."""
    texts = [rule.constant, rule.default, rule.if_missing, *(rule.values or {}).values()]
    return list(dict.fromkeys(text for text in texts if text is not None))


def _misfit(text: str, rule: FieldRule, kind: str) -> str | None:
    if not text or kind in _TEXTS:
        return None
    if kind in _TIMES:
        fits = probe.is_time(text, rule.format or "iso")
    elif kind in _NUMBERS:
        fits = probe.is_number(text, rule.decimal or ".", rule.thousands)
    else:
        fits = probe.is_boolean(text)
    return None if fits else f"{text!r} does not fit."


def _spoken(kind: str) -> str:
    if kind in _TIMES:
        return "a time"
    if kind in _TEXTS:
        return "a text"
    return "true or false" if kind == "BOOLEAN" else "a number"
