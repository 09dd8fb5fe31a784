"""What a row expects, in words, as fields of the answer that must be so.

Statements stand between semicolons and may begin with `unit 2:` or the name of a window; items of a
statement stand between commas. `Answer` is what the product and the reference are both turned into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isclose
from typing import Any

from tests.spec.tables import Row
from tests.spec.times import TIME, Clock, SpecError

Match = re.Match[str]
Fields = dict[str, Any]
#: A field that an engine does not tell.
UNTOLD = object()
STATUSES = (
    "event", "no event", "censored", "unobserved", "untested", "undetermined", "open event", "open",
    "ineligible", "unplaceable", "not at risk", "superseded same day", "merged",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What was found of one patient: units in order, rows by unit, window; and totals."""

    units: list[Fields]
    rows: dict[tuple[int, str], Fields]
    totals: Fields


@dataclass(frozen=True)
class Check:
    """One field that must have a value; `scope` is row, unit or totals."""

    words: str
    scope: str
    field: str
    value: Any


def _flag(text: str) -> str:
    return text.strip().replace(" ", "_").replace("-", "_")


#: Pattern; scope; field; its value from the match.
_ITEMS: list[tuple[str, str, str, Callable[[Clock, Match], Any]]] = [
    ("|".join(STATUSES), "row", "status", lambda _, m: m[0].replace(" ", "_")),
    (r"onset ([\d.]+) h", "row", "onset_hours", lambda _, m: float(m[1])),
    (r"onset day (-?\d+)", "row", "onset_day", lambda _, m: int(m[1])),
    (r"onset (day -?\d+ [\d:]+)", "row", "onset_at", lambda c, m: c.instant(m[1])),
    (r"no onset hour", "row", "onset_hours", lambda _, __: None),
    (r"no onset", "row", "onset_at", lambda _, __: None),
    (r"known by its day", "row", "onset_precision", lambda _, __: "day"),
    (r"grade (\d)", "row", "grade", lambda _, m: int(m[1])),
    (r"no grade", "row", "grade", lambda _, __: None),
    (r"baseline grade (\d)", "row", "baseline_grade", lambda _, m: int(m[1])),
    (r"baseline ([\d.]+)", "row", "baseline_value", lambda _, m: float(m[1])),
    (r"no baseline", "row", "baseline_value", lambda _, __: None),
    (r"change ([+-][\d.]+)", "row", "change_from_baseline", lambda _, m: float(m[1])),
    (r"worst ([\d.]+)", "row", "worst_value", lambda _, m: float(m[1])),
    (r"(not )?pre-existing", "row", "is_pre_existing", lambda _, m: not m[1]),
    (r"(not )?worsened", "row", "is_worsened", lambda _, m: not m[1]),
    (r"(not )?observed", "row", "is_observed", lambda _, m: not m[1]),
    (r"(not )?tested", "row", "is_tested", lambda _, m: not m[1]),
    (rf"cut at ({TIME})", "row", "cut_at", lambda c, m: c.instant(m[1])),
    (r"last day (-?\d+)", "row", "last_day", lambda _, m: int(m[1])),
    (rf"window to ({TIME})", "row", "window_end_at", lambda c, m: c.instant(m[1])),
    (r"cut by (death|next unit|observation end|last contact)", "row", "cut_reason",
     lambda _, m: _flag(m[1])),
    (r"not cut", "row", "cut_reason", lambda _, __: None),
    (r"in (\d+) windows?", "row", "n_candidate_units", lambda _, m: int(m[1])),
    (r"(\d+) events?", "row", "n_events", lambda _, m: int(m[1])),
    (r"(\d+) events? uncleaned", "row", "n_events_uncleaned", lambda _, m: int(m[1])),
    (r"at risk ([\d.]+) d", "row", "at_risk_days", lambda _, m: float(m[1])),
    (r"at risk ([\d.]+) d uncleaned", "row", "at_risk_days_uncleaned", lambda _, m: float(m[1])),
    (r"person-days ([\d.]+)", "row", "person_days", lambda _, m: float(m[1])),
    (r"serious by ([\w ]+(?: and [\w ]+)*)", "row", "serious_criteria",
     lambda _, m: {_flag(one) for one in m[1].split(" and ")}),
    (r"not serious", "row", "serious_criteria", lambda _, __: set()),
    (r"(not )?treated", "row", "is_treated", lambda _, m: not m[1]),
    (r"treatment unknown", "row", "is_treated", lambda _, __: None),
    (r"(total|corrected|ionised)", "row", "measure", lambda _, m: m[1]),
    (r"baseline (total|corrected|ionised)", "row", "baseline_measure", lambda _, m: m[1]),
    (r"flagged ([\w ]+)", "row", "flags", lambda _, m: _flag(m[1])),
    (r"not flagged ([\w ]+)", "row", "not_flags", lambda _, m: _flag(m[1])),
    (r"(\d+|no) units?", "totals", "n_units", lambda _, m: int(m[1].replace("no", "0"))),
    (r"(\d+|no) administrations?", "totals", "n_administrations",
     lambda _, m: int(m[1].replace("no", "0"))),
    (r"left out as ([\w ]+?)(?: (\d+))?", "totals", "left_out",
     lambda _, m: (_flag(m[1]), int(m[2] or 1))),
    (r"counted in ([\w ]+)", "totals", "denominators",
     lambda _, m: {_flag(one) for one in m[1].split(" and ")} - {"none"}),
    (r"(\d+) infusions?", "unit", "n_infusions", lambda _, m: int(m[1])),
    (r"(not )?interrupted", "unit", "is_interrupted", lambda _, m: not m[1]),
    (r"(not )?naive", "unit", "is_naive", lambda _, m: not m[1]),
    (r"naive unknown", "unit", "is_naive", lambda _, __: None),
    (r"ordinal (\d+)", "unit", "ordinal", lambda _, m: int(m[1])),
    (r"evidence (administered|dispensed|ordered)", "unit", "evidence", lambda _, m: m[1]),
    (r"(dispensed undated)", "unit", "is_dispensed_undated", lambda _, __: True),
    (r"type (\w+)", "unit", "indication_type", lambda _, m: m[1]),
    (r"age (\d+) months", "unit", "age_months", lambda _, m: int(m[1])),
    (r"band (.+)", "unit", "age_band", lambda _, m: m[1]),
    (r"setting (\w+)", "unit", "setting", lambda _, m: m[1]),
    (r"(not )?premedicated", "unit", "premedicated", lambda _, m: not m[1]),
    (r"(not )?co-infused", "unit", "co_infusion", lambda _, m: not m[1]),
    (r"because ([\w ]+)", "unit", "ineligible_reason", lambda _, m: _flag(m[1])),
    (r"dose ([\d.]+)", "unit", "dose_value", lambda _, m: float(m[1])),
    (r"no dose", "unit", "dose_value", lambda _, __: None),
    (r"tie", "unit", "is_tie", lambda _, __: True),
]  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """What is expected of one unit and window; `place` counts units from 0."""

    place: int
    window: str
    checks: tuple[Check, ...]


