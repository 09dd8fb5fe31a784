"""published.csv: what others have printed on a study's outcomes, to hold results against.

A number as printed is an interval: 7 % is anything from 6.5 to 7.5 %. What was not printed stays
empty; a row without numbers says that somebody looked for them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import did_you_mean
from studies.limit_tables import numbered_rows

if TYPE_CHECKING:
    from studies.model import StudyModel

FILE = "published.csv"
PUBLISHED_COLUMNS = (
    "measure",
    "outcome",
    "window",
    "stratum",
    "stratum_value",
    "value",
    "low",
    "high",
    "n_events_low",
    "n_events_high",
    "n_units",
    "is_derived",
    "source",
)
MEASURES = ("risk",)

_KEY = PUBLISHED_COLUMNS[:5]
_SHARES = ("value", "low", "high")
_COUNTS = ("n_events_low", "n_events_high", "n_units")


class PublishedRow(NamedTuple):
    """A row of published.csv and the line on which it ends."""

    line: int
    row: dict[str, str]


def read_published(folder: Path) -> tuple[list[PublishedRow], list[str]]:
    """Return the rows of a study's published.csv, none where it has no such file, and mistakes."""
    path = folder / FILE
    if not os.path.lexists(path):
        return [], []
    try:
        rows = [PublishedRow(*one) for one in numbered_rows(path)]
    except ConfigError as error:
        return [], [f"{error.where}: {error.what} {error.remedy}"]
    if rows and tuple(rows[0].row) != PUBLISHED_COLUMNS:
        return [], [f"{FILE}:1: the columns must be: {', '.join(PUBLISHED_COLUMNS)}"]
    return rows, []


def published_values(row: dict[str, str]) -> dict[str, Any]:
    """Return a sound row with its numbers as numbers; what is empty is None."""
    return {
        "measure": row["measure"],
        "outcome": row["outcome"],
        "window_name": row["window"],
        "stratum": row["stratum"],
        "stratum_value": row["stratum_value"],
        **{name: float(row[name]) if row[name] else None for name in _SHARES},
        **{name: int(row[name]) if row[name] else None for name in _COUNTS},
        "is_derived": row["is_derived"] == "yes",
        "source": row["source"],
    }


def published_mistakes(
    model: StudyModel, rows: Iterable[PublishedRow], *, is_sound: bool = True
) -> Iterator[str]:
    """Yield what is wrong in rows of published.csv, each with its line.

    Args:
        model: the study's settings.
        rows: of the file.
        is_sound: false where study.toml has mistakes: then no name is called unknown.
    """
    first: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        said = [*(_unknown_names(model, row) if is_sound else ()), *_mistakes_within(row)]
        key = tuple(row[name] for name in _KEY)
        if first.setdefault(key, line) != line:
            said.append(f"the same is told in line {first[key]}; delete one")
        yield from (f"{FILE}:{line}: {one}" for one in said)


def _unknown_names(model: StudyModel, row: dict[str, str]) -> Iterator[str]:
    yield from _unknown("measure", row["measure"], MEASURES)
    outcomes = {one.name: one for one in model.outcome if one.publish}
    if row["outcome"] not in outcomes:
        yield from _unknown("published outcome", row["outcome"], list(outcomes))
    else:
        windows = [window.name for window in outcomes[row["outcome"]].window]
        yield from _unknown("window", row["window"], windows)
    strata = [*model.strata.by, *(f"{one} x {other}" for one, other in model.strata.two_way)]
    yield from _unknown("stratum", row["stratum"], strata)
    yield from _unknown(f"{row['stratum']}", row["stratum_value"], _stratum_values(model, row))


def _stratum_values(model: StudyModel, row: dict[str, str]) -> Sequence[str]:
    """Return the values of the row's stratum; the row's own where any can be."""
    known: dict[str, list[str]] = {
        "all": ["all"],
        "ordinal": ["first", "later"],
        "naive": ["yes", "no", "unknown"],
        "premedicated": ["yes", "no"],
        "drug": [one.name for one in model.drug],
        "indication_type": [*(one.type for one in model.indication), "unknown"],
        "age_band": [one.label for one in model.strata.age_band],
    }
    return known.get(row["stratum"], [row["stratum_value"]])


def _unknown(what: str, name: str, known: Sequence[str]) -> Iterator[str]:
    if name not in known:
        hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
        yield f"there is no {what} {name!r}{hint}"


def _mistakes_within(row: dict[str, str]) -> Iterator[str]:
    if row["is_derived"] not in {"yes", "no"}:
        yield "is_derived must be yes or no"
    if not row["source"].strip():
        yield "source must be given"
    yield from _number_mistakes(row)


def _number_mistakes(row: dict[str, str]) -> Iterator[str]:
    shares = {name: row[name] for name in _SHARES if row[name]}
    whole = {name: row[name] for name in _COUNTS if row[name]}
    if not all(_is_share(text) for text in shares.values()):
        yield "value, low and high must be numbers from 0 to 1"
        return
    if not all(text.isascii() and text.isdigit() for text in whole.values()):
        yield "n_events_low, n_events_high and n_units must be whole numbers"
        return
    told = [float(row[name]) for name in ("low", "value", "high") if row[name]]
    if ("low" in shares) != ("high" in shares) or ("value" in shares and "low" not in shares):
        yield "low and high must be given together, and with every value"
    elif told != sorted(told):
        yield "low must not be above value, nor value above high"
    elif "n_events_low" in whole or "n_events_high" in whole:
        yield from _count_mistakes(row, whole)


def _count_mistakes(row: dict[str, str], whole: dict[str, str]) -> Iterator[str]:
    if len(whole) < len(_COUNTS) or not row["low"]:
        yield "n_events_low and n_events_high need each other, n_units, low and high"
        return
    few, many, units = (int(row[name]) for name in _COUNTS)
    if not few <= many <= units or not units:
        yield "n_events_low must not be above n_events_high, nor that above n_units"
    elif not float(row["low"]) <= few / units or not many / units <= float(row["high"]):
        yield "n_events_low and n_events_high over n_units must lie from low to high"


def _is_share(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and 0 <= value <= 1
