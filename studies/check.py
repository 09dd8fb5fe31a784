"""What can be wrong between the files of a study: codes, concepts, units, tables of limits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.base.tomlcheck import Path_, line_of
from studies.check_codes import CodeRow, codelist_mistakes, concept_mistakes, unit_mistakes
from studies.draft import told
from studies.limit_checks import limit_mistakes

if TYPE_CHECKING:
    from studies.load import Study

_OUTCOME = re.compile(r"outcome (\w+): ")


def find_mistakes(
    study: Study, codes: Iterable[CodeRow], lines: dict[Path_, int], *, is_whole: bool = True
) -> list[str]:
    """Return every mistake between a study's files, each with file and line; none if it is sound.

    Args:
        study: as read, with what was wrong in study.toml alone left out.
        codes: the rows of its code lists with their places.
        lines: the line of each key path of study.toml.
        is_whole: false where a code list could not be read: then no concept is called unknown.
    """
    codes = list(codes)
    concepts = concept_mistakes(study.model, codes) if is_whole else ()
    crossed = (*concepts, *unit_mistakes(study.model))
    return [
        *codelist_mistakes(codes),
        *(told(one, study.model, lines) for one in crossed),
        *(_placed(text, study, lines) for text in limit_mistakes(study)),
    ]


def _placed(text: str, study: Study, lines: dict[Path_, int]) -> str:
    """Return a mistake that begins with an outcome's name with the outcome's line."""
    named = _OUTCOME.match(text)
    places = {one.name: place for place, one in enumerate(study.model.outcome)}
    if not named or named[1] not in places:
        return text
    return f"study.toml:{line_of(lines, ('outcome', places[named[1]])) or '?'}: {text}"
