"""Asking DuckDB whether it takes a pattern, before any row meets it."""

from __future__ import annotations

from functools import cache

import duckdb

from pipelines.base import duck
from pipelines.sources.rows import sql


def _ask(query: str, *parameters: str) -> object:
    con = duck.connect(threads=1)
    try:
        row = con.execute(query, list(parameters)).fetchone()
    except duckdb.Error:
        return None
    finally:
        con.close()
    return row[0] if row else None


@cache
def is_pattern(pattern: str) -> bool:
    """Whether RE2 takes the regular expression."""
    return _ask(f"SELECT regexp_full_match('', {duck.literal(pattern)}) IS NOT NULL") is True


@cache
def is_format(pattern: str) -> bool:
    """Whether strptime takes the pattern."""
    return pattern == "iso" or (
        "%" in pattern and _ask(f"SELECT try_strptime('', {duck.literal(pattern)}) IS NULL") is True
    )


@cache
def is_time(text: str, pattern: str) -> bool:
    """Whether a text is a time as the pattern writes it."""
    local = sql.local_time("t", pattern)
    return _ask(f"SELECT {local} IS NOT NULL FROM (SELECT $1::VARCHAR AS t)", text) is True


@cache
def is_number(text: str, decimal: str, thousands: str | None) -> bool:
    """Whether a text is a number as its rule writes numbers."""
    number = sql.finite(sql.any_number("t", decimal, thousands))
    return _ask(f"SELECT {number} IS NOT NULL FROM (SELECT $1::VARCHAR AS t)", text) is True


@cache
def is_boolean(text: str) -> bool:
    """Whether a text is one of the words for yes and no."""
    query = f"SELECT {sql.boolean('t')} IS NOT NULL FROM (SELECT $1::VARCHAR AS t)"
    return _ask(query, text) is True
