"""What happens to a patient, in words, as events (tests/spec/README.md has the grammar).

Strict: a clause that fits no pattern, or an attribute that its clause does not have, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from tests.linkage_cases import ALL_TYPES
from tests.spec.story import Story, attributes
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

USUAL_INFUSION = "infusion day 0 09:00-09:30"
Match = re.Match[str]


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


_DOSE = ("status", "order", "source", "dose", "route", "until")
_REPORT = ("grade", "until", "serious", "source")
_LAB = ("status", "low", "high", "spoilt", "vague", "issued", "source")


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
    given |= {"evidence": kind} | ({"ended_at": end} if end else {})
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
    fields = attributes(story, match["attrs"], ["admission"])
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


_AT = rf" (?:at )?(?P<time>{TIME}|{UNTIMED})"
_UNTIL = rf"(?:(?:-| to )(?P<end>\d\d:\d\d(?::\d\d)?|{TIME}))?"
_MORE = r"(?: \((?P<attrs>[^()]+)\))?"
_UNIT = r"(?P<unit>(?!(?:at|day|start|end|without)\b)[\w\[\]%/]+)"
_CLAUSES: list[tuple[re.Pattern[str], Callable[[Story, Match], None]]] = [
    (re.compile(pattern), tell)
    for pattern, tell in [
        (rf"(?P<drug>{one_of(DRUGS)})(?: (?P<kind>ordered|dispensed|stated))?{_AT}{_UNTIL}{_MORE}",
         _infusion),
        (rf"(?P<what>{one_of(SYMPTOMS)}) (?P<how>reported|diagnosed|on the problem list)"
         rf"{_AT}{_MORE}", _symptom),
        (rf"(?P<what>{one_of(DIAGNOSES)}) known{_AT}", _diagnosis),
        (rf"(?P<what>{one_of(VITALS)}) (?:(?P<value>[\d.]+)(?: {_UNIT})?"
         rf"(?P<no_unit> without a unit)?|not taken){_AT}", _vital),
        (rf"(?P<what>{one_of(ANALYTES)}) (?:(?P<bound>[<>])?(?P<value>[\d.]+) {_UNIT}"
         rf"|without a number){_AT}{_MORE}", _lab),
        (rf"(?P<what>{one_of(MEDICATIONS)}){_AT}{_MORE}", _medication),
        (rf"(?P<setting>inpatient|outpatient|home|emergency) (?:stay|visit){_AT}{_UNTIL}{_MORE}",
         _visit),
        (rf"seen{_AT}", _seen),
        (rf"(?P<feed>all|{one_of(FEEDS)}) feeds? until (?P<time>{TIME})", _feed),
        (rf"no ({one_of(FEEDS)}) feed", _no_feed),
        (r"born (\d{4}-\d\d-\d\d)", _set("birth_date", lambda _, text: date.fromisoformat(text))),
        (r"(girl)", _set("sex", lambda _, __: "female")),
        (rf"dies ({TIME})", _set("died_at", Clock.instant)),
        (rf"leaves ({TIME})", _set("observation_end_at", Clock.instant)),
        (r"zone ([A-Za-z_/]+)", _zone),
        (r"day 0 is (\d{4}-\d\d-\d\d)", _day_0),
        (r"not registered", _unregistered),
        (r"no indication", _unindicated),
    ]
]  # fmt: skip
