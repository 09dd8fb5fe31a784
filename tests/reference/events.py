"""A patient's events, read once: what each means in the study and when it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studies.load import ConceptRow, Study
from tests.reference.clock import When, when


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        type: event type.
        row: its fields.
        concepts: what its code means in the study.
        when: its start; None if it has no time that links.
        span: from its start to its end, where it has one.
    """

    type: str
    row: dict[str, Any]
    concepts: frozenset[str]
    when: When | None
    span: When | None

    def means(self, concepts: list[str]) -> bool:
        return not self.concepts.isdisjoint(concepts)


def fits(code: ConceptRow, event_type: str, row: dict[str, Any]) -> bool:
    if (code.event_type, code.code_system) != (event_type, row.get("code_system")):
        return False
    told, asked = (as_meant(code.code_system, one) for one in (str(row["code"]), code.code))
    return told.startswith(asked) if code.match == "prefix" else told == asked


def as_meant(system: str, code: str) -> str:
    """A code as its system compares it: ICD knows no dots, blanks and small letters."""
    return code.replace(".", "").replace(" ", "").upper() if system.startswith("icd") else code


def read_events(study: Study, rows: list[tuple[str, dict[str, Any]]]) -> list[Event]:
    codes = study.concept_rows()
    return [
        Event(
            event_type,
            row,
            frozenset(code.concept for code in codes if fits(code, event_type, row)),
            when(row),
            when(row, row.get("ended_at")),
        )
        for event_type, row in rows
    ]
