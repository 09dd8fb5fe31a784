"""The values of one column: which may be told, what studies call them, in which units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pipelines.base.duck import literal
from pipelines.sources.profile.disclosure import Tally, Value, is_wordlike
from pipelines.sources.profile.known import Known
from pipelines.sources.profile.report import Codes, Count
from pipelines.sources.profile.tables import Rows

#: Values whose label and units are looked up, units listed for each, longest label.
_LOOKED_UP = 40
_UNITS = 4
_LABEL = 80
#: Longest address of a code system.
_ADDRESS = 200


@dataclass(frozen=True)
class Values:
    """What to tell of a column.

    Attributes:
        name: what it is called.
        code: SQL of the value.
        system: SQL of its code system; None where rows do not tell it.
        token: code system of all its values, as studies call it; None where it is not known.
        label, unit: SQL of the display text and of the unit beside it.
        is_coded: whether studies may name its values.
    """

    name: str
    code: str
    system: str | None = None
    token: str | None = None
    label: str | None = None
    unit: str | None = None
    is_coded: bool = False


def codes(rows: Rows, ask: Values, known: Known, min_cell: int, limit: int) -> Codes:
    """Return the values of a column that may be told.

    Args:
        rows: all rows, those without a value included.
        ask: the column.
        known: codes that studies name; told beyond the limit where they are there.
        min_cell: smallest count that is told.
        limit: how many values are told per code system.
    """
    systems: tuple[tuple[str, int], ...] = ()
    parts: list[tuple[str | None, Rows]] = [(None, rows)]
    more_systems = False
    if ask.system is not None:
        told = rows.disclose([ask.system], min_cell, may_tell=_is_printable)
        systems = tuple((str(one.value[0]), one.n_rows) for one in told.values)
        more_systems = told.has_more
        parts = [(name, rows.within(f"{ask.system} = {literal(name)}")) for name, _ in systems]
    values: list[Count] = []
    has_more = False
    for name, part in parts:
        token = name or ask.token
        named = partial(_concepts, known if ask.is_coded else None, token)
        shown = part.disclose([ask.code], min_cell, limit=limit, wanted=partial(_is_named, named))
        has_more |= shown.has_more
        for one in shown.values:
            code = str(one.value[0])
            value = Count(name, code, None, one.n_rows, _patients(rows, one), named(code))
            same = part.within(f"{ask.code} = {literal(code)}")
            values.append(_beside(same, ask, value, len(values), min_cell))
    share = _known_share(rows, ask, known, [name for name, _ in systems], min_cell)
    return Codes(ask.name, ask.is_coded, share, tuple(values), has_more, systems, more_systems)


def _is_printable(value: Value) -> bool:
    return value[0] is None or (len(value[0]) <= _ADDRESS and value[0].isprintable())


def _is_named(concepts: Callable[[str | None], tuple[str, ...]], value: Value) -> bool:
    return bool(concepts(value[0]))


def _concepts(known: Known | None, token: str | None, code: str | None) -> tuple[str, ...]:
    if known is None or token is None or code is None:
        return ()
    return known.concepts(token, code)


def _patients(rows: Rows, one: Tally) -> int | None:
    return None if rows.patient is None else one.n_patients


def _beside(same: Rows, ask: Values, value: Count, place: int, min_cell: int) -> Count:
    """Add the label and the units of the rows of one code."""
    if place >= _LOOKED_UP and not value.concepts:
        return value
    if ask.label is not None and (tallies := same.tallies([ask.label])):
        named = [one for one in tallies if one.value[0] and is_wordlike(one.value, _LABEL)]
        best = max(named, key=lambda one: one.n_rows, default=None)
        if best is not None and best.reaches(min_cell):
            value = replace(value, label=best.value[0])
    if ask.unit is not None:
        shown = same.disclose([ask.unit], min_cell, limit=_UNITS)
        units = tuple((str(one.value[0]), one.n_rows) for one in shown.values)
        value = replace(value, units=units, has_more_units=shown.has_more)
    return value


def _known_share(
    rows: Rows, ask: Values, known: Known, systems: list[str], min_cell: int
) -> str | None:
    """Return the share of filled rows whose code some study names; None where none can."""
    if not ask.is_coded:
        return None
    if ask.system is None:
        condition = known.sql(ask.token, ask.code) if ask.token else None
    else:
        found = [(name, known.sql(name, ask.code)) for name in systems]
        condition = " OR ".join(
            f"({ask.system} = {literal(name)} AND ({test}))" for name, test in found if test
        )
    if not condition:
        return None
    return rows.within(f"{ask.code} IS NOT NULL").share(condition, min_cell)
