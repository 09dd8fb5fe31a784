"""A patient's events, read once: what each means in the study and when it was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
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
        is_never: whether its code is evidence of no outcome, wherever the code list expects it.
    """

    type: str
    row: dict[str, Any]
    concepts: frozenset[str]
    when: When | None
    span: When | None
    is_never: bool

    def means(self, concepts: list[str]) -> bool:
        return not self.concepts.isdisjoint(concepts)


def holds(code: ConceptRow, row: dict[str, Any]) -> bool:
    """Whether a row's code is the one of the code list, whatever the row tells of."""
    if code.code_system != row.get("code_system"):
        return False
    told, asked = (as_meant(code.code_system, one) for one in (str(row["code"]), code.code))
    return told.startswith(asked) if code.match == "prefix" else told == asked


@cache
def as_meant(system: str, code: str) -> str:
    """A code as its system compares it: ICD knows no dots, blanks and small letters."""
    return code.replace(".", "").replace(" ", "").upper() if system.startswith("icd") else code


def read_events(study: Study, rows: list[tuple[str, dict[str, Any]]]) -> list[Event]:
    codes, never = study.concept_rows(), never_events(study)
    found = []
    for event_type, row in rows:
        told = [code for code in codes if holds(code, row)]
        found.append(
            Event(
                event_type,
                row,
                frozenset(code.concept for code in told if code.event_type == event_type),
                when(row),
                when(row, row.get("ended_at")),
                any(code.concept in never for code in told),
            )
        )
    return found


def never_events(study: Study) -> list[str]:
    """Concepts that are evidence of no outcome: those listed, and the indication itself."""
    indication = [name for group in study.model.indication for name in group.concepts]
    return [*study.model.eligibility.never_event_concepts, *indication]
