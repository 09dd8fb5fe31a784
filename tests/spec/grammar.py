"""What happens to a patient, in words, as events (tests/spec/README.md has the grammar).

Strict: a clause that fits no pattern, or an attribute that its clause does not have, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from tests.linkage_cases import ALL_TYPES, THROUGH, Patient
from tests.spec.tables import Row
from tests.spec.times import TIME, UNTIMED, Clock, SpecError, Time
from tests.spec.words import (
    ANALYTES,
    DIAGNOSES,
    DRUGS,
    FEEDS,
    MEDICATIONS,
    SYMPTOMS,
    VITAL_UNITS,
    VITALS,
    one_of,
)

BORN = "2016-05-10"
USUAL_INFUSION = "infusion day 0 09:00-09:30"
Match = re.Match[str]


@dataclass
class Story:
    """A row's patient, and how far the feeds of the patient's site reach."""

    key: str
    patient: Patient = field(init=False)
    clock: Clock = field(default_factory=Clock)
    feeds: dict[str, datetime] = field(default_factory=lambda: dict.fromkeys(ALL_TYPES, THROUGH))
    quiet: set[str] = field(default_factory=set)
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


def story_of(row: Row) -> Story:
    """Turn a row's words into events.

    Errors:
        SpecError: names the file, the line and the words that the grammar does not have.
    """
    story = Story(row.key)
    clauses = [one.strip() for one in row.happens.split(";") if one.strip()]
    if not any(re.match(rf"({one_of(DRUGS)}) ", one) for one in clauses):
        place = next((n for n, one in enumerate(clauses) if not _SETS_CLOCK.match(one)), 99)
        clauses.insert(place, USUAL_INFUSION)
    for clause in clauses:
        try:
            _tell(story, clause)
        except ValueError as error:
            msg = f"{row.where}: {clause!r}: {error}"
            raise SpecError(msg) from error
    _finish(story)
    return story


_SETS_CLOCK = re.compile("day 0 is|zone ")


def _tell(story: Story, clause: str) -> None:
    found = [(match, tell) for pattern, tell in _CLAUSES if (match := pattern.fullmatch(clause))]
    if len(found) != 1:
        msg = f"not in the grammar of tests/spec/README.md ({len(found)} clauses fit)"
        raise SpecError(msg)
    [(match, tell)] = found
    tell(story, match)


def _finish(story: Story) -> None:
    long_ago = story.clock.read("2018-01-01")
    if story.is_registered:
        story.add("PatientRegistered", Time(None, None), **story.person)
    if story.has_indication:
        code = DIAGNOSES["osteogenesis imperfecta"]
        story.add("DiagnosisRecorded", long_ago, code=code, code_system="icd10cm")


def attributes(story: Story, text: str | None, known: dict[str, str]) -> dict[str, Any]:
    """Read `(a, b 2)`: each attribute must fit one of the clause's own, and sets its field."""
    fields: dict[str, Any] = {}
    for part in (text or "").split(", ") if text else []:
        for name in (one for one in known if re.fullmatch(_ATTRIBUTES[one][0], part)):
            match = re.fullmatch(_ATTRIBUTES[name][0], part)
            fields |= _ATTRIBUTES[name][1](story, match)  # type: ignore[arg-type] # it fits
            break
        else:
            msg = f"no attribute {part!r} here"
            raise SpecError(msg)
    return fields


def _number(text: str) -> float:
    return float(text)


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
    "site": ("oral site", lambda _, __: {"body_site": "oral"}),
}

_DOSE = dict.fromkeys(["status", "order", "source", "dose", "route", "until"], "")
_REPORT = dict.fromkeys(["grade", "until", "serious", "source"], "")
_LAB = dict.fromkeys(["status", "low", "high", "spoilt", "vague", "issued", "source"], "")


def _infusion(story: Story, match: Match) -> None:
    clock, kind = story.clock, match["kind"] or "administered"
    # Times count from the first dose; from the first order or dispense where there is none.
    is_first = clock.start is None or (kind == "administered" and not story.has_dose)
    story.has_dose |= kind == "administered"
    time = clock.read(match["time"])
    end = _end(clock, match["end"], time)
    if is_first:
        clock.start, clock.end = time.at, end or time.at
    given = {"status": "active" if kind == "ordered" else "completed", "route": "intravenous"}
    given |= {"evidence": kind} | (
        {"ended_at": end} if end else {}
    )
    fields = given | attributes(story, match["attrs"], _DOSE)
    code = DRUGS[match["drug"]]
    story.add("InfusionRecorded", time, code=code, code_system="rxnorm", **fields)


def _end(clock: Clock, text: str | None, start: Time) -> datetime | None:
    if text is None or start.at is None:
        return None
    if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text):
        return clock.instant(f"day {clock.day_of(start.at)} {text}")
    return clock.instant(text)


def _symptom(story: Story, match: Match) -> None:
    fields = attributes(story, match["attrs"], _REPORT)
    if match["how"] == "on the problem list":
        fields["category"] = "problem-list"
    event_type = "AdverseEventReported" if match["how"] == "reported" else "DiagnosisRecorded"
    code = SYMPTOMS[match["what"]]
    time = story.clock.read(match["time"])
    story.add(event_type, time, code=code, code_system="icd10cm", **fields)


def _diagnosis(story: Story, match: Match) -> None:
    time, code = story.clock.read(match["time"]), DIAGNOSES[match["what"]]
    story.add("DiagnosisRecorded", time, code=code, code_system="icd10cm")


