"""Looks at all hospitals together: how each pair stands, and every look that was taken."""

from __future__ import annotations

from warehouse.pooled_report.read import Pooled
from warehouse.report import words
from warehouse.report.page import Cell, Figure, Table
from warehouse.report.page import Row as TableRow
from warehouse.report.read import Row

_HEAD = (
    "Outcome",
    "After",
    "Look",
    "Hospitals",
    "Patients with an event",
    "Expected",
    "Signals from",
    "Alpha spent",
    "It says",
    "Data",
)
_SAYS = {
    "signal": "signal",
    "continue": "goes on",
    "end": "ended without a signal",
    "cannot_tell": "cannot tell",
}
_STATES = {
    "signal": "a signal: more patients had an event than the reference explains",
    "cannot_tell": "cannot be told yet, for events that hospitals mask",
    "none": "no signal",
}
_CARE = (
    "Each look is one test of all hospitals' counts against one reference, at an alpha and up to "
    "an end that were fixed beforehand; it was recorded when packs were pooled and is never made "
    "anew. Where hospitals mask events they are a range: a look says only what holds at every "
    "count of it.",
    "A signal is a reason to ask first what has changed in the data, then in care. No signal is no "
    "proof of safety.",
)


def looks(file: Pooled, study: Row, prefix: str) -> Figure | None:
    """Return the looks at a study's pairs; None where nothing is looked at."""
    name, title = f"{prefix}-looks", "Looks at all hospitals together"
    whose = [study["study_id"]]
    alerts = file.rows("FROM pooled.alert WHERE study_id = ? ORDER BY ALL", whose)
    if not alerts:
        return None
    labels = {key: one["label"] for key, one in file.outcomes(study).items()}
    notes = tuple(_stands(one, labels) for one in alerts) + _CARE
    found = file.rows(
        "FROM pooled.sequential WHERE study_id = ? "
        "ORDER BY outcome, window_name, watched, pair_hash, look_number DESC",
        whose,
    )
    if not found:
        return Figure(name, title, absent="No look has been taken yet.", notes=notes)
    body = tuple(_row(file, one, labels) for one in found)
    return Figure(name, title, notes=notes, table=Table(f"{title}.", _HEAD, body, is_open=True))


def _stands(one: Row, labels: dict[str, str]) -> str:
    note = f" No look now: {one['note']}." if one["note"] else ""
    return f"{labels[one['outcome']]}, {one['watched']}: {_STATES[one['state']]}.{note}"


def _row(file: Pooled, one: Row, labels: dict[str, str]) -> TableRow:
    low, high = one["n_events_low"], one["n_events_high"]
    events = words.count(low) if low == high else f"{words.count(low)} to {words.count(high)}"
    cells = (
        Cell(labels.get(str(one["outcome"]), ""), is_head=True),
        Cell(one["watched"], "watched"),
        Cell(words.count(one["look_number"]), "look", is_number=True),
        Cell(words.count(one["n_sites"]), "n_sites", is_number=True),
        Cell(events, "n_events", is_number=True),
        Cell(words.number(one["expected"]), "expected", is_number=True),
        Cell(words.count(one["threshold"]), "threshold", is_number=True),
        Cell(f"{one['alpha_spent']:.4f} of {one['alpha']:g}", "alpha", is_number=True),
        Cell(_SAYS[one["decision"]], "decision"),
        Cell(file.data(set(one["sites"]) & set(file.hospitals)), "data"),
    )
    key = ("study_id", "outcome", "window_name", "watched", "pair_hash", "look_number")
    return TableRow(cells, "/".join(str(one[part]) for part in key))
