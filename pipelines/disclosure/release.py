"""What has been told of a study at a site: the state that the next release goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.disclosure.rule import Row, is_small

#: Why a row is null: it holds a small count, or would give away one that does. Not told which: that
#: would narrow down the count.
SMALL = "small_count"
#: Why `n_patients` alone is null.
PATIENTS = "n_patients"
#: Why a row of all units is null: it has 1 to threshold - 1 events. That much may be known of it.
FEW = "few_events"
#: Why a figure is null that was made from counts which are.
DERIVED = "derived"


@dataclass(frozen=True, order=True)
class Column:
    """What is counted: an outcome in a window, among the units of a denominator."""

    outcome: str
    window_name: str
    denominator: str

    def __str__(self) -> str:
        return f"{self.outcome}/{self.window_name}/{self.denominator}"


CROSSED = " x "
ALL = "all"

Rows = Mapping[Column, Row]
#: Stratum and value.
Place = tuple[str, str]
#: Column, stratum and value.
Where = tuple["Column", str, str]
#: By two columns, stratum and value: what lies between them, see `between`.
Apart = Mapping[tuple[Column, Column, str, str], Sequence[int]]
#: Rows of a stratum by its value.
Values = Mapping[str, Row]
#: What a number is of: texts, and bins.
Label = tuple[str | int, ...]


@dataclass(frozen=True)
class StudyCounts:
    """The counts of one study at one site.

    Attributes:
        whole: rows of all units.
        strata: by stratum, column and value.
        order: columns, those first that matter most: they win where two can't be told.
        nested: see `nested_counts`.
    """

    whole: Rows
    strata: Mapping[str, Mapping[Column, Values]]
    order: Sequence[Column]
    nested: frozenset[frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Division:
    """A stratum as it is told.

    Attributes:
        merged: values that are told only together, with those of unknown value; none of them alone.
        rows: of each column that is told, the rows of the other values.
        rest: of each of these columns, what is left for the merged values.
    """

    merged: frozenset[str] = frozenset()
    rows: Mapping[Column, Values] = field(default_factory=dict)
    rest: Mapping[Column, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """What is told of one study.

    Attributes:
        threshold: counts below it are not told.
        whole: rows of the stratum `all`.
        divisions: of each stratum that is told.
        statuses: what became of units, by outcome and window, of the stratum `all`.
        other: rows of the other count tables: by table, then by key.
        few: columns of which the row of all units is left out for its few events alone. That they
            have from 1 to threshold - 1 of them is told: those who pool need a bound. With their
            units, where a told column has the same; else None.
        apart: what was last known between two columns of which only one has moved since.
        patients: what was told last of rows that leave out their number of patients now.
        known: of the other tables, by name and label, what could be known beside what is told: see
            `known`.
    """

    threshold: int
    whole: Mapping[Column, Row] = field(default_factory=dict)
    divisions: Mapping[str, Division] = field(default_factory=dict)
    statuses: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    other: Mapping[str, Mapping[tuple[Any, ...], Row]] = field(default_factory=dict)
    few: Mapping[Column, int | None] = field(default_factory=dict)
    apart: Apart = field(default_factory=dict)
    patients: Mapping[Where, int] = field(default_factory=dict)
    known: Mapping[str, Mapping[Label, Sequence[int]]] = field(default_factory=dict)

    def may_tell_patients(self, row: Row, where: Where, threshold: int) -> bool:
        """Whether a row tells no patients that changed by little while they were left out."""
        n, was = row["n_patients"], self.patients.get(where)
        return n is None or was is None or not is_small(n - was, threshold)

    def row(self, column: Column, stratum: str, value: str) -> Row | None:
        """Return the row that is told; None where none is."""
        if stratum == "all":
            return self.whole.get(column)
        division = self.divisions.get(stratum)
        return None if division is None else division.rows.get(column, {}).get(value)

    def why_not(self, column: Column, stratum: str) -> str:
        """Return why a row is not told."""
        return FEW if stratum == "all" and column in self.few else SMALL

    def to_json(self) -> str:
        """Return the release as text that `from_json` reads."""
        told = {
            "threshold": self.threshold,
            "whole": [[*_key(c), dict(row)] for c, row in sorted(self.whole.items())],
            "divisions": {name: _division(one) for name, one in sorted(self.divisions.items())},
            "statuses": [[*key, dict(row)] for key, row in sorted(self.statuses.items())],
            "other": {
                name: [[list(key), dict(row)] for key, row in sorted(rows.items())]
                for name, rows in sorted(self.other.items())
            },
            "apart": [
                [_key(a), _key(b), *place, was]
                for (a, b, *place), was in sorted(self.apart.items())
            ],
            "patients": [[_key(c), *place, n] for (c, *place), n in sorted(self.patients.items())],
            "known": {
                name: [
                    [list(label), list(values)] for label, values in sorted(rows.items(), key=repr)
                ]
                for name, rows in sorted(self.known.items())
            },
        }
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Release:
        """Return a release from the text of `to_json`."""
        told = json.loads(text)
        return cls(
            told["threshold"],
            {Column(*key): row for *key, row in told["whole"]},
            {
                name: Division(
                    frozenset(one["merged"]),
                    {Column(*key): rows for *key, rows in one["rows"]},
                    {Column(*key): row for *key, row in one["rest"]},
                )
                for name, one in told["divisions"].items()
            },
            {(o, w): row for o, w, row in told["statuses"]},
            {name: {tuple(key): row for key, row in rows} for name, rows in told["other"].items()},
            apart={
                (Column(*a), Column(*b), stratum, value): was
                for a, b, stratum, value, was in told.get("apart", ())
            },
            patients={
                (Column(*c), stratum, value): n for c, stratum, value, n in told.get("patients", ())
            },
            known={
                name: {tuple(label): tuple(values) for label, values in rows}
                for name, rows in told.get("known", {}).items()
            },
        )


def _key(column: Column) -> tuple[str, str, str]:
    return column.outcome, column.window_name, column.denominator


def _division(one: Division) -> dict[str, Any]:
    return {
        "merged": sorted(one.merged),
        "rows": [
            [*_key(c), {value: dict(row) for value, row in sorted(rows.items())}]
            for c, rows in sorted(one.rows.items())
        ],
        "rest": [[*_key(c), dict(row)] for c, row in sorted(one.rest.items())],
    }
