"""SQL expressions that read times, numbers and words out of text; null where the text is none."""

from __future__ import annotations

from pipelines.base.duck import literal, quote
from pipelines.sources.rows.model import Condition, FieldRule

_INSTANT = (
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?"
    r" ?(Z|z|[+-](0\d|1[0-4])(:?[0-5]\d)?)?"
)
_DAY = r"\d{4}-\d{2}-\d{2}"
_COMPARATORS = "('<', '>', '≤', '≥')"


def cell(column: str, nulls: list[str]) -> str:
    """Return a trimmed cell as text; null where nothing or a null text is left."""
    text = f"nullif(CAST({column} AS VARCHAR), '')"
    if not nulls:
        return text
    listed = ", ".join(literal(null) for null in nulls)
    return f"CASE WHEN {text} NOT IN ({listed}) THEN {text} END"


def told(rule: FieldRule, column: dict[str, str]) -> str:
    """Return the text that a rule tells of a field.

    Args:
        rule: a checked field rule.
        column: SQL name of each column of the file.
    """
    if rule.constant is not None:
        return f"nullif({literal(rule.constant)}, '')"
    if rule.columns is not None:
        joined = ", ".join(column[name] for name in rule.columns)
        source = f"nullif(concat_ws(' ', {joined}), '')"
    else:
        source = column[rule.column or ""]
    text = mapped(source, rule.values, rule.default) if rule.values is not None else source
    if rule.if_missing is not None:
        # of the cell, not of the result: a text that stands for nothing stays nothing
        text = f"CASE WHEN {source} IS NULL THEN {literal(rule.if_missing)} ELSE {text} END"
    return text


def mapped(source: str, values: dict[str, str], default: str | None) -> str:
    """Return what a text stands for; others stay, or become the default."""
    if not values:
        return (
            source
            if default is None
            else f"CASE WHEN {source} IS NOT NULL THEN {literal(default)} END"
        )
    arms = " ".join(
        f"WHEN {literal(told)} THEN nullif({literal(meant)}, '')" for told, meant in values.items()
    )
    other = source if default is None else f"nullif({literal(default)}, '')"
    return f"CASE WHEN {source} IS NULL THEN NULL ELSE CASE {source} {arms} ELSE {other} END END"


def holds(condition: Condition, column: dict[str, str]) -> str:
    """Return a condition as a boolean that is never null."""
    text = column[condition.column]
    if condition.is_null:
        return f"({text} IS NULL)"
    if condition.not_null:
        return f"({text} IS NOT NULL)"
    if condition.matches is not None:
        return f"coalesce(regexp_full_match({text}, {literal(condition.matches)}), false)"
    if condition.equals is not None:
        return f"coalesce({text} = {literal(condition.equals)}, false)"
    listed = condition.in_ if condition.in_ is not None else condition.not_in or []
    texts = ", ".join(literal(item) for item in listed) or "NULL"
    inside = f"coalesce({text} IN ({texts}), false)"
    return inside if condition.in_ is not None else f"(NOT {inside})"


def time_kind(text: str, pattern: str, precision: str) -> str:
    """Return how exact a time is: instant, day, month, year; null where the text is no time."""
    if pattern != "iso":
        kind = literal(_pattern_kind(pattern) if precision == "auto" else precision)
        return f"CASE WHEN {text} IS NOT NULL THEN {kind} END"
    written = (
        f"CASE WHEN regexp_full_match({text}, '{_INSTANT}') THEN 'instant'"
        f" WHEN regexp_full_match({text}, '{_DAY}') THEN 'day'"
        rf" WHEN regexp_full_match({text}, '\d{{4}}-\d{{2}}') THEN 'month'"
        rf" WHEN regexp_full_match({text}, '\d{{4}}') THEN 'year' END"
    )
    if precision == "auto":
        return written
    return f"CASE WHEN {written} IS NOT NULL THEN {literal(precision)} END"


