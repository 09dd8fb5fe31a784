"""What is in CSV and Parquet files of one layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.base.duck import literal
from pipelines.base.errors import DeliveryError
from pipelines.sources.flat.model import FileRule
from pipelines.sources.flat.reader import load, open_flat
from pipelines.sources.profile import coded, times
from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.columns import (
    BORN,
    CODES,
    FlatColumn,
    assign_roles,
    is_tellable,
    look,
    main_code,
)
from pipelines.sources.profile.disclosure import count
from pipelines.sources.profile.names import is_private, shown_names
from pipelines.sources.profile.repeats import keys
from pipelines.sources.profile.report import Codes, Column, Problem, Table
from pipelines.sources.profile.sniff import Sniffed
from pipelines.sources.profile.tables import Rows


@dataclass
class FlatFound:
    """Files of one layout as they were found: what a mapping is suggested from."""

    files: list[Sniffed]
    columns: list[FlatColumn]
    table: Table

    def having(self, role: str) -> FlatColumn | None:
        """Return the first column of a role."""
        return next((one for one in self.columns if one.role == role), None)


def layout(file: Sniffed) -> tuple[object, ...]:
    """Return what files must share to be one table: how they are written, and their columns.

    Errors:
        DeliveryError: the file is damaged.
    """
    rule = _rule(file)
    header = open_flat(file.path, rule, file.where).header
    return (file.kind, rule.delimiter, rule.header, *header)


def _rule(file: Sniffed) -> FileRule:
    if file.rule is None:
        raise TypeError(file.kind)
    return file.rule


def _read(
    files: Sequence[Sniffed], table: str, asked: Asked
) -> tuple[list[str], list[Sniffed], int]:
    """Read files of one layout into a table of texts.

    Returns the header, the files that could be read, and the number of unreadable records.
    """
    header: list[str] = []
    done: list[Sniffed] = []
    unreadable = 0
    for one in files:
        try:
            file = open_flat(one.path, _rule(one), one.where)
            cells = ", ".join(
                f"nullif(trim(CAST(c{n} AS VARCHAR)), '') AS c{n}" for n in range(len(file.header))
            )
            into = f"INSERT INTO {table}" if done else f"CREATE TABLE {table} AS"
            found = load(asked.con, file, file.header, f"{into} SELECT {cells} FROM delivered")
        except DeliveryError as error:
            asked.problems.append(Problem.of(error))
            continue
        header = file.header
        done.append(one)
        unreadable += len(found.unreadable)
    return header, done, unreadable


def describe(files: Sequence[Sniffed], name: str, asked: Asked) -> FlatFound | None:
    """Return what files of one layout hold; None where none of them could be read."""
    table = '"' + name + '"'
    header, done, unreadable = _read(files, table, asked)
    if not done:
        return None
    believed = done[0].has_header
    names = shown_names(header, is_believed=believed)
    columns = [
        FlatColumn(text, shown, f"c{n}")
        for n, (text, shown) in enumerate(zip(header, names, strict=True))
    ]
    if believed:
        assign_roles(columns)
    patient = next((one for one in columns if one.role == "patient"), None)
    rows = Rows(asked.con, table, patient.sql if patient else None)
    for one in columns:
        look(rows, one, believed=believed)
    notes = _notes(rows, columns, unreadable, asked.min_cell, believed=believed)
    told = _table(rows, columns, name, done, asked)
    asked.con.execute(f"DROP TABLE {table}")
    return FlatFound(done, columns, replace(told, notes=tuple(notes)))


def _table(
    rows: Rows, columns: list[FlatColumn], name: str, files: Sequence[Sniffed], asked: Asked
) -> Table:
    size, patients = rows.size()
    min_cell = asked.min_cell
    told = Table(
        name,
        files[0].kind,
        len(files),
        count(size, patients, min_cell),
        (patients if patients >= min_cell else None) if rows.patient else None,
        "patients" if rows.patient else "rows",
        tuple(_column(rows, one, min_cell) for one in columns),
    )
    if told.n_rows is None:
        return told
    dates = [one for one in columns if one.kind == "time"]
    return replace(
        told,
        times=tuple(
            times.describe(rows, one.name, one.sql, min_cell, with_span=one.role not in BORN)
            for one in dates
        ),
        codes=tuple(_all_codes(rows, columns, asked)),
        keys=tuple(keys(rows, columns, min_cell)),
    )


def _column(rows: Rows, one: FlatColumn, min_cell: int) -> Column:
    filled = rows.share(f"{one.sql} IS NOT NULL", min_cell)
    kind = "not told" if filled == "few" else one.kind
    return Column(one.name, kind, filled, one.role)


def _all_codes(rows: Rows, columns: list[FlatColumn], asked: Asked) -> list[Codes]:
    """Return the values of every column whose values may be told; units stand by their code."""
    by_role = {one.role: one for one in reversed(columns) if not is_private(one.header)}
    main = main_code(columns)
    unit = by_role.get("unit") or by_role.get("dose_unit")
    label, system = by_role.get("label"), by_role.get("system")
    found = []
    for one in columns:
        if is_private(one.header) or not is_tellable(one, rows):
            continue
        if one is label and main is not None:
            continue
        # a unit's own counts beside those by code would give away small cells by subtraction
        if one is unit and main is not None:
            continue
        is_main = one is main
        values = coded.Values(
            one.name,
            one.sql,
            system=system.sql if system and is_main else None,
            token=one.token,
            label=label.sql if label and is_main else None,
            unit=unit.sql if unit and is_main else None,
            is_coded=one.role in CODES,
        )
        shown = coded.codes(rows, values, asked.known, asked.min_cell, asked.top)
        if shown.values or shown.is_coded:
            found.append(shown)
    return found


def _notes(
    rows: Rows, columns: list[FlatColumn], unreadable: int, min_cell: int, *, believed: bool
) -> list[str]:
    notes = []
    if not believed:
        notes.append(
            "no header? The first record looks like data, or names a column twice: "
            "columns are numbered and no value is shown."
        )
    elif rows.patient is None:
        notes.append("no column looks like a patient's identifier: counts are of rows.")
    notes += [
        f"{one.name} is of codes, but written as decimals; they are not told."
        for one in columns
        if one.role in CODES and one.kind == "decimal"
    ]
    if unreadable:
        told = f"{unreadable:,}" if unreadable >= min_cell else f"fewer than {min_cell}"
        notes.append(f"records that cannot be read: {told}.")
    same = " AND ".join(
        f"{one.sql} IS NOT DISTINCT FROM {literal(one.header.strip())}" for one in columns
    )
    if believed and rows.one("count(*)", same)[0]:
        notes.append("the header stands again among the records.")
    return notes
