"""Tables of cuts and of limits: which a study uses, where they stand, and how they are read.

Every study may use the tables of `studies/limits/`; a file of the same name in the study's own
`limits/` replaces the shared one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import ConfigError
from pipelines.base.text import read_text
from studies.model import StudyModel
from studies.outcomes import GradeOutcome, Outcome, VitalLimitOutcome

SHARED = Path(__file__).parent / "limits"

CUT_COLUMNS = ("grade", "side", "of", "cut", "unit", "from_months", "until_months", "source")
NORMAL_COLUMNS = ("sex", "from_months", "until_months", "unit", "low", "high", "source")
VITAL_COLUMNS = ("from_months", "until_months", "high", "source")

SIDES = ("below", "at_or_below", "above", "at_or_above")
#: What a cut is a number of: the result itself, or a multiple of something, or a change.
OF = ("value", "lower_limit", "upper_limit", "baseline", "rise")
#: Of these, the ones whose cut has a unit.
OF_UNIT = ("value", "rise")


class TableUse(NamedTuple):
    """A table that an outcome names: in which role, and for results of which concept."""

    outcome: str
    table: str
    columns: tuple[str, ...]
    concept: str


def tables_used(model: StudyModel) -> list[TableUse]:
    """Return every table that the outcomes of a study name, in the order of the outcomes."""
    return [use for one in model.outcome for use in _uses(one) if use.table]


def _uses(one: Outcome) -> list[TableUse]:
    if isinstance(one, VitalLimitOutcome):
        return [TableUse(one.name, one.limits, VITAL_COLUMNS, one.concept)]
    if not isinstance(one, GradeOutcome):
        return []
    named: list[tuple[str, str | None, str | None]] = [(one.concept, one.cuts, one.normal_limits)]
    if one.calcium and one.calcium.ionised_concept:
        calcium = one.calcium
        named.append(
            (one.calcium.ionised_concept, calcium.ionised_cuts, calcium.ionised_normal_limits)
        )
    return [
        TableUse(one.name, table or "", columns, concept)
        for concept, cuts, limits in named
        for table, columns in ((cuts, CUT_COLUMNS), (limits, NORMAL_COLUMNS))
    ]


def limit_files(folder: Path) -> dict[str, Path]:
    """Return the file of every table that a study in `folder` may use, by the table's name."""
    places = (SHARED, folder / "limits")
    return {path.stem: path for place in places for path in sorted(place.glob("*.csv"))}


def numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file, each with the line on which it ends; `#` begins a comment.

    Errors:
        ConfigError: the file is none, cannot be read or is not UTF-8; a row has more or fewer
            fields than the header, or one that no CSV has. Its `where` is the file's name.
    """
    text = read_text(path, path.name)
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for number, line in enumerate(io.StringIO(text, newline=""), start=1):  # noqa: B007
            if not line.startswith("#"):
                yield line

    try:
        for row in csv.DictReader(lines()):
            if None in row or None in row.values():
                raise ConfigError(
                    "A row has more or fewer fields than the header.",
                    where=f"{path.name}:{number}",
                    remedy="Quote fields that hold commas.",
                )
            yield number, row
    except csv.Error:
        raise ConfigError(
            "This is no row of a CSV file.",
            where=f"{path.name}:{number}",
            remedy="Look for a quote that is not closed, or save the file as CSV again.",
        ) from None
