"""Columns of flat files: what they look like, and what they seem to be for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.sources.profile import times
from pipelines.sources.profile.names import is_private, patient_rank, role_of
from pipelines.sources.profile.tables import Rows

#: Roles whose words are told; words of other columns only where they are few and short.
_WORDS = frozenset(
    {"unit", "dose_unit", "rate_unit", "status", "category", "sex", "route", "system"}
)
#: Roles of columns whose values studies may name.
CODES = frozenset({"code", "concept"})
_FEW, _SHORT = 50, 30
#: Roles whose first and last time are a patient's own.
BORN = frozenset({"birth", "died"})
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


def assign_roles(columns: list[FlatColumn]) -> None:
    """Give each column its role by name; one alone is the patient's."""
    for one in columns:
        one.role = role_of(one.header)
    some = [one for one in columns if one.role == "patient"]
    best = min(some, key=lambda one: patient_rank(one.header), default=None)
    for one in some:
        one.role = "patient" if one is best else "id"


def look(rows: Rows, one: FlatColumn, *, believed: bool) -> None:
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
    if believed and one.kind == "time" and one.role not in (*BORN, "end"):
        one.role = "time"
    if one.role in CODES:
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


def main_code(columns: Sequence[FlatColumn]) -> FlatColumn | None:
    """Return the column that says what a row is about: of a known code system, if any is."""
    some = [one for one in columns if one.role in CODES and not is_private(one.header)]
    order = {"code": 0, "concept": 1}
    return min(
        some,
        key=lambda one: (one.token is None, order[one.role], not one.is_full),
        default=None,
    )


def is_tellable(one: FlatColumn, rows: Rows) -> bool:
    """Whether values of a column may be told where enough patients share them."""
    if one.kind in ("empty", "time", "decimal"):
        return False
    if one.role in CODES:
        return True
    if one.kind == "integer":
        return False
    if one.role in _WORDS:
        return True
    return one.role in ("", "label") and one.is_wordlike and rows.patient is not None
