"""What surveillance watches, masked: units as they are now, events or the range that they lie in.

Looks of several hospitals can be pooled only from counts of one instant. So units at risk and
events of a pair are told of one instant, which moves on only when the change of units may be told.
Whether it moves does not depend on events: what was seen must not decide when it is looked at
(docs/decisions/190). Events that may not be told then leave a range, as wide as the rule leaves it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from pipelines.disclosure.known import Told
from pipelines.disclosure.release import FEW, SMALL, Label
from pipelines.disclosure.rule import Row
from pipelines.disclosure.watched_pairs import NAME, RANGE, UNITS, Key, Pairs, definition

__all__ = ["COLUMNS", "NAME", "REASON", "SCHEMA", "masked_watched", "told_watched"]

#: Why events are null: they changed by little since they were told (`few_events`), or they would
#: give away something else.
REASON = "suppressed_reason"
_KEYS = ("study_id", "site_id", "outcome", "window_name", "watched", "pair_hash")
#: Columns in the site's warehouse, and in a pack.
COLUMNS = (*_KEYS, *UNITS, "n_patients_later", "n_events")
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_KEYS, pa.string()),
    **dict.fromkeys((*UNITS, "n_events", *RANGE), pa.int64()),
    REASON: pa.string(),
}
SCHEMA = pa.schema(list(_TYPES.items()))


def told_watched(
    rows: pa.Table, told: Told, anew: Collection[Key] | None = None
) -> tuple[dict[Key, Row], Mapping[Label, Sequence[int]]]:
    """Return what is told of each pair from now on, and what else is known: see `Release.known`.

    Args:
        rows: of one study at one site, with COLUMNS.
        told: what is told of `signals.counts`, now and before.
        anew: pairs that may be told as they are now, where not all of them may.
    """
    pairs = Pairs(rows, told)
    for key in pairs.now:
        if anew is None or key in anew:
            pairs.move(key)
    return pairs.kept, pairs.known()


def masked_watched(rows: pa.Table, told: Mapping[Key, Row]) -> pa.Table:
    """Return the rows as they leave: null where nothing is told of a pair as it is defined now."""
    found = []
    for row in rows.to_pylist():
        about = {name: row[name] for name in _KEYS}
        known = told.get((row["outcome"], row["window_name"], row["watched"]))
        if known is None or known["definition"] != definition(row):
            found.append({**about, REASON: SMALL})
            continue
        figures = {name: known[name] for name in (*UNITS, "n_events", *RANGE)}
        is_few = known["n_events"] is None and known["n_events_low"] is not None
        reason = None if known["n_events"] is not None else FEW if is_few else SMALL
        found.append({**about, **figures, REASON: reason})
    return pa.Table.from_pylist(found, schema=SCHEMA)
