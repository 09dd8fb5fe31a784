"""Whether a signed pack says what a pack must: a site's own fault is refused like a forger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.disclosure.rule import SMALLEST_THRESHOLD
from pipelines.disclosure.tables import REASON
from pipelines.signals.counts import COUNTS, SHARED

_FACTS: dict[str, type | tuple[type, ...]] = {
    "site_id": str,
    "number": int,
    "exported": str,
    "data_through": (str, type(None)),
    "software_version": str,
    "checks_hash": str,
    "is_synthetic": bool,
    "threshold": int,
    "feeds": list,
    "studies": list,
    "n_rows": dict,
}
_FEED = {"event_type", "complete_through", "is_stale", "quarantined_percent"}
_STUDY = {"study_id", "study_hash", "settings", "version"}


def mistake_of(facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> str | None:
    """Return the first thing that is wrong with what a pack says; None where nothing is."""
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind):
            return f"The manifest's `{name}` is missing, or is of another kind."
    if facts["number"] < 1 or facts["threshold"] < SMALLEST_THRESHOLD:
        return f"Packs are numbered from 1, and thresholds are {SMALLEST_THRESHOLD} or more."
    for name, keys in (("feeds", _FEED), ("studies", _STUDY)):
        if any(not isinstance(one, dict) or set(one) != keys for one in facts[name]):
            return f"The manifest's `{name}` lack something, or say too much."
    if not isinstance(facts["n_rows"].get(COUNTS.name), dict):
        return "The manifest does not say how many rows there are."
    for form in (COUNTS, SHARED):
        table = tables.get(form.name)
        if table is None or table.schema != form.schema.append(pa.field(REASON, pa.string())):
            return f"The table {form.name} is missing, or has other columns."
    return _wrong_counts(facts, tables[COUNTS.name])


def _wrong_counts(facts: Mapping[str, Any], counts: pa.Table) -> str | None:
    seen = set()
    for row in counts.to_pylist():
        key = tuple(row[name] for name in COUNTS.keys)
        if None in key or key in seen or row["site_id"] != facts["site_id"]:
            return "A row of counts is there twice, has no key, or is of another site."
        seen.add(key)
        e, n = row["n_events"], row["n_units"]
        if e is not None and (n is None or not 0 <= e <= n or row["sum_n2"] is None):
            return "A row of counts has more events than units, or lacks its sums."
    wholes = {key[:4] + key[6:] for key in seen if key[4:6] == ("all", "all")}
    if any(key[:4] + key[6:] not in wholes for key in seen):
        return "A row of a stratum has no row of all units."
    return None
