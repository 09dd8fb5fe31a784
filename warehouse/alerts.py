"""Alerts: what the evidence says, what a review says of it, and the messages that tell of a change.

What a channel was told last is read from the outbox, which outlives a store that is made anew: a
rebuilt store announces nothing twice, and a channel that is new is told what stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base.site import Site
from warehouse.models import model
from warehouse.outbox import Message, message_key, put
from warehouse.results import stage_rows
from warehouse.screened import SCREENED, in_words

TABLE = "signals.alert"
#: What a message of an alert says that it is; also the name of its event on a Prefect server.
SIGNAL_CHANGED = "dripwatch.signal.changed"
#: The state that nobody needs to be told of before there was another.
NONE = "none"

# What happens in a control window happens before an infusion, or long after it. Serious events are
# listed under the outcome, whatever drug or class is watched besides.
_ROWS = f"""
WITH serious AS (
    SELECT study_id, site_id, outcome, window_name, 'all' AS watched,
        count(*) FILTER (is_case) AS n_serious,
        count(*) FILTER (is_case AND status = 'open_event') AS n_serious_open
    FROM (
        SELECT *, status IN ('event', 'open_event') AND coalesce(is_serious, false) AS is_case
        FROM store.linkage.unit_outcome
        WHERE is_published AND window_name <> 'control'
    )
    GROUP BY ALL
), looked AS (
    SELECT study_id, site_id, outcome, window_name, watched, max(look_number) AS look_number,
        bool_or(decision = 'signal') AS is_signal
    FROM store.ops.look
    WHERE pair_hash IN (SELECT pair_hash FROM pair_in_force) OR (pair_hash IS NULL
        AND (study_id, study_hash) IN (SELECT (study_id, study_hash) FROM store.reference.study))
    GROUP BY ALL
), screened AS ({SCREENED}), told AS (
    SELECT *, concat_ws('/', study_id, outcome, window_name, nullif(watched, 'all')) AS alert_key,
        list_concat([one FOR one IN [
            CASE WHEN is_signal THEN 'boundary' END,
            CASE WHEN n_serious > 0 THEN 'serious_event' END
        ] IF one IS NOT NULL], coalesce(rules, [])) AS reasons
    FROM serious FULL JOIN looked USING (study_id, site_id, outcome, window_name, watched)
    FULL JOIN screened USING (study_id, site_id, outcome, window_name, watched)
), judged AS (
    SELECT *, CASE
        WHEN 'boundary' IN reasons THEN 'signal'
        WHEN 'serious_event' IN reasons THEN 'case'
        WHEN len(reasons) > 0 THEN 'watch'
        ELSE 'none' END AS evidence
    FROM told
)
SELECT j.study_id, j.site_id, j.outcome, j.window_name, j.watched, j.alert_key,
    CASE WHEN r.judged_state = j.evidence AND coalesce(j.n_serious, 0) <= r.judged_n_serious
            AND (j.evidence <> 'watch' OR list_has_all(r.judged_reasons, j.reasons))
        THEN r.state ELSE j.evidence END AS state,
    j.evidence, j.reasons, j.n_serious, j.n_serious_open, j.look_number,
    r.state AS reviewed_state, r.reviewer AS reviewed_by, r.recorded_at AS reviewed_at
