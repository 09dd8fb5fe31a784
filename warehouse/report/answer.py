"""The first screen: the risk, what is on the alert list, what changed, how fresh and whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.disclosure import by_weight
from warehouse.report import words
from warehouse.report.masking import told
from warehouse.report.page import Answer, Card
from warehouse.report.read import MAIN_WINDOW, Row, Source

_STATES = {
    "signal": "a boundary was crossed",
    "case": "a serious event is listed",
    "watch": "screening found something",
    "under_review": "under review",
    "confirmed": "confirmed by review",
    "refuted": "refuted by review",
}
_RANK = {name: place for place, name in enumerate(_STATES)}
_REASONS = {
    "study_changed": "the study was revised",
    "software_changed": "the software was changed",
    "settings_changed": "settings were changed",
    "store_rebuilt": "the store was made anew",
    "window_closed": "windows closed",
    "window_reopened": "windows opened again",
    "record_new": "new records",
    "record_late": "late records",
    "record_corrected": "corrected records",
    "record_retracted": "retracted records",
    "patient_merged": "merged patients",
}
#: Those that are not about patients' records.
_OF_NOBODY = frozenset({"study_changed", "software_changed", "settings_changed", "store_rebuilt"})
_STALE = {
    "held": "a later delivery is held",
    "quiet": "it fell silent while others deliver",
    "behind": "it is more than two days behind the newest",
}


def main_outcome(source: Source, study: Row, risks: Sequence[Row]) -> str | None:
    """Return the outcome of the first screen: a published one, that of which most events are told.

    Args:
        source: the warehouse.
        study: whose.
        risks: its headline risks as they are told: which of two has more may not be told either.
    """
    published = {
        row["outcome"]
        for row in source.rows(
            """SELECT DISTINCT outcome FROM reference.published
            WHERE study_id = ? AND value IS NOT NULL AND stratum = 'all'""",
            [study["study_id"]],
        )
    }
    weight = {name: place for place, name in enumerate(by_weight(study["settings"]))}
    ranked = sorted(
        (row for row in risks if row["stratum"] == "all"),
        key=lambda row: (
            row["outcome"] not in published,
            -(row["n_events"] or 0),
            weight.get(row["outcome"], len(weight)),
        ),
    )
    return str(ranked[0]["outcome"]) if ranked else None


def answers(risks: Sequence[Row], outcome: str) -> tuple[Answer, ...]:
    """Return the risk after all and after first-in-record infusions, in words and digits."""
    wanted = (
        ("all", "all", "after all infusions", "infusions"),
        ("ordinal", "first", "after the first infusion in the record", "first infusions in record"),
    )
    return tuple(
        _answer(row, question, noun)
        for stratum, value, question, noun in wanted
        for row in risks
        if (row["outcome"], row["stratum"], row["stratum_value"]) == (outcome, stratum, value)
    )


def _answer(row: Row, question: str, noun: str) -> Answer:
    asked = f"{row['label']} {question}"
    key = row["signal_key"]
    if row["suppressed_reason"]:
        why = "The counts are too small to be shown outside the warehouse."
        return Answer(asked, words.HIDDEN, why, "", key)
    if row["risk"] is None:
        return Answer(asked, words.DASH, f"There are no {noun} with a closed window yet.", "", key)
    patients = f" of {words.many(row['n_patients'], 'patient')}" if row["n_patients"] else ""
    counts = f"{row['n_events']:,} of {row['n_units']:,} {noun}"
    told = f" {words.as_of(row['as_of'])}" if row["as_of"] else ""
    counted = f"{counts}{patients} were followed by the event.{told}"
    spread = f"95 % interval {words.interval(row['ci_low'], row['ci_high'])}"
    return Answer(asked, words.percent(row["risk"]), counted, spread, key)


def cards(source: Source, study: Row) -> tuple[Card, ...]:
    """Return the facts beside the answer."""
    return (
        *cards_of_changes(source, study),
        _freshness(source),
        _completeness(source),
        _open_windows(source, study),
    )


def cards_of_changes(source: Source, study: Row) -> tuple[Card, Card]:
    """Return what is on the alert list, and what changed."""
    return _alerts(source, study), _changes(source, study)


def _alerts(source: Source, study: Row) -> Card:
    rows = source.rows(
        """SELECT o.label, a.alert_key, a.window_name, a.watched, a.state, a.n_serious,
            a.run_id = (SELECT value FROM ops.state WHERE name = 'published_by_run') AS is_new
        FROM signals.alert AS a JOIN reference.outcome AS o USING (study_id, outcome)
        WHERE a.study_id = ? AND a.state <> 'none' ORDER BY a.alert_key""",
        [study["study_id"]],
    )
    if not rows:
        return Card("alerts", "Alerts", "No alert stands.", "good")
    states = Counter(row["state"] for row in rows)
    lead = "; ".join(
        f"{words.many(states[name], 'alert')} at {name.replace('_', ' ')}: {_STATES[name]}"
        for name in sorted(states, key=lambda one: _RANK.get(one, 9))
    )
    ranked = sorted(rows, key=lambda row: (_RANK.get(row["state"], 9), row["label"]))
    lines = tuple(_alert_line(row, source) for row in ranked)
    return Card("alerts", "Alerts", lead + ".", "look", lines)


def _alert_line(row: Row, source: Source) -> str:
    watched = "" if row["watched"] == "all" else f", {row['watched']}"
    serious = row["n_serious"] or 0
    # Serious events are among all events that the page tells, and come one by one: their number,
    # and on which nights an alert changed, would tell of single children.
    is_told = source.is_alone or not serious
    counted = f": {told(serious, source.min_cell)} with a serious event" if serious else ""
    if not is_told:
        counted = ": with a serious event"
    changed = "; changed with this publication" if row["is_new"] and is_told else ""
    return (
        f"{row['state'].replace('_', ' ')}: {row['label']} ({row['window_name']} window{watched})"
        f"{counted}{changed}"
    )


def _changes(source: Source, study: Row) -> Card:
    rows = source.rows(
        f"""SELECT c.reasons FROM ops.change AS c
        JOIN reference.outcome AS o USING (study_id, outcome)
        JOIN ({MAIN_WINDOW}) AS w USING (study_id, outcome, window_name)
        WHERE c.study_id = ?
            AND c.run_id = (SELECT value FROM ops.state WHERE name = 'published_by_run')
        ORDER BY o.label""",
        [study["study_id"]],
    )
    if not source.is_alone:
        return _told_anew(source, study, rows)
    if not rows:
        return Card("changes", "What changed", "No risk changed with this publication.", "good")
    reasons = list(dict.fromkeys(reason for row in rows for reason in row["reasons"] or []))
    why = words.listed([_REASONS.get(reason, reason) for reason in reasons] or ["not known"])
    lines = tuple(map(_change_line, source.moved.get(study["study_id"], ())))
    lead = f"Risks changed with this publication: {why}."
    return Card("changes", "What changed", f"{lead} {_STAYS}", "plain", lines)


def _told_anew(source: Source, study: Row, rows: Sequence[Row]) -> Card:
    """What changed of figures that are told, and reasons that are not about patients.

    On a ward that treats one child a day, nights on which any risk changed, and why, add up to a
    count of children.
    """
    found = dict.fromkeys(reason for row in rows for reason in row["reasons"] or [])
    why = [_REASONS[reason] for reason in found if reason in _OF_NOBODY]
    lines = tuple(map(_change_line, source.moved.get(study["study_id"], ())))
    told = "Figures were told anew." if lines else _NONE_MOVED
    lead = f"{words.listed(why).capitalize()}. {told}" if why else told
    return Card("changes", "What changed", f"{lead} {_STAYS}", "plain", lines)


_NONE_MOVED = "No risk of all infusions that was told before has moved."
_STAYS = "A figure stays on this page until its change may be told."


def _change_line(row: Row) -> str:
    """A change of what is told in words; whether others have changed is not told."""
    parts = [
        f"{noun} as before"
        if row[f"{name}_before"] == row[name]
        else f"{noun} {row[f'{name}_before']:,} → {row[name]:,}"
        for name, noun in (("n_events", "events"), ("n_units", "infusions"))
    ]
    return f"{row['label']}: {', '.join(parts)}"


def _freshness(source: Source) -> Card:
    rows = source.rows("FROM reference.freshness ORDER BY stale_since_at, event_type, source")
    through = [row["complete_through_at"] for row in rows if row["complete_through_at"]]
    stale = [row for row in rows if row["stale_since_at"]]
    if not through:
        return Card("freshness", "How fresh", "No source says how far its data reach.", "look")
    lead = f"The newest data reach to {words.day(max(through))}."
    if not stale:
        return Card("freshness", "How fresh", f"{lead} No feed is stale.", "good")
    lines = tuple(
        f"{row['event_type']} of {row['source']}: stale since {words.day(row['stale_since_at'])} "
        f"({words.listed([_STALE.get(one, one) for one in row['reasons'] or ['not known']])})"
        for row in stale
    )
    oldest = words.day(min(row["stale_since_at"] for row in stale))
    more = f"{words.many(len(stale), 'feed')} stale, since {oldest} or later."
    return Card("freshness", "How fresh", f"{lead} {more}", "look", lines)


_REJECTED = ("n_quarantined",)


def _completeness(source: Source) -> Card:
    (row,) = source.rows(
        """SELECT coalesce(sum(n_read), 0)::BIGINT AS n_read,
            coalesce(sum(n_quarantined), 0)::BIGINT AS n_quarantined,
            count(DISTINCT batch_id) AS n_batches FROM quality.reconciliation"""
    )
    gaps = source.rows("SELECT event_type FROM quality.feed WHERE is_quiet ORDER BY event_type")
    held = {name: source.held.count(f"rows/{name}", row[name]) for name in ("n_read", *_REJECTED)}
    row = {**row, **held}
    kept = row["n_read"] - row["n_quarantined"]
    lead = (
        f"{row['n_read']:,} rows of {words.many(row['n_batches'], 'delivery', 'deliveries')} were "
        f"read; {told(row['n_quarantined'], source.min_cell)} were set aside by a check."
    )
    silent = tuple(f"{one['event_type']}: silent while others deliver" for one in gaps)
    link = ("#completeness", "Month by month")
    is_well = kept == row["n_read"] and not silent
    return Card("whole", "How complete", lead, "good" if is_well else "plain", silent, link)


def _open_windows(source: Source, study: Row) -> Card:
    (row,) = source.rows(
        """SELECT coalesce(max(n_open), 0)::BIGINT AS n_open,
            count(*) FILTER (WHERE n_open > 0) AS n_outcomes
        FROM signals.risk WHERE study_id = ? AND stratum = 'all' AND is_headline""",
        [study["study_id"]],
    )
    if not row["n_open"]:
        return Card("open", "What is provisional", "Every window has closed.", "good")
    # After how many infusions is told by packs, of another night.
    many = f", after up to {told(row['n_open'], source.min_cell)} infusions"
    lead = (
        f"Of {words.many(row['n_outcomes'], 'outcome')} windows are still open"
        f"{many if source.is_alone else ''}; they are in no risk yet."
    )
    return Card("open", "What is provisional", lead)
