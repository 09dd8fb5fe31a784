"""Words that the tables of a study share: names, texts, numbers and lengths of time.

A study is read strictly: `true` is no number, `"21"` is none, and neither is `nan` or `inf`. Every
length of time has an upper bound, so that a slip of the hand is found by day and not at night.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from pipelines.base.tomlcheck import Checked

#: Twenty years of hours, a hundred of days, a year of minutes.
MAX_HOURS = 175_320
MAX_DAYS = 36_525
MAX_MINUTES = 527_040

_UNPRINTABLE = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
#: Joiners of letters, which Persian and Indic words need.
_JOINERS = "\u200c\u200d"


class Table(Checked):
    """A table of study.toml, whose values have the very type that is asked for."""

    model_config = ConfigDict(strict=True)


def _one_line(text: str) -> str:
    """Refuse what a terminal obeys, what turns the line around, and what XML can't hold."""
    for one in text:
        if unicodedata.category(one) in _UNPRINTABLE and one not in _JOINERS:
            msg = f"holds the character U+{ord(one):04X}, which cannot be printed; take it out"
            raise ValueError(msg)
    if not text.strip():
        msg = "is empty; people and results need it"
        raise ValueError(msg)
    return text


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Text = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Hours = Annotated[float, Field(ge=0, le=MAX_HOURS)]
Offset = Annotated[float, Field(ge=-MAX_HOURS, le=MAX_HOURS)]
Days = Annotated[float, Field(ge=0, le=MAX_DAYS)]
Minutes = Annotated[float, Field(ge=0, le=MAX_MINUTES)]
Months = Annotated[int, Field(ge=0, le=12 * 150)]
