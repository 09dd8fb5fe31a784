"""What is in CSV and Parquet files of one layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.base.duck import literal
from pipelines.base.errors import DeliveryError
from pipelines.sources.flat.model import FileRule
from pipelines.sources.flat.reader import load, open_flat
from pipelines.sources.profile import coded, times
from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.disclosure import count
from pipelines.sources.profile.names import is_private, patient_rank, role_of, shown_names
from pipelines.sources.profile.repeats import keys
from pipelines.sources.profile.report import Codes, Column, Problem, Table
from pipelines.sources.profile.sniff import Sniffed
from pipelines.sources.profile.tables import Rows

#: Roles whose words are told; words of other columns only where they are few and short.
_WORDS = frozenset(
    {"unit", "dose_unit", "rate_unit", "status", "category", "sex", "route", "system"}
)
_CODES = frozenset({"code", "concept"})
_FEW, _SHORT = 50, 30
#: Roles whose first and last time are a patient's own.
_BORN = frozenset({"birth", "died"})
#: Code systems by what a column is called, then by how its codes are written.
_NAMED = (
    ("loinc", "loinc"), ("rxnorm|rxcui", "rxnorm"), ("snomed", "snomed"), ("atc", "atc"),
    ("icd_?10_?gm", "icd10gm"), ("icd_?(10)?_?cm|icd", "icd10cm"), ("hcpcs", "hcpcs"),
    ("ndc", "ndc"), ("meddra", "meddra"),
)  # fmt: skip
_WRITTEN = ((r"\d{1,7}-\d", "loinc"), (r"[A-Z]\d{2}[A-Z]{2}\d{2}", "atc"))


@dataclass
class FlatColumn:
    """A column as it was found.

    Attributes:
        header: its name in the file.
        name: what it is called here.
        sql: its SQL name.
        kind: what its texts look like.
        role: what it seems to be for; empty if unclear.
        decimal: decimal sign of its numbers.
        has_offset, pattern: of times: whether most tell an offset; how they are written where
            that is not ISO (a strptime pattern).
        is_wordlike: whether its values are few and short.
        token: its code system, as studies call it; None where unclear.
    """

    header: str
    name: str
    sql: str
    kind: str = "empty"
    role: str = ""
    decimal: str = "."
    has_offset: bool = False
    pattern: str = ""
    is_wordlike: bool = False
    is_full: bool = False
    token: str | None = None


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
        _assign_roles(columns)
    patient = next((one for one in columns if one.role == "patient"), None)
    rows = Rows(asked.con, table, patient.sql if patient else None)
    for one in columns:
        _look(rows, one, believed=believed)
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
            times.describe(rows, one.name, one.sql, min_cell, with_span=one.role not in _BORN)
            for one in dates
        ),
        codes=tuple(_all_codes(rows, columns, asked)),
        keys=tuple(keys(rows, columns, min_cell)),
    )


def _assign_roles(columns: list[FlatColumn]) -> None:
    """Give each column its role by name; one alone is the patient's."""
    for one in columns:
        one.role = role_of(one.header)
    some = [one for one in columns if one.role == "patient"]
    best = min(some, key=lambda one: patient_rank(one.header), default=None)
    for one in some:
        one.role = "patient" if one is best else "id"


def _look(rows: Rows, one: FlatColumn, *, believed: bool) -> None:
    """Judge a column by its texts."""
    c = one.sql
    is_integer = f"regexp_full_match({c}, '[+-]?[0-9]{{1,18}}')"
    number = f"regexp_full_match({c}, '[<>=~ ]*[+-]?[0-9]*[.{{0}}]?[0-9]+([eE][+-]?[0-9]+)?')"
    tests = [
        "count(*)", f"count({c})", f"count_if({is_integer})",
        f"count_if({number.replace('{0}', '')})", f"count_if({number.replace('[.{0}]', '[,]')})",
        f"count_if({times.is_time(c)})", f"approx_count_distinct({c})", f"max(length({c}))",
        f"count_if(lower({c}) IN ('true', 'false', 't', 'f', 'yes', 'no', 'y', 'n', 'j'))",
    ]  # fmt: skip
    total, filled, integers, decimals, commas, dates, distinct, longest, truths = rows.one(
        ", ".join(tests)
    )
    one.is_full = 0 < total == filled
    if not filled:
        return
    enough = 0.95 * filled
    if dates >= enough:
        one.kind = "time"
        one.has_offset, one.pattern = times.writing(rows, c, filled)
    elif integers >= enough:
        one.kind = "integer"
    elif max(decimals, commas) >= enough:
        one.kind, one.decimal = "decimal", "." if decimals >= commas else ","
    elif truths >= enough and distinct <= 4:
        one.kind = "yes/no"
    else:
        one.kind = "text"
    one.is_wordlike = distinct <= _FEW and longest <= _SHORT
    if believed and one.kind == "time" and one.role not in (*_BORN, "end"):
        one.role = "time"
    if one.role in _CODES:
        one.token = _token(rows, one, filled)


def _token(rows: Rows, one: FlatColumn, filled: int) -> str | None:
    """Return the code system of a column by its name, else by how its codes are written."""
    for pattern, token in _NAMED:
        if re.search(f"(^|_|[a-z])({pattern})(_|$|code)", one.header.lower()):
            return token
    for pattern, token in _WRITTEN:
        if rows.one(f"count_if(regexp_full_match({one.sql}, '{pattern}'))")[0] >= 0.8 * filled:
            return token
    return None


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
        if is_private(one.header) or not _is_tellable(one, rows):
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
            is_coded=one.role in _CODES,
        )
        shown = coded.codes(rows, values, asked.known, asked.min_cell, asked.top)
        if shown.values or shown.is_coded:
            found.append(shown)
    return found


def main_code(columns: Sequence[FlatColumn]) -> FlatColumn | None:
    """Return the column that says what a row is about: of a known code system, if any is."""
    some = [one for one in columns if one.role in _CODES and not is_private(one.header)]
    order = {"code": 0, "concept": 1}
    return min(
        some,
        key=lambda one: (one.token is None, order[one.role], not one.is_full),
        default=None,
    )


def _is_tellable(one: FlatColumn, rows: Rows) -> bool:
    if one.kind in ("empty", "time", "decimal"):
        return False
    if one.role in _CODES:
        return True
    if one.kind == "integer":
        return False
    if one.role in _WORDS:
        return True
    return one.role in ("", "label") and one.is_wordlike and rows.patient is not None


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
        if one.role in _CODES and one.kind == "decimal"
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
