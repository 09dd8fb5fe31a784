"""A row's patient while it is told, and the attributes in brackets behind a clause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from tests.linkage_cases import ALL_TYPES, THROUGH, Patient
from tests.spec.times import TIME, Clock, SpecError, Time

BORN = "2016-05-10"
Match = re.Match[str]


@dataclass
class Story:
    """A row's patient, and how far the feeds of the patient's site reach."""

    key: str
    patient: Patient = field(init=False)
    clock: Clock = field(default_factory=Clock)
    feeds: dict[str, datetime] = field(default_factory=lambda: dict.fromkeys(ALL_TYPES, THROUGH))
    person: dict[str, Any] = field(
        default_factory=lambda: {"birth_date": date.fromisoformat(BORN), "sex": "male"}
    )
    is_registered: bool = True
    has_indication: bool = True
    has_dose: bool = False

    def __post_init__(self) -> None:
        self.patient = Patient(self.key)

    def add(self, event_type: str, time: Time, **fields: Any) -> None:
        """Add an event of the row's patient, zone and site."""
        self.patient.add(
            event_type, None, occurred_at=time.at, time_precision=time.precision,
            zone=self.clock.zone, site_id=self.key, **fields,
        )  # fmt: skip


def attributes(story: Story, text: str | None, known: Iterable[str]) -> dict[str, Any]:
    """Read `(a, b 2)`: each attribute must fit one of the clause's own, and sets its field."""
    fields: dict[str, Any] = {}
    for part in text.split(", ") if text else []:
        found = [
            (match, read)
            for pattern, read in (_ATTRIBUTES[name] for name in known)
            if (match := re.fullmatch(pattern, part))
        ]
        if not found:
            msg = f"no attribute {part!r} here"
            raise SpecError(msg)
        match, read = found[0]
        fields |= read(story, match)
    return fields


#: Attribute: its pattern, and the fields that it sets.
_ATTRIBUTES: dict[str, tuple[str, Callable[[Story, Match], dict[str, Any]]]] = {
    "status": (
        "completed|stopped|in progress|not done|entered in error|cancelled|active|on hold|draft"
        "|unknown|preliminary|corrected|declined",
        lambda _, m: {"status": m[0].replace(" ", "-")},
    ),
    "order": ("order (\\w+)", lambda _, m: {"order_key": m[1]}),
    "source": ("source (\\w+)", lambda _, m: {"source": m[1]}),
    "dose": ("([\\d.]+) (mg|g)", lambda _, m: {"dose_value": float(m[1]), "dose_unit": m[2]}),
    "route": (
        "oral|subcutaneous|route unknown",
        lambda _, m: {"route": None if m[0] == "route unknown" else m[0]},
    ),
    "grade": ("grade (\\d)", lambda _, m: {"grade": int(m[1])}),
    "until": (f"until ({TIME})", lambda s, m: {"ended_at": s.clock.instant(m[1])}),
    "serious": ("called serious", lambda _, __: {"is_serious": True}),
    "low": ("limit ([\\d.]+)", lambda _, m: {"low_limit": float(m[1])}),
    "high": ("upper limit ([\\d.]+)", lambda _, m: {"high_limit": float(m[1])}),
    "spoilt": ("haemolysed|contaminated", lambda _, m: {"specimen_quality": m[0]}),
    "vague": ("about that time", lambda _, __: {"flags": ["imprecise_time"]}),
    "issued": (
        f"released ({TIME})",
        lambda s, m: {"resulted_at": s.clock.instant(m[1])},
    ),
    "admission": (
        "elective|unplanned",
        lambda _, m: {"admission_type": m[0]},
    ),
}
