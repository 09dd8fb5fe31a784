"""Alerts: their states as linkage has them, and the messages that tell of a change.

What a channel was told last is read from the outbox, which outlives a store that is made anew: a
rebuilt store announces nothing twice, and a channel that is new is told what stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from pipelines.base.site import Site
from warehouse.models import model
from warehouse.outbox import Message, message_key, put
from warehouse.results import stage_rows

TABLE = "signals.alert"
#: What a message of an alert says that it is; also the name of its event on a Prefect server.
SIGNAL_CHANGED = "dripwatch.signal.changed"
#: The state that nobody needs to be told of before there was another.
NONE = "none"

# What happens in a control window happens before an infusion, or long after it.
_ROWS = """
SELECT u.study_id, u.site_id, u.outcome, u.window_name,
       concat_ws('/', u.study_id, u.outcome, u.window_name) AS alert_key,
       CASE WHEN bool_or(u.is_case) THEN 'case' ELSE 'none' END AS state,
       count(*) FILTER (u.is_case) AS n_serious,
       count(*) FILTER (u.is_case AND u.status = 'open_event') AS n_serious_open
FROM (
    SELECT *, status IN ('event', 'open_event') AND coalesce(is_serious, false) AS is_case
    FROM store.linkage.unit_outcome
    WHERE is_published AND window_name <> 'control'
) AS u
GROUP BY ALL
ORDER BY ALL
"""

_TEXTS = {
    "case": "A serious event after an infusion is listed.",
    NONE: "No serious event after an infusion is listed any more.",
}


def stage_alerts(
    con: duckdb.DuckDBPyConnection, site: Site, run_id: str, channels: Sequence[str]
) -> None:
    """Stage what `signals.alert` must become, and tell of what has changed.

    A message is put into the outbox for each channel that was last told of another state.

    Args:
        con: the store in use, in the transaction that loads `linkage.unit_outcome`.
        site: whose.
        run_id: the run that writes the messages.
        channels: names of the channels in force.
    """
    rows = _rows(con)
    stage_rows(con, model(TABLE), rows)
    labels = _labels(con)
    for channel in channels:
        told = _told(con, channel)
        put(con, _messages(site, rows, channel, told, labels, run_id))


def _rows(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    cursor = con.execute(_ROWS)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


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
    told = {
        "event": SIGNAL_CHANGED,
        "key": key,
        "site_id": site.site.id,
        **{name: row[name] for name in ("study_id", "outcome", "window_name", "alert_key")},
        "state": row["state"],
        "previous_state": previous,
        "synthetic": site.site.synthetic,
        "run_id": run_id,
        "subject": subject,
        "text": f"{mark}{_TEXTS[row['state']]} Alert {row['alert_key']} of {site.site.id} was "
        f"`{previous}` and is `{row['state']}`. `signals.alert` of the warehouse has the number; "
        "`dripwatch explain` leads to the infusions.",
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
