"""What a profile tells; every number and text in it has passed the rules of disclosure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.base.errors import DeliveryError


@dataclass(frozen=True)
class Column:
    """A column of a file or an element of a resource.

    Attributes:
        name: its name; `column 7` where the name may be a patient's.
        kind: what its texts look like: text, code, integer, decimal, yes/no, instant, day, ...
        filled: share of rows that have it: all, none, few, nearly all, or a percentage.
        role: what it seems to be for (patient, time, code, unit, value, ...); empty if unclear.
    """

    name: str
    kind: str
    filled: str
    role: str = ""


@dataclass(frozen=True)
class Times:
    """How the times of a column are written, and what they span.

    Attributes:
        name: the column.
        span: first and last month (else year, else decade) with enough patients; empty if none.
        forms: share by precision: instant with offset, instant without, day, month, year, other.
    """

    name: str
    span: tuple[str, str] | None
    forms: dict[str, str]


@dataclass(frozen=True)
class Count:
    """A value that may be told.

    Attributes:
        system: its code system; None in flat files.
        value: code, unit or word.
        label: its most frequent display text; None where that may not be told.
        n_rows: rows that hold it.
        n_patients: their patients; None where no patient is told.
        concepts: what studies call it; empty where no study names it.
        units: its units, most frequent first; None where none were looked for.
        has_more_units: whether further units are there.
    """

    system: str | None
    value: str
    label: str | None
    n_rows: int
    n_patients: int | None
    concepts: tuple[str, ...] = ()
    units: tuple[tuple[str, int], ...] | None = None
    has_more_units: bool = False


@dataclass(frozen=True)
class Codes:
    """The values of one column or element.

    Attributes:
        name: the column.
        is_coded: whether studies may name its values.
        known: share of rows whose code some study names; None where none can.
        values: those that may be told.
        has_more: whether others are there.
    """

    name: str
    is_coded: bool
    known: str | None
    values: tuple[Count, ...]
    has_more: bool
    systems: tuple[tuple[str, int], ...] = ()
    has_more_systems: bool = False


@dataclass(frozen=True)
class Key:
    """Columns that may together name a record, and how many rows repeat one.

    Attributes:
        columns: the columns.
        repeats: rows beyond the first of their key; None where fewer than the threshold.
        empty: share of rows in which a part is empty.
    """

    columns: tuple[str, ...]
    repeats: int | None
    empty: str


@dataclass(frozen=True)
class Table:
    """Files of one shape, or resources of one type.

    Attributes:
        name: what it is called here; never a file's name.
        kind: csv, parquet or fhir.
        n_files: number of files.
        n_rows: rows or resources; None where fewer than the threshold.
        n_patients: patients; None where fewer than the threshold or none are told.
        counts: whether counts are judged by `patients` or by `rows`.
        notes: what is odd.
    """

    name: str
    kind: str
    n_files: int | None
    n_rows: int | None
    n_patients: int | None
    counts: str
    columns: tuple[Column, ...] = ()
    times: tuple[Times, ...] = ()
    codes: tuple[Codes, ...] = ()
    keys: tuple[Key, ...] = ()
    notes: tuple[str, ...] = ()


class NoTableError(DeliveryError):
    """A file beside the data, such as a licence: neither a table nor resources."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, or was left out.

    Attributes:
        is_fault: whether it should have been readable.
    """

    where: str
    what: str
    remedy: str
    is_fault: bool = True

    @classmethod
    def of(cls, error: DeliveryError) -> Problem:
        """Return what an error tells."""
        return cls(
            error.where or "",
            error.what,
            error.remedy,
            is_fault=not isinstance(error, NoTableError),
        )


@dataclass(frozen=True)
class Profile:
    """What is in an extract.

    Attributes:
        n_files: files in it.
        min_cell: smallest count that is told.
        tables: by kind and size.
        problems: files that could not be read.
        mappings: suggested mapping per kind of source (`flat`, `fhir`), as TOML.
        studies: names of the studies whose codes count as known.
    """

    n_files: int
    min_cell: int
    tables: tuple[Table, ...]
    problems: tuple[Problem, ...]
    studies: tuple[str, ...]
    mappings: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return asdict(self)
