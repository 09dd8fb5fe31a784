"""What the rule of a row must be beside well-typed: every name known, every word understood."""

from __future__ import annotations

from collections.abc import Iterator

import schemas
from pipelines.base import zones
from pipelines.sources.rows import check_fields, probe
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import OUT_OF_SCOPE, Condition, RowRule
from pipelines.sources.rows.targets import required, tellable

At = tuple[str | int, ...]
Mistakes = Iterator[Mistake]


def check_rule(rule: RowRule, at: At) -> Mistakes:
    """Tell every mistake of a rule, but for columns that its source does not have."""
    for part in (_events, _conditions, _record, _fields):
        yield from part(rule, at)


def check_zone(zone: str | None, at: At) -> Mistakes:
    """Tell of a zone that the pinned zone data do not know."""
    if zone is not None and zone not in zones.known_zones():
        yield Mistake(at, "not an IANA time zone.", closest(zone, zones.known_zones()))


def _events(rule: RowRule, at: At) -> Mistakes:
    known = (*schemas.CLINICAL_TYPES, OUT_OF_SCOPE)
    for number, case in enumerate(rule.event):
        if case.event not in known:
            yield Mistake(
                (*at, "event"), f"{case.event!r} is no event type.", closest(case.event, known)
            )
        if not case.when and number < len(rule.event) - 1:
            remedy = "Put the case without conditions last."
            yield Mistake((*at, "event"), "the cases after this one never count.", remedy)
    for name in schemas.CLINICAL_TYPES:
        if getattr(rule, name) is not None and name not in rule.event_types:
            remedy = "Delete its table, or add it to `event`."
            yield Mistake((*at, name, "fields"), "no row of this file becomes this event.", remedy)


def _conditions(rule: RowRule, at: At) -> Mistakes:
    for number, condition in enumerate(rule.where):
        yield from _condition(condition, (*at, "where", number))
    for number, case in enumerate(rule.event):
        for place, condition in enumerate(case.when):
            yield from _condition(condition, (*at, "event", number, "when", place))


def _condition(condition: Condition, at: At) -> Mistakes:
    operators = ("equals", "in_", "not_in", "is_null", "not_null", "matches")
    given = [name for name in operators if getattr(condition, name) is not None]
    if len(given) != 1:
        remedy = "Give exactly one of equals, in, not_in, is_null, not_null, matches."
        yield Mistake(at, f"{len(given)} operators.", remedy)
    if condition.matches is not None and not probe.is_pattern(condition.matches):
        remedy = "Mend it; RE2 knows no look-around and no back-references."
        yield Mistake((*at, "matches"), "not a regular expression.", remedy)


def used_columns(rule: RowRule, at: At) -> Iterator[tuple[str, At]]:
    """Yield every column that the rule of a file reads, and the key that names it."""
    for name in rule.key:
        yield name, (*at, "key")
    yield rule.patient.column, (*at, "patient", "column")
    for part in ("version", "last_updated", "operation"):
        if (other := getattr(rule, part)) is not None:
            yield other.column, (*at, part)
    for number, condition in enumerate(rule.where):
        yield condition.column, (*at, "where", number)
    for number, case in enumerate(rule.event):
        for condition in case.when:
            yield condition.column, (*at, "event", number)
    for place, field in check_fields.placed_rules(rule, at):
        for name in ([field.column] if field.column else []) + (field.columns or []):
            yield name, place


def _record(rule: RowRule, at: At) -> Mistakes:
    if len(set(rule.key)) < len(rule.key):
        yield Mistake((*at, "key"), "a column is named twice.", "Name each column once.")
    if rule.last_updated:
        place = (*at, "last_updated")
        yield from check_zone(rule.last_updated.zone, place)
        yield from check_fields.check_format(rule.last_updated.format, place)


def _fields(rule: RowRule, at: At) -> Mistakes:
    yield from check_fields.check_rules(rule, at)
    for event_type in rule.event_types:
        if event_type not in schemas.CLINICAL_TYPES:
            continue
        told = rule.rules(event_type)
        for name in required(event_type):
            if name not in told:
                remedy = f"Tell it in [file.fields]: {name} = {{ column = '...' }} or a constant."
                yield Mistake((*at, "fields"), f"{event_type} needs {name}.", remedy)
        if "unit" in tellable(event_type) and "value" in told and "unit" not in told:
            remedy = "Tell its column, or a constant where the file has one unit."
            yield Mistake((*at, "fields"), f"{event_type} has a value but no unit.", remedy)