def statements(row: Row, clock: Clock) -> list[Statement]:
    """Read what a row expects.

    Errors:
        SpecError: names file, line and the words that are not known.
    """
    return [_statement(row, clock, part.strip()) for part in row.expected.split(";")]


def _statement(row: Row, clock: Clock, text: str) -> Statement:
    place, window = 0, "risk"
    if match := re.fullmatch(r"unit (\d+)(?: (risk|control|extended|peak))?: (.*)", text):
        place, window, text = int(match[1]) - 1, match[2] or window, match[3]
    elif match := re.fullmatch(r"(risk|control|extended|peak): (.*)", text):
        window, text = match[1], match[2]
    items = (one.strip() for one in text.split(","))
    return Statement(place, window, tuple(_check(row, clock, one) for one in items))


def _check(row: Row, clock: Clock, words: str) -> Check:
    for pattern, scope, field, value in _ITEMS:
        if match := re.fullmatch(pattern, words):
            return Check(words, scope, field, value(clock, match))
    msg = f"{row.where}: nothing can be expected in the words {words!r}"
    raise SpecError(msg)


def misses(answer: Answer, expected: list[Statement], *, may_lack: bool) -> Iterator[str]:
    """Say of each expectation that is not met what was found.

    Args:
        may_lack: the engine need not tell every field.
    """
    for statement in expected:
        at = (statement.place, statement.window)
        scopes = {"row": answer.rows.get(at), "totals": answer.totals, "unit": None}
        if statement.place < len(answer.units):
            scopes["unit"] = answer.units[statement.place]
        for check in statement.checks:
            fields = scopes[check.scope]
            if fields is None:
                yield f"{check.words}: there is no unit {statement.place + 1} ({check.scope})"
                continue
            found = fields.get(check.field, UNTOLD)
            if found is UNTOLD:
                if not may_lack:
                    yield f"{check.words}: {check.field} is not told"
            elif not _is(check, found):
                yield f"{check.words}: found {check.field} {found!r} (unit {statement.place + 1})"


def _is(check: Check, found: Any) -> bool:
    if check.field == "flags":
        return bool(check.value in found)
    if check.field == "not_flags":
        return bool(check.value not in found)
    if check.field == "left_out":
        return bool(found.get(check.value[0], 0) == check.value[1])
    if check.field == "serious_criteria" and found is not None:
        return bool(set(found) == check.value)
    if isinstance(check.value, float) and isinstance(found, int | float):
        return isclose(found, check.value, rel_tol=0, abs_tol=1e-6)
    return bool(found == check.value)


def last_day_of(clock: Clock, cut: datetime) -> int:
    """Number of the last day of a window of days, whose end is the midnight after it."""
    return (cut.date() - clock.day_0 - timedelta(days=1)).days
