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


#: Patterns of times that are not ISO; the day comes first where both orders fit.
_PATTERNS = tuple(
    f"{day}{clock}"
    for day in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d.%m.%y",
                "%d-%b-%Y", "%d%b%Y", "%d %b %Y")
    for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
)  # fmt: skip


def writing(rows: Rows, text: str, filled: int) -> tuple[bool, str]:
    """Return whether most times tell an offset, and their strptime pattern where not ISO."""
    offset = f"regexp_full_match({text}, '{dict(FORMS)['instant with offset']}')"
    iso = "|".join(f"({pattern})" for name, pattern in FORMS if not name.startswith("not"))
    n_offset, n_iso = rows.one(f"count_if({offset}), count_if(regexp_full_match({text}, '{iso}'))")
    if n_iso >= 0.5 * filled:
        return n_offset >= 0.5 * filled, ""
    tests = ", ".join(f"count_if(try_strptime({text}, '{one}') IS NOT NULL)" for one in _PATTERNS)
    fits = rows.one(tests)
    best = max(range(len(fits)), key=lambda n: fits[n])
    return False, _PATTERNS[best] if fits[best] else ""


def describe(rows: Rows, name: str, text: str, min_cell: int, *, with_span: bool = True) -> Times:
    """Return how the times of a column are written and what they span.

    Args:
        rows: the rows.
        name: what the column is called.
        text: SQL of its text.
        min_cell: smallest count that is told.
        with_span: leave out where the first and last are a patient's own, as of births.
    """
    patient = rows.patient or "NULL"
    rows.con.execute(
        f"CREATE OR REPLACE TABLE told_time AS SELECT {patient} AS patient, {text} AS text, "
        f"{form(text)} AS form FROM {rows.relation} WHERE {text} IS NOT NULL"
    )
    filled = Rows(rows.con, "told_time", "patient" if rows.patient else None)
    shown = filled.disclose(["form"], min_cell)
    names = [str(one.value[0]) for one in shown.values]
    forms = {name: filled.share(f"form = '{name}'", min_cell) for name in names}
    return Times(name, _span(filled, min_cell) if with_span else None, forms)


def _span(rows: Rows, min_cell: int) -> tuple[str, str] | None:
    """Return the first and last month with enough patients; years or decades where months lack.

    The plain first and last time would be those of single patients.
    """
    levels = ((7, r"[12]\d{3}-\d{2}.*", ""), (4, r"[12]\d{3}.*", ""), (3, r"[12]\d{3}.*", "0s"))
    for size, pattern, tail in levels:
        found = rows.con.execute(
            f"SELECT left(text, {size}) FROM {rows.relation} "
            f"WHERE regexp_full_match(text, '{pattern}') "
            f"GROUP BY 1 HAVING least(count(*), {rows.patients}) >= {min_cell} ORDER BY 1"
        ).fetchall()
        if found:
            return f"{found[0][0]}{tail}", f"{found[-1][0]}{tail}"
    return None