def _pattern_kind(pattern: str) -> str:
    if any(sign in pattern for sign in ("%H", "%I", "%-H", "%-I", "%c", "%X")):
        return "instant"
    if any(sign in pattern for sign in ("%d", "%-d", "%j", "%-j", "%x")):
        return "day"
    return "month" if any(sign in pattern for sign in ("%m", "%-m", "%b", "%B")) else "year"


def offset_text(text: str, pattern: str) -> str:
    """Return the UTC offset as written (`Z`, `+02:00`), '' or null where there is none."""
    if pattern == "iso":
        # from the 17th character on: before it the signs stand between year, month and day
        return f"regexp_extract(substr({text}, 17), '(Z|z|[+-].*)$')"
    # strptime has applied it: what comes out is UTC
    return "'Z'" if "%z" in pattern else "NULL::VARCHAR"


def offset_minutes(offset: str) -> str:
    """Return minutes east of UTC of an offset as written; null where there is none."""
    digits = f"replace(substr({offset}, 2), ':', '')"
    minutes = (
        f"(TRY_CAST(left({digits}, 2) AS INTEGER) * 60 "
        f"+ coalesce(TRY_CAST(nullif(substr({digits}, 3), '') AS INTEGER), 0))"
    )
    return (
        f"CASE WHEN {offset} IS NULL OR {offset} = '' THEN NULL "
        f"WHEN lower({offset}) = 'z' THEN 0 "
        f"WHEN left({offset}, 1) = '-' THEN -{minutes} ELSE {minutes} END"
    )


def clock(text: str, pattern: str, kind: str, offset: str) -> str:
    """Return the clock time that a text shows, whatever its offset, as TIMESTAMP.

    Args:
        text: SQL of the text.
        pattern: how it is written.
        kind: SQL of how exact it is (`time_kind` with precision auto).
        offset: SQL of its offset (`offset_text`).
    """
    if pattern != "iso":
        # %z gives a TIMESTAMPTZ; sessions are in UTC, so the cast only drops the label
        return f"CAST(try_strptime({text}, {literal(pattern)}) AS TIMESTAMP)"
    shown = f"rtrim(left({text}, length({text}) - length({offset})))"
    return (
        f"CASE {kind} "
        f"WHEN 'instant' THEN TRY_CAST(replace({shown}, ',', '.') AS TIMESTAMP) "
        f"WHEN 'day' THEN TRY_CAST({text} AS TIMESTAMP) "
        f"WHEN 'month' THEN TRY_CAST({text} || '-01' AS TIMESTAMP) "
        f"WHEN 'year' THEN TRY_CAST({text} || '-01-01' AS TIMESTAMP) END"
    )


def local_time(text: str, pattern: str) -> str:
    """Return `clock` in one expression, for the odd single value."""
    kind = time_kind(text, pattern, "auto")
    return in_calendar(clock(text, pattern, kind, offset_text(text, pattern)))


def believed(changed: str, exported_us: int) -> str:
    """Return when a record was last changed, null where that is a day and more after the export.

    A version from the future would outrank every later correction, and every deletion, for ever.
    """
    limit = f"make_timestamp({exported_us + 86_400_000_000}::BIGINT)"
    return f"CASE WHEN {changed} <= {limit} THEN {changed} END"


def instant(text: str, zone: str, pattern: str = "iso") -> str:
    """Return the UTC instant that a text tells, whatever its offset; null where it is none.

    Args:
        text: SQL of the text.
        zone: SQL of the zone of texts without offset.
        pattern: how it is written.
    """
    # %z gives UTC already, see `clock`
    minutes = "0" if "%z" in pattern else offset_minutes(offset_text(text, pattern))
    told = f"CASE WHEN {time_kind(text, pattern, 'auto')} = 'instant' THEN {minutes} END"
    return in_calendar(utc(local_time(text, pattern), told, zone))


