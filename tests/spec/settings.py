"""The studies of a spec file: the shipped one, with the outcomes and settings that its rows name.

What a row sets of an outcome makes a variant of that outcome in one study; only what holds for a
whole study (resolution, unit, evidence, who is eligible) makes another study.
"""

from __future__ import annotations

import csv
import re
import tomllib
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.spec.tables import FOLDER, Row
from tests.spec.times import SpecError

Match = re.Match[str]
_OFFSET = r"(start|end)(?: ([+-]\d+) h)?"
_LONGEST = 60
_REMEDIES = {"paracetamol": "paracetamol", "calcium": "calcium_given"}


def _window(match: Match) -> dict[str, Any]:
    return {
        "name": match["name"],
        "start_anchor": match[2],
        "start_offset_hours": float(match[3] or 0),
        "end_anchor": match[4],
        "end_offset_hours": float(match[5] or 0),
    }


#: What a row may set of its outcome. `window` is added to, or replaces one of, the windows.
_OF_OUTCOME: list[tuple[str, Callable[[Match], dict[str, Any]]]] = [
    (r"overlap (latest|all|merge)", lambda m: {"overlap": m[1]}),
    (r"across classes", lambda _: {"overlap_across_classes": True}),
    (r"same day (after|before|exclude)", lambda m: {"same_day": m[1]}),
    (r"gap none", lambda _: {"same_episode_gap_hours": "none"}),
    (r"gap (\d+) h", lambda m: {"same_episode_gap_hours": float(m[1])}),
    (r"clean window (\d+) d", lambda m: {"clean_window_days": float(m[1])}),
    (r"missing start emergent", lambda _: {"missing_start": "emergent"}),
    (r"resolved after (\d+) d", lambda m: {"assume_resolved_days": float(m[1])}),
    (r"never resolves", lambda _: {"chronic_concepts": None}),
    (r"grade (\d)", lambda m: {"min_grade": int(m[1])}),
    (r"remedy (paracetamol|calcium)", lambda m: {"remedy_concepts": [_REMEDIES[m[1]]]}),
    (rf"(?P<name>risk|control|extended|peak) {_OFFSET} to {_OFFSET}", lambda m: {"+": _window(m)}),
]
#: What a row may set of its study.
_OF_STUDY: list[tuple[str, Callable[[Match], dict[str, dict[str, Any]]]]] = [
    (r"each administration", lambda _: {"study": {"unit": "administration"}}),
    (r"all evidence", lambda _: {"study": {"evidence": ["administered", "dispensed", "ordered"]}}),
    (r"only orders", lambda _: {"study": {"evidence": ["ordered"]}}),
    (r"anybody", lambda _: {"eligibility": {"requires_indication": False, "max_age_years": None}}),
    (r"contact grace (\d+) d", lambda m: {"follow_up": {"contact_grace_days": float(m[1])}}),
    (r"patients implied", lambda _: {}),
]


def split(row: Row) -> tuple[list[str], list[str]]:
    """Return a row's settings of its outcome and of its study."""
    own: list[str] = []
    whole: list[str] = []
    for part in (one.strip() for one in row.settings.split(",") if one.strip()):
        if any(re.fullmatch(pattern, part) for pattern, _ in _OF_OUTCOME):
            own.append(part)
        elif any(re.fullmatch(pattern, part) for pattern, _ in _OF_STUDY):
            whole.append(part)
        else:
            msg = f"{row.where}: no such setting: {part!r}"
            raise SpecError(msg)
    return own, whole


def study_id(row: Row, resolution: str) -> str:
    """Id of the study that a row is asked of."""
    words = [resolution, *split(row)[1]]
    return re.sub(r"\W+", "_", f"spec {' '.join(words)}")


def outcome_name(row: Row, outcome: str | None = None) -> str:
    """Name of an outcome with the settings of a row."""
    words = [outcome or row.outcome, *split(row)[0]]
    name = re.sub(r"\W+", "_", " ".join(words).replace("+", "p").replace("-", "m"))
    return name if len(name) <= _LONGEST else f"{name[:50]}_{zlib.crc32(name.encode()):08x}"


@cache
def _base() -> tuple[dict[str, Any], Study]:
    shipped = load_study("iv_bisphosphonate")
    own = tomllib.loads((FOLDER / "outcomes.toml").read_text(encoding="utf-8"))
    model = shipped.model.model_dump()
    model["outcome"] = [one | {"publish": True} for one in [*model["outcome"], *own["outcome"]]]
    model["drug"] = [*model["drug"], *own["drug"]]
    model["serious"] |= own["serious"]
    model["eligibility"]["never_event_concepts"] = own["never_event_concepts"]
    model["strata"] |= {"by": ["site"], "two_way": []}
    with (FOLDER / "codes.csv").open(encoding="utf-8", newline="") as stream:
        codes = tuple(csv.DictReader(stream))
    return model, Study(shipped.model, (*shipped.codelist, *codes), shipped.limits, shipped.folder)


def studies_of(rows: Iterable[Row]) -> dict[str, Study]:
    """Return the studies that rows need, by id: each has the outcomes that its rows name."""
    wanted: dict[str, list[tuple[Row, str]]] = {}
    for row in rows:
        for resolution in row.resolutions:
            wanted.setdefault(study_id(row, resolution), []).append((row, resolution))
    return {name: _study(name, asked) for name, asked in wanted.items()}


def _study(name: str, asked: list[tuple[Row, str]]) -> Study:
    model, base = _base()
    row, resolution = asked[0]
    changed: dict[str, Any] = model | {"outcome": _outcomes([one for one, _ in asked])}
    changed["study"] = model["study"] | {"id": name, "resolution": resolution}
    for part in split(row)[1]:
        for pattern, change in _OF_STUDY:
            if match := re.fullmatch(pattern, part):
                for table, values in change(match).items():
                    changed[table] = changed[table] | values
    return Study(StudyModel.model_validate(changed), base.codelist, base.limits, base.folder)


def _outcomes(rows: list[Row]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        _add_outcome(found, row, re.sub(r"\W", "_", row.outcome))
    return list(found.values())


def _add_outcome(found: dict[str, dict[str, Any]], row: Row, name: str) -> str:
    """Add an outcome with a row's settings, its components before it; return its name there."""
    key = outcome_name(row, name)
    if key in found:
        return key
    known = {one["name"]: one for one in _base()[0]["outcome"]}
    if name not in known:
        msg = f"{row.where}: no outcome {name!r}"
        raise SpecError(msg)
    one = known[name] | {"name": key}
    if one["kind"] == "composite":
        one["of"] = [[_add_outcome(found, row, part) for part in group] for group in one["of"]]
    for part in split(row)[0]:
        _change(one, part)
    found[key] = one
    return key


def _change(outcome: dict[str, Any], part: str) -> None:
    for pattern, change in _OF_OUTCOME:
        if match := re.fullmatch(pattern, part):
            for field, value in change(match).items():
                if field == "+":
                    kept = [one for one in outcome["window"] if one["name"] != value["name"]]
                    outcome["window"] = [*kept, value]
                elif field == "chronic_concepts":
                    outcome[field] = outcome["report_concepts"]
                elif field in outcome:
                    outcome[field] = value
                elif outcome["kind"] != "composite":
                    msg = f"{outcome['name']} has no setting {part!r}"
                    raise SpecError(msg)