FROM judged AS j LEFT JOIN last_review AS r USING (alert_key)
ORDER BY ALL
"""

REVIEWED = "AlertReviewed"
#: States that a review puts an alert in.
REVIEW_STATES = ("under_review", "confirmed", "refuted")

_TEXTS = {
    "signal": "This is a signal.",
    "case": "This is a case.",
    "watch": "This is to be watched; screening proves nothing.",
    "under_review": "Somebody is judging it.",
    "confirmed": "A review has confirmed it.",
    "refuted": "A review has refuted it.",
    NONE: "Nothing that it was raised for is there any more.",
}


def stage_alerts(
    con: duckdb.DuckDBPyConnection,
    site: Site,
    run_id: str,
    channels: Sequence[str],
    reviews: Sequence[Mapping[str, Any]] = (),
    pair_hashes: Sequence[str] = (),
) -> None:
    """Stage what `signals.alert` must become, and tell of what has changed.

    A message is put into the outbox for each channel that was last told of another state.

    Args:
        con: the store in use, in a transaction; `ops.look` is loaded.
        site: whose.
        run_id: the run that writes the messages.
        channels: names of the channels in force.
        reviews: `AlertReviewed` records, oldest first; the last one of an alert counts.
        pair_hashes: of the pairs in force (`studies.surveillance.pair_hash`); looks at others are
            of another surveillance.
    """
    rows = _rows(con, reviews, pair_hashes)
    stage_rows(con, model(TABLE), rows)
    labels = _labels(con)
    for channel in channels:
        told = _told(con, channel)
        put(con, _messages(site, rows, channel, told, labels, run_id))


_REVIEW_TYPES: dict[str, pa.DataType] = {
    "alert_key": pa.string(),
    "state": pa.string(),
    "reviewer": pa.string(),
    "judged_state": pa.string(),
    "judged_n_serious": pa.int64(),
    "judged_reasons": pa.list_(pa.string()),
    "recorded_at": pa.timestamp("us"),
}


def _rows(
    con: duckdb.DuckDBPyConnection,
    reviews: Sequence[Mapping[str, Any]],
    pair_hashes: Sequence[str],
) -> list[dict[str, Any]]:
    last = {one["alert_key"]: {name: one[name] for name in _REVIEW_TYPES} for one in reviews}
    schema = pa.schema(list(_REVIEW_TYPES.items()))
    con.register("last_review", pa.Table.from_pylist(list(last.values()), schema=schema))
    pairs = pa.table({"pair_hash": pa.array(pair_hashes, pa.string())})
    con.register("pair_in_force", pairs)
    cursor = con.execute(_ROWS)
    names = [column[0] for column in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    con.unregister("last_review")
    con.unregister("pair_in_force")
    return rows


def _messages(
    site: Site,
    rows: Sequence[Mapping[str, Any]],
    channel: str,
    told: Mapping[str, Sequence[str]],
    labels: Mapping[tuple[str, str], str],
    run_id: str,
) -> Iterator[Message]:
    for row in rows:
        before = told.get(row["alert_key"], ())
        previous = before[-1] if before else NONE
        if row["state"] == previous:
            continue
        # A state that comes back is news: the number of changes told is part of the key.
        parts = (site.site.id, channel, row["alert_key"], len(before), row["state"])
        key = message_key(SIGNAL_CHANGED, *parts)
        label = labels.get((row["study_id"], row["outcome"]), row["outcome"])
        yield _message(site, row, channel, key, previous, label, run_id)


_NAMES = ("study_id", "outcome", "window_name", "watched", "alert_key")


def _message(
    site: Site,
    row: Mapping[str, Any],
    channel: str,
    key: str,
    previous: str,
    label: str,
    run_id: str,
) -> Message:
    """Return the message of a change; it holds no count: one may be too small to be told."""
    mark = "SYNTHETIC: " if site.site.synthetic else ""
    subject = f"{mark}{site.site.id}: {label}: {row['state']}"
    is_evidence = bool(row["reasons"]) and row["state"] == row["evidence"]
    why = f", because {in_words(row['reasons'])}" if is_evidence else ""
    told = {
        "event": SIGNAL_CHANGED,
        "key": key,
        "site_id": site.site.id,
        **{name: row[name] for name in _NAMES},
        "state": row["state"],
        "previous_state": previous,
        "reasons": list(row["reasons"]),
        "synthetic": site.site.synthetic,
        "run_id": run_id,
        "subject": subject,
        "text": f"{mark}{_TEXTS[row['state']]} Alert {row['alert_key']} of {site.site.id} was "
        f"`{previous}` and is `{row['state']}`{why}. `analysis.alert` of the warehouse shows first "
        "what has changed in the data, then the numbers; `dripwatch explain` leads to infusions.",
    }
    return Message(key, site.site.id, channel, subject, json.dumps(told), run_id)


def _told(con: duckdb.DuckDBPyConnection, channel: str) -> dict[str, list[str]]:
    """Return the states that a channel was told, or will be, of each alert, in their order."""
    rows = con.execute(
        "SELECT body FROM ops.outbox WHERE channel = ? ORDER BY message_number", [channel]
    ).fetchall()
    states: dict[str, list[str]] = {}
    for (body,) in rows:
        told = _read(body)
        if told.get("event") == SIGNAL_CHANGED:
            states.setdefault(told["alert_key"], []).append(told["state"])
    return states


def _read(body: str) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _labels(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], str]:
    rows = con.execute("SELECT study_id, outcome, label FROM reference.outcome").fetchall()
    return {(study, outcome): label for study, outcome, label in rows}
