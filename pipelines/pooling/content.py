"""Whether a signed manifest says what it must: a site's own fault is refused like a forger's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.disclosure.rule import SMALLEST_THRESHOLD
from pipelines.pooling.content_rows import is_text, mistake_of_rows
from pipelines.signals.counts import COUNTS

#: Packs of a site, and units below which a site tells nothing: a whole number can be of any length.
_LARGEST = 1_000_000
#: Settings of a study are tables of tables of lists; ten levels are more than any has.
_DEEPEST = 10

Is = Callable[[Any], bool]


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _matches(form: str) -> Is:
    return lambda value: isinstance(value, str) and re.fullmatch(form, value) is not None


_is_quarter = _matches(r"[0-9]{4}-Q[1-4]")
_is_hash = _matches(r"[0-9a-f]{64}")
_is_bool: Is = lambda value: isinstance(value, bool)  # noqa: E731 - one of a row of tests


def _is_quarter_or_none(value: object) -> bool:
    return value is None or _is_quarter(value)


def _is_list_of(form: Mapping[str, Is], key: str) -> Is:
    """Return a test for a list of objects that have these members, each key once."""

    def test(value: object) -> bool:
        if not isinstance(value, list) or not all(
            isinstance(one, dict)
            and set(one) == set(form)
            and all(is_one(one[name]) for name, is_one in form.items())
            for one in value
        ):
            return False
        return len({one[key] for one in value}) == len(value)

    return test


def _are_settings(value: object, left: int = _DEEPEST) -> bool:
    """Whether these can be settings of a study: not too deep, and named so that it can be shown."""
    if isinstance(value, dict):
        return left > 0 and all(
            is_text(name) and _are_settings(one, left - 1) for name, one in value.items()
        )
    if isinstance(value, list):
        return left > 0 and all(_are_settings(one, left - 1) for one in value)
    return True


_FEED: dict[str, Is] = {
    "event_type": _matches(r"[A-Za-z]{1,64}"),
    "complete_through": _is_quarter_or_none,
    "is_stale": _is_bool,
    "quarantined_percent": lambda value: value is None or _is_whole(value, 0, 100),
}
_STUDY: dict[str, Is] = {
    "study_id": is_text,
    "study_hash": _is_hash,
    "settings": lambda value: isinstance(value, dict) and _are_settings(value),
    "version": is_text,
}
_FACTS: dict[str, Is] = {
    "site_id": is_text,
    "number": lambda value: _is_whole(value, 1, _LARGEST),
    "exported": _is_quarter,
    "data_through": _is_quarter_or_none,
    "software_version": is_text,
    "checks_hash": _is_hash,
    "is_synthetic": _is_bool,
    "threshold": lambda value: _is_whole(value, SMALLEST_THRESHOLD, _LARGEST),
    "feeds": _is_list_of(_FEED, "event_type"),
    "studies": _is_list_of(_STUDY, "study_id"),
    "n_rows": lambda value: isinstance(value, dict),
}


def mistake_of(facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> str | None:
    """Return the first thing that is wrong with what a pack says; None where nothing is."""
    for name, is_right in _FACTS.items():
        if name not in facts or not is_right(facts[name]):
            return f"The manifest's `{name}` is missing, or can't be what it says."
    if mistake := mistake_of_rows(facts, tables):
        return mistake
    counts = tables[COUNTS.name]
    n_told = counts.num_rows - counts["n_events"].null_count
    said = facts["n_rows"].get(COUNTS.name)
    rows = said if isinstance(said, dict) else {}
    if (rows.get("told"), rows.get("masked")) != (n_told, counts.num_rows - n_told):
        return "The manifest says another number of rows than there are."
    return None
