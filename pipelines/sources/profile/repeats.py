"""Which columns may together name a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipelines.sources.profile.disclosure import count
from pipelines.sources.profile.report import Key
from pipelines.sources.profile.tables import Rows


class KeyColumn(Protocol):
    """A column that may be part of a key."""

    name: str
    sql: str
    role: str
    is_full: bool


#: Roles whose columns together may name a record where no single column does.
_TOGETHER = (("patient", "time", "code"), ("patient", "time", "end", "code", "value", "dose"))


def keys(rows: Rows, columns: Sequence[KeyColumn], min_cell: int) -> Iterator[Key]:
    """Yield candidates of a key with the rows that repeat one, best first."""
    singles = [
        one for one in columns if one.role in ("id", "encounter", "code", "") and one.is_full
    ]
    for one in singles:
        distinct, total = rows.one(f"approx_count_distinct({one.sql}), count(*)")
        if distinct >= 0.8 * total:
            yield _key(rows, [one], min_cell)
    told: list[list[KeyColumn]] = []
    for roles in _TOGETHER:
        found = (_first(columns, role) for role in roles)
        some = [one for one in found if one is not None]
        if len(some) > 1 and some not in told:
            told.append(some)
            yield _key(rows, some, min_cell)
    if list(columns) not in told:
        yield _key(rows, columns, min_cell, name="all columns")


def _first(columns: Sequence[KeyColumn], role: str) -> KeyColumn | None:
    names = ("code", "concept") if role == "code" else (role,)
    return next((one for name in names for one in columns if one.role == name), None)


def _key(rows: Rows, some: Sequence[KeyColumn], min_cell: int, name: str | None = None) -> Key:
    by = ", ".join(one.sql for one in some)
    patient = rows.patient or "NULL"
    repeats, patients = rows.con.execute(
        f"SELECT coalesce(sum(n - 1), 0), count(DISTINCT p) FROM ("
        f"SELECT count(*) AS n, any_value({patient}) AS p FROM {rows.relation} GROUP BY {by} "
        "HAVING count(*) > 1)"
    ).fetchall()[0]
    empty = " OR ".join(f"{one.sql} IS NULL" for one in some)
    told = count(int(repeats), int(repeats) if rows.patient is None else patients, min_cell)
    names = (name,) if name else tuple(one.name for one in some)
    return Key(names, told, "" if name else rows.share(empty, min_cell))
