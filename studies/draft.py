"""A study.toml as far as it can be read: its mistakes, and what is left of it for other checks.

Somebody who writes a study wants every mistake at once, those between its files too. So what is
wrong in study.toml is left out, and the rest is held against the code lists and tables.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base.tomlcheck import (
    Mistake,
    Path_,
    key_text,
    line_index,
    line_of,
    read_toml,
    try_model,
)
from studies.check_repeats import repeated_names
from studies.check_settings import setting_mistakes
from studies.model import StudyModel


@dataclass(frozen=True)
class Draft:
    """What could be read of a study.toml.

    Attributes:
        model: the study without what is wrong; None where too little is left.
        mistakes: of study.toml itself, as `study.toml:line: key: cause`.
        lines: the line of each key path of `model`.
    """

    model: StudyModel | None
    mistakes: tuple[str, ...]
    lines: dict[Path_, int]


def read_draft(file: Path) -> Draft:
    """Read a study.toml.

    Errors:
        ConfigError: the file is absent, unreadable or no TOML.
    """
    data, text = read_toml(file)
    lines = line_index(text)
    found = try_model(StudyModel, data)
    if isinstance(found, StudyModel):
        crossed = [*repeated_names(found), *setting_mistakes(found)]
        return Draft(found, tuple(told(one, found, lines) for one in crossed), lines)
    mistakes = [one.told(lines, file) for one in found]
    rest, lines = _rest(data, found, lines)
    if rest is not None:
        wrong = {str(one.path[0]) for one in found if one.path}
        more = (told(one, rest, lines) for one in setting_mistakes(rest, wrong))
        mistakes += [one for one in more if one not in mistakes]
    return Draft(rest, tuple(mistakes), lines)


def told(mistake: Mistake, model: StudyModel, lines: dict[Path_, int]) -> str:
    """Return a mistake as `study.toml:line: key: cause`, with an outcome's name for its place."""
    path = mistake.path
    if len(path) > 1 and path[0] == "outcome" and isinstance(path[1], int):
        name = f"outcome {model.outcome[path[1]].name}"
        key = key_text((name, *path[2:]))
        return f"study.toml:{line_of(lines, path) or '?'}: {key}: {mistake.cause}"
    return mistake.told(lines, Path("study.toml"))


def _rest(
    data: dict[str, Any], found: list[Mistake], lines: dict[Path_, int]
) -> tuple[StudyModel | None, dict[Path_, int]]:
    """Leave out the wrong keys, then the tables that are wrong without them."""
    data = copy.deepcopy(data)
    for one in sorted(found, key=lambda one: str(one.path), reverse=True):
        _leave_out(data, one.path)
    again = try_model(StudyModel, data)
    if isinstance(again, StudyModel):
        return again, lines
    places = {one.path[:2] for one in again if len(one.path) > 1 and isinstance(one.path[1], int)}
    for path in sorted(places, key=lambda path: int(path[1]), reverse=True):
        _leave_out(data, path)
        lines = _without(lines, path)
    rest = try_model(StudyModel, data)
    return (rest if isinstance(rest, StudyModel) else None), lines


def _leave_out(data: Any, path: Path_) -> None:  # noqa: ANN401 - parsed TOML
    """Remove a key or an element; harmless where it is not there."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.pop(path[-1], None)
    elif isinstance(data, list) and isinstance(path[-1], int) and path[-1] < len(data):
        del data[path[-1]]


def _without(lines: dict[Path_, int], path: Path_) -> dict[Path_, int]:
    """Return the lines as they are counted once an element of an array is left out."""
    name, place = path[0], int(path[1])
    kept: dict[Path_, int] = {}
    for key, line in lines.items():
        if len(key) > 1 and key[0] == name and isinstance(key[1], int) and key[1] >= place:
            if key[1] > place:
                kept[name, key[1] - 1, *key[2:]] = line
        else:
            kept[key] = line
    return kept
