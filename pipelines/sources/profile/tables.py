"""Counts of values in DuckDB, with the patients behind each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pipelines.sources.profile.disclosure import (
    Shown,
    Tally,
    Value,
    count,
    disclose,
    is_wordlike,
    share,
)

#: More values than this are no list of codes; they are counted, never listed.
MOST_VALUES = 200_000


@dataclass(frozen=True)
class Rows:
    """A relation of rows and the patient of each.

    Attributes:
        con: its connection.
        relation: SQL of the relation, a name or a select in brackets.
        patient: SQL of the patient's identifier; None where none is told.
    """

    con: duckdb.DuckDBPyConnection
    relation: str
    patient: str | None

    @property
    def patients(self) -> str:
        """SQL that counts the patients of rows; rows that tell none count for nobody."""
        if self.patient is None:
            return "count(*)"
        return f"count(DISTINCT {self.patient})"

    def one(self, select: str, where: str = "true") -> tuple[int, ...]:
        """Return one row of aggregates."""
        query = f"SELECT {select} FROM {self.relation} WHERE {where}"
        return tuple(int(cell or 0) for cell in self.con.execute(query).fetchall()[0])

    def size(self, where: str = "true") -> tuple[int, int]:
        """Return rows and patients."""
        rows, patients = self.one(f"count(*), {self.patients}", where)
        return rows, patients

    def share(self, where: str, min_cell: int) -> str:
        """Return the share of rows that a condition holds for, as it may be told."""
        rows, patients = self.size(where)
        total = self.one("count(*)")[0]
        missing = self.size(f"NOT coalesce(({where}), false)")[1]
        return share(rows, patients, total, missing, min_cell)

    def told(self, where: str, min_cell: int) -> int | None:
        """Return the number of rows that a condition holds for, None where it is small."""
        return count(*self.size(where), min_cell)

    def within(self, where: str) -> Rows:
        """Return the rows that a condition holds for."""
        return Rows(self.con, f"(FROM {self.relation} WHERE {where})", self.patient)

    def tallies(self, parts: Sequence[str]) -> list[Tally] | None:
        """Return how often each value is there; None where there are too many.

        Args:
            parts: SQL of the value's parts; rows where all are null count as one value.
        """
        names = ", ".join(parts)
        query = (
            f"SELECT count(*), {self.patients}, {names} FROM {self.relation} "
            f"GROUP BY {names} LIMIT {MOST_VALUES + 1}"
        )
        found = self.con.execute(query).fetchall()
        if len(found) > MOST_VALUES:
            return None
        return [Tally(tuple(row[2:]), row[0], row[1]) for row in found]

    def disclose(
        self,
        parts: Sequence[str],
        min_cell: int,
        *,
        limit: int | None = None,
        wanted: Callable[[Value], bool] = lambda _: False,
        may_tell: Callable[[Value], bool] = is_wordlike,
    ) -> Shown:
        """Return the values that may be told; none where there are too many to be codes."""
        tallies = self.tallies(parts)
        if tallies is None:
            return Shown((), has_more=True)
        return disclose(
            tallies,
            min_cell,
            lambda some: self._together(parts, some),
            limit=limit,
            wanted=wanted,
            may_tell=may_tell,
        )

    def _together(self, parts: Sequence[str], values: Sequence[Value]) -> int:
        """Return the number of patients (rows where none is told) of several values together."""
        names = [f"p{n}" for n in range(len(parts))]
        some = pa.table(
            {
                name: pa.array(cells, pa.string())
                for name, cells in zip(names, zip(*values, strict=True), strict=True)
            }
        )
        self.con.register("some_values", some)
        match = " AND ".join(
            f"some_values.{name} IS NOT DISTINCT FROM {part}"
            for name, part in zip(names, parts, strict=True)
        )
        try:
            return self.size(f"EXISTS (FROM some_values WHERE {match})")[1]
        finally:
            self.con.unregister("some_values")