def _vital(story: Story, match: Match) -> None:
    what = match["what"]
    value = None if match["value"] is None else float(match["value"])
    unit = None if match["no_unit"] else match["unit"] or VITAL_UNITS[what]
    story.add(
        "VitalSignMeasured", story.clock.read(match["time"]), code=VITALS[what],
        code_system="loinc", value=value, unit=unit,
    )  # fmt: skip


def _lab(story: Story, match: Match) -> None:
    fields = attributes(story, match["attrs"], _LAB)
    if match["bound"]:
        fields["comparator"] = match["bound"]
    value = None if match["value"] is None else float(match["value"])
    story.add(
        "LabResulted", story.clock.read(match["time"]), code=ANALYTES[match["what"]],
        code_system="loinc", value=value, unit=match["unit"], **fields,
    )  # fmt: skip


def _medication(story: Story, match: Match) -> None:
    fields = {"status": "completed"} | attributes(story, match["attrs"], _DOSE)
    code, time = MEDICATIONS[match["what"]], story.clock.read(match["time"])
    story.add("MedicationGiven", time, code=code, code_system="rxnorm", **fields)


def _visit(story: Story, match: Match) -> None:
    time = story.clock.read(match["time"])
    fields = attributes(story, match["attrs"], {"admission": ""})
    if end := _end(story.clock, match["end"], time):
        fields["ended_at"] = end
    story.add("EncounterOccurred", time, setting=match["setting"], **fields)


def _seen(story: Story, match: Match) -> None:
    time = story.clock.read(match["time"])
    normal = {"code": VITALS["temperature"], "code_system": "loinc", "value": 36.8, "unit": "Cel"}
    story.add("VitalSignMeasured", time, **normal)


def _feed(story: Story, match: Match) -> None:
    name = match["feed"]
    for event_type in ALL_TYPES if name == "all" else [FEEDS[name]]:
        story.feeds[event_type] = story.clock.instant(match["time"])


def _set(name: str, value: Callable[[Clock, str], Any]) -> Callable[[Story, Match], None]:
    def tell(story: Story, match: Match) -> None:
        story.person[name] = value(story.clock, match[match.lastindex or 0])

    return tell


def _zone(story: Story, match: Match) -> None:
    story.clock.zone = match[1]


def _day_0(story: Story, match: Match) -> None:
    story.clock.day_0 = date.fromisoformat(match[1])


def _unregistered(story: Story, _: Match) -> None:
    story.is_registered = False


def _unindicated(story: Story, _: Match) -> None:
    story.has_indication = False


def _no_feed(story: Story, match: Match) -> None:
    del story.feeds[FEEDS[match[1]]]


def _quiet(story: Story, match: Match) -> None:
    story.quiet.add(FEEDS[match[1]])


_AT = rf" (?:at )?(?P<time>{TIME}|{UNTIMED})"
_UNTIL = rf"(?:(?:-| to )(?P<end>\d\d:\d\d(?::\d\d)?|{TIME}))?"
_MORE = r"(?: \((?P<attrs>[^()]+)\))?"
_UNIT = r"(?P<unit>(?!(?:at|day|start|end|without)\b)[\w\[\]%/]+)"
_CLAUSES: list[tuple[re.Pattern[str], Callable[[Story, Match], None]]] = [
    (re.compile(pattern), tell)
    for pattern, tell in [
        (rf"(?P<drug>{one_of(DRUGS)})(?: (?P<kind>ordered|dispensed|stated))?{_AT}{_UNTIL}{_MORE}",
         _infusion),
        (rf"(?P<what>{one_of(SYMPTOMS)}) (?P<how>reported|diagnosed|on the problem list){_AT}{_MORE}",
         _symptom),
        (rf"(?P<what>{one_of(DIAGNOSES)}) known{_AT}", _diagnosis),
        (rf"(?P<what>{one_of(VITALS)}) (?:(?P<value>[\d.]+)(?: {_UNIT})?(?P<no_unit> without a unit)?"
         rf"|not taken){_AT}", _vital),
        (rf"(?P<what>{one_of(ANALYTES)}) (?:(?P<bound>[<>])?(?P<value>[\d.]+) {_UNIT}"
         rf"|without a number){_AT}{_MORE}", _lab),
        (rf"(?P<what>{one_of(MEDICATIONS)}){_AT}{_MORE}", _medication),
        (rf"(?P<setting>inpatient|outpatient|home|emergency) (?:stay|visit){_AT}{_UNTIL}{_MORE}",
         _visit),
        (rf"seen{_AT}", _seen),
        (rf"(?P<feed>all|{one_of(FEEDS)}) feeds? until (?P<time>{TIME})", _feed),
        (rf"no ({one_of(FEEDS)}) feed", _no_feed),
        (rf"({one_of(FEEDS)}) feed quiet", _quiet),
        (r"born (\d{4}-\d\d-\d\d)", _set("birth_date", lambda _, text: date.fromisoformat(text))),
        (r"(girl)", _set("sex", lambda _, __: "female")),
        (rf"dies ({TIME})", _set("died_at", Clock.instant)),
        (rf"leaves ({TIME})", _set("observation_end_at", Clock.instant)),
        (r"zone ([A-Za-z_/]+)", _zone),
        (rf"day 0 is (\d{{4}}-\d\d-\d\d)", _day_0),
        (r"not registered", _unregistered),
        (r"no indication", _unindicated),
    ]
]  # fmt: skip