def in_calendar(time: str) -> str:
    """Return a time, or null outside the years 1 to 9999 that readers of Avro can hold."""
    return f"CASE WHEN isfinite({time}) AND year({time}) BETWEEN 1 AND 9999 THEN {time} END"


def any_number(text: str, decimal: str = ".", thousands: str | None = None) -> str:
    """Return a DOUBLE (infinite where too large), null where the text is no plain number."""
    point = "," if decimal == "," else r"\."
    pattern = rf"[+-]?(\d+({point}\d*)?|{point}\d+)([eE][+-]?\d+)?"
    digits = text
    if thousands is not None:
        gap = r"\." if thousands == "." else thousands
        pattern = rf"{pattern}|[+-]?\d{{1,3}}({gap}\d{{3}})+({point}\d+)?"
        digits = f"replace({digits}, {literal(thousands)}, '')"
    if decimal == ",":
        digits = f"replace({digits}, ',', '.')"
    return (
        f"CASE WHEN regexp_full_match({text}, {literal(pattern)}) "
        f"THEN TRY_CAST({digits} AS DOUBLE) END"
    )


def finite(number: str) -> str:
    """Return a number, null where it is none or has no end."""
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def whole(number: str, kind: str) -> str:
    """Return a number as INTEGER or BIGINT, null where it has a fraction or is too large."""
    return f"CASE WHEN {number} = floor({number}) THEN TRY_CAST({number} AS {kind}) END"


def comparator(text: str) -> str:
    """Return the FHIR comparator that a result starts with, null where there is none."""
    return (
        f"CASE WHEN left({text}, 1) IN {_COMPARATORS} THEN "
        f"replace(replace(regexp_extract({text}, '^(<=|>=|<|>|≤|≥)'), '≤', '<='), '≥', '>=') END"
    )


def without_comparator(text: str) -> str:
    """Return a result without the comparator that it starts with."""
    return (
        f"CASE WHEN left({text}, 1) IN {_COMPARATORS} "
        f"THEN regexp_replace({text}, '^(<=|>=|<|>|≤|≥) *', '') ELSE {text} END"
    )


def boolean(text: str) -> str:
    """Return a BOOLEAN, null where the text is no word for yes or no."""
    return (
        f"CASE WHEN lower({text}) IN ('true', 't', 'yes', 'y', '1') THEN true "
        f"WHEN lower({text}) IN ('false', 'f', 'no', 'n', '0') THEN false END"
    )


def hashed(parts: dict[str, str]) -> str:
    """Return the SHA-256 over named values; nulls are left out.

    Leaving nulls out keeps the hash of an old record when its type gains a field.

    Args:
        parts: SQL of each value's text, by field name.
    """
    told_parts = ", ".join(
        f"{literal(name + '=')} || strlen({text}) || ':' || {text} || ';'"
        for name, text in parts.items()
    )
    return f"sha256(concat({told_parts}))"


def as_text(name: str, kind: str) -> str:
    """Return a column as the text that is hashed: times as microseconds, numbers shortest."""
    if kind == "TIMESTAMP":
        return f"CAST(epoch_us({quote(name)}) AS VARCHAR)"
    return quote(name) if kind == "VARCHAR" else f"CAST({quote(name)} AS VARCHAR)"


def utc(local: str, minutes: str, zone: str) -> str:
    """Return the UTC instant of a clock time: by its own offset, else by the zone (fold 0)."""
    return (
        f"CASE WHEN {minutes} IS NOT NULL THEN {local} - to_minutes({minutes}) "
        f"ELSE local_to_utc({local}, {zone}, 0) END"
    )


def whole_text(text: str) -> str:
    """Return a version number as BIGINT, null where the text is no plain whole number."""
    return rf"CASE WHEN regexp_full_match({text}, '\d{{1,18}}') THEN TRY_CAST({text} AS BIGINT) END"
