"""JSON text of many resources at once: expressions over the columns of their rows.

Members that are null are left out, for FHIR knows no null; nor does it know empty objects and
lists, so whoever builds one from columns that may all be null says when it is `given`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

#: A JSON number as a laboratory writes it.
NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"


def constant(value: str) -> pl.Expr:
    """Return a JSON string that every row has."""
    return pl.lit(json.dumps(value))


def text(column: str | pl.Expr) -> pl.Expr:
    """Return a text column as JSON strings; rows hold no control characters."""
    plain = pl.col(column) if isinstance(column, str) else column
    escaped = plain.str.replace_all("\\", r"\\", literal=True)
    return pl.concat_str(
        pl.lit('"'), escaped.str.replace_all('"', r"\"", literal=True), pl.lit('"')
    )


def number(column: str) -> pl.Expr:
    """Return a text column as JSON numbers, digit for digit; null where it holds none."""
    return pl.when(pl.col(column).str.contains(NUMBER)).then(pl.col(column))


def looked_up(column: str, names: Mapping[str, str]) -> pl.Expr:
    """Return JSON strings of a column's values under other names; null where there is none."""
    return text(pl.col(column).replace_strict(names, default=None, return_dtype=pl.String))


def obj(members: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return JSON objects of the members that are not null, in order."""
    named = [pl.concat_str(pl.lit(f"{json.dumps(name)}:"), one) for name, one in members.items()]
    body = pl.concat_str(named, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), body, pl.lit("}"))


def array(*items: pl.Expr) -> pl.Expr:
    """Return JSON lists of the items that are not null."""
    body = pl.concat_str(items, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("["), body, pl.lit("]"))


def given(column: str | pl.Expr, what: pl.Expr) -> pl.Expr:
    """Return an expression where a column is not null, else null."""
    told = pl.col(column) if isinstance(column, str) else column
    return pl.when(told.is_not_null()).then(what)
