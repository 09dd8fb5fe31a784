"""The words that tables use as values, spelled out: what `reference.term` holds."""

from __future__ import annotations

from typing import NamedTuple

from warehouse.screened import REASONS


class Term(NamedTuple):
    """A value that columns of a kind may hold, and what it says (docs/windows.md)."""

    kind: str
    term: str
    meaning: str


def _of(kind: str, meanings: dict[str, str]) -> tuple[Term, ...]:
    return tuple(Term(kind, term, meaning) for term, meaning in meanings.items())


#: In the order in which people ask: who is counted, what became of each, why a window ends.
TERMS: tuple[Term, ...] = (
    *_of(
        "denominator",
        {
            "all": "Units that are closed, eligible and at risk; those whose follow-up ended "
            "early, and those that nobody looked at, count as without event.",
            "complete": "As all, without the censored: those whose follow-up ended early, without "
            "an event. Those that nobody looked at still count as without event. The headline.",
            "observed": "Of complete, units with a reading, a contact or a report in the window, "
            "or with the event. For vital signs and symptoms.",
            "tested": "Of complete, units with a usable laboratory result in the window. For "
            "laboratory outcomes.",
            "tested_with_baseline": "Of tested, units with a result from before to compare with.",
            "determined": "Of complete, units whose components suffice to tell. For composites.",
        },
    ),
    *_of(
        "status",
        {
            "event": "It happened, and the window is closed.",
            "no_event": "Somebody looked, the window is closed, and it did not happen.",
            "censored": "No event, but follow-up ended or the next unit began inside the window.",
            "untested": "No usable laboratory result in the window: in all and complete it counts "
            "as without event, in tested not at all.",
            "unobserved": "No reading, contact or report in the window: in all and complete it "
            "counts as without event, in observed not at all.",
            "undetermined": "Components that nobody looked at could still make the composite true: "
            "in all and complete it counts as without event, in determined not at all.",
            "open": "The data do not reach past the window's end yet; in no denominator.",
            "open_event": "It happened, but the window is still open; in no denominator yet.",
            "not_at_risk": "No time at risk is left in the window; in no denominator.",
            "superseded_same_day": "A later unit of the date owns it; in no denominator.",
            "merged": "Its window is one with an earlier unit's, which tells of both; in no "
            "denominator.",
            "ineligible": "The study's rules leave the unit out; in no denominator.",
            "unplaceable": "The patient is not registered, or was born later; in no denominator.",
        },
    ),
    *_of(
        "cut_reason",
        {
            "death": "The window ends with the patient's death; the unit is not censored by it.",
            "next_unit": "The next unit of the class begins, and owns what follows.",
            "observation_end": "The patient is followed no longer.",
        },
    ),
    *_of(
        "alert_state",
        {
            "none": "Nothing asks for a look.",
            "watch": "Screening found something; it is no finding by itself.",
            "case": "At least one serious event after a unit is listed.",
            "signal": "A look of the sequential surveillance crossed its boundary.",
            "under_review": "A person has taken it up.",
            "confirmed": "A person has judged it, and it stands.",
            "refuted": "A person has judged it, and the data or chance explain it.",
        },
    ),
    *_of("alert_reason", {name: f"{why[0].upper()}{why[1:]}." for name, why in REASONS.items()}),
)
