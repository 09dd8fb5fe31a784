"""How times are written, and which span they cover, without the time of any patient."""

from __future__ import annotations

from pipelines.sources.profile.report import Times
from pipelines.sources.profile.tables import Rows

_DATE = r"[12]\d{3}-\d{2}-\d{2}"
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?"
_OFFSET = r" ?(Z|UTC|[+-]\d{2}:?\d{2}|[+-]\d{2})"
_OTHER_DATE = r"(\d{1,2}[./-]\d{1,2}[./-]([12]\d)?\d{2}|[12]\d{3}/\d{1,2}/\d{1,2})"
_NAMED_DATE = r"\d{1,2}[- ]?[A-Za-z]{3}[- ]?[12]\d{3}"

#: What a text may be, by how it is written: the first expression that the whole of it matches.
FORMS: tuple[tuple[str, str], ...] = (
    ("instant with offset", rf"{_DATE}[T ]{_CLOCK}{_OFFSET}"),
    ("instant", rf"{_DATE}[T ]{_CLOCK}"),
    ("day", _DATE),
    ("month", r"[12]\d{3}-\d{2}"),
    ("year", r"(1[89]|20|21|22)\d{2}"),
    ("not ISO, with time", rf"({_OTHER_DATE}|{_NAMED_DATE})[T ]{_CLOCK}({_OFFSET}| ?[AaPp][Mm])?"),
    ("not ISO, day", rf"({_OTHER_DATE}|{_NAMED_DATE})"),
)
#: Forms that are times beyond doubt; a bare year may be any number.
CERTAIN = tuple(form for form, _ in FORMS if form != "year")


def form(text: str) -> str:
    """Return SQL of the form of a time; `other` where it is none, null where it is empty."""
    cases = " ".join(
        f"WHEN regexp_full_match({text}, '{pattern}') THEN '{name}'" for name, pattern in FORMS
    )
    return f"CASE WHEN {text} IS NULL THEN NULL {cases} ELSE 'other' END"


def is_time(text: str) -> str:
    """Return SQL of whether a text is certainly a time."""
    alternatives = "|".join(f"({pattern})" for name, pattern in FORMS if name in CERTAIN)
    return f"regexp_full_match({text}, '{alternatives}')"


def describe(rows: Rows, name: str, text: str, min_cell: int, *, with_span: bool = True) -> Times:
    """Return how the times of a column are written and what they span.

    Args:
        rows: the rows.
        name: what the column is called.
        text: SQL of its text.
        min_cell: smallest count that is told.
        with_span: leave out where the first and last are a patient's own, as of births.
    """
    made = Rows(rows.con, f"(SELECT {form(text)} AS f, * FROM {rows.relation})", rows.patient)
    filled = Rows(made.con, f"(FROM {made.relation} WHERE f IS NOT NULL)", made.patient)
    shown = filled.disclose(["f"], min_cell)
    forms = {
        str(one.value[0]): filled.share(f"f = '{one.value[0]}'", min_cell) for one in shown.values
    }
    return Times(name, _span(rows, text, min_cell) if with_span else None, forms)


def _span(rows: Rows, text: str, min_cell: int) -> tuple[str, str] | None:
    """Return the first and last month with enough patients; years or decades where months lack.

    The plain first and last time would be those of single patients.
    """
    levels = ((7, r"[12]\d{3}-\d{2}.*", ""), (4, r"[12]\d{3}.*", ""), (3, r"[12]\d{3}.*", "0s"))
    for size, pattern, tail in levels:
        found = rows.con.execute(
            f"SELECT left({text}, {size}) FROM {rows.relation} "
            f"WHERE regexp_full_match({text}, '{pattern}') "
            f"GROUP BY 1 HAVING least(count(*), {rows.patients}) >= {min_cell} ORDER BY 1"
        ).fetchall()
        if found:
            return f"{found[0][0]}{tail}", f"{found[-1][0]}{tail}"
    return None
