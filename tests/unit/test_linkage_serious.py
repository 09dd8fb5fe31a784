"""Which events are serious, and which are treated (docs/windows.md, section 9).

Expectations were written from the rule. The infusion runs from 9:00 to 9:30 on 1 March, so that its
window ends on 4 March at 9:30; the child has a headache at 20:00 on the first day.
"""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.linkage_cases import Linked, Patient, child, link, utc, with_settings

START, END, ONSET = "2024-03-01 09:00", "2024-03-01 09:30", "2024-03-01 20:00"
WINDOW_END = "2024-03-04 09:30"
#: The headache treated with analgesics, and (because the study says so) with an infusion.
ANALGESIC, OTHER_DRUG, INFUSED_REMEDY = "161", "5640", "1901"
EMERGENT = "2024-03-01 22:00"


def _study() -> Study:
    shipped = load_study("iv_bisphosphonate")
    headache = shipped.outcome("headache").model_dump(warnings=False)
    headache |= {"remedy_concepts": ["analgesic", "infused_remedy"], "publish": True}
    model = StudyModel.model_validate(
        shipped.model.model_dump(warnings=False)
        | {
            "outcome": [
                headache
                if one.name == "headache"
                else one.model_dump(warnings=False) | {"remedy_concepts": []}
                for one in shipped.model.outcome
            ],
            "serious": {
                "disability_concepts": ["blindness"],
                "important_concepts": ["seizure"],
                "expected_stay_hours": {"inpatient": 24},
            },
        }
    )
    codes = [
        ("analgesic", "MedicationGiven", "rxnorm", ANALGESIC),
        ("infused_remedy", "InfusionRecorded", "rxnorm", INFUSED_REMEDY),
        ("blindness", "DiagnosisRecorded", "icd10cm", "H54.0X"),
        ("seizure", "AdverseEventReported", "icd10cm", "R56.9"),
    ]
    rows = [
        {"concept": concept, "event_type": event_type, "code_system": system, "code": code,
         "match": "exact", "label": "", "source": ""}
        for concept, event_type, system, code in codes
    ]  # fmt: skip
    return Study(model, (*shipped.codelist, *rows), shipped.limits, shipped.folder)


STUDY = _study()


def aching(key: str, at: str = ONSET, grade: int | None = None, **fields: Any) -> Patient:
    """Infused once, and a headache reported."""
    patient = child(key, **fields).infusion(START, END)
    return patient.report(at, "R51.9", **({} if grade is None else {"grade": grade}))


def died(key: str, died_at: str, **fields: Any) -> Patient:
    return aching(key, died_at=utc(died_at), **fields)


def drug(patient: Patient, at: str, code: str = ANALGESIC, **fields: Any) -> Patient:
    return patient.add("MedicationGiven", at, code=code, code_system="rxnorm", **fields)


def stay(patient: Patient, start: str, end: str | None, **fields: Any) -> Patient:
    given = {"setting": "inpatient", "admission_type": "unknown"} | fields
    ended = {} if end is None else {"ended_at": utc(end)}
    return patient.add("EncounterOccurred", start, **ended, **given)


def mg(value: float) -> dict[str, Any]:
    return {"dose_value": value, "dose_unit": "mg"}


def twice(key: str) -> Patient:
    """A course of two days, and a headache on the evening of the first."""
    patient = child(key).infusion(START, END, code="11473")
    return patient.infusion("2024-03-02 09:00", code="11473").report(ONSET, "R51.9")


ELECTIVE = {"admission_type": "elective"}

#: A patient with a headache, and why it is serious.
SERIOUS: list[tuple[Patient, list[str]]] = [
    (aching("nothing"), []),
    (died("spec", "2024-03-01 10:00", at="2024-03-01 09:20"), ["death"]),
    (died("dies-at-onset", ONSET), ["death"]),
    (died("dies-late", "2024-03-04 09:29:59"), ["death"]),
    (died("dies-after", WINDOW_END), []),
    (died("dies-by-day", "2024-03-01"), ["death"]),
    (died("dies-by-last-day", "2024-03-04"), ["death"]),
    # Until the uncut end, also where the next infusion has cut the window.
    (died("dies-after-cut", "2024-03-03 09:00").infusion("2024-03-02 09:00"), ["death"]),
    (aching("grade-3", grade=3), []),
    (aching("grade-4", grade=4), ["life_threatening"]),
    (stay(aching("admitted"), EMERGENT, "2024-03-03 09:00"), ["hospitalisation"]),
    (stay(aching("emergency"), EMERGENT, "2024-03-02 01:00", setting="emergency"),
     ["hospitalisation"]),
    (stay(aching("clinic"), EMERGENT, "2024-03-02 01:00", setting="outpatient"), []),
    (stay(aching("at-onset"), ONSET, "2024-03-03 09:00"), ["hospitalisation"]),
    (stay(aching("before-onset"), "2024-03-01 19:59:59", "2024-03-03 09:00"), []),
    (stay(aching("at-end"), WINDOW_END, "2024-03-06 09:00"), []),
    (stay(aching("elective"), EMERGENT, "2024-03-03 09:00", **ELECTIVE), []),
    (stay(aching("stay-by-day"), "2024-03-01", "2024-03-03 09:00"), []),
    (stay(aching("next-day"), "2024-03-02", None), ["hospitalisation"]),
    (stay(aching("day-before"), "2024-02-29", "2024-03-02 09:00"), []),
    (stay(aching("by-day-of-onset", at="2024-03-02"), "2024-03-02 00:10", "2024-03-02 09:00"),
     ["hospitalisation"]),
    # The second infusion of the course is given in it: it was planned.
    (stay(twice("second-day"), "2024-03-02 08:00", "2024-03-02 12:00"), []),
    (stay(twice("ends-at-it"), "2024-03-02 08:00", "2024-03-02 09:00"), ["hospitalisation"]),
    (stay(twice("no-end"), EMERGENT, None), ["hospitalisation"]),
    (stay(twice("no-end-same-day"), "2024-03-02 08:00", None), []),
    # A day was planned; more than a day on top of that is prolonged.
    (stay(aching("two-days"), "2024-03-01 08:00", "2024-03-03 08:00"), []),
    (stay(aching("over-two-days"), "2024-03-01 08:00", "2024-03-03 08:00:01"),
     ["prolonged_stay"]),
    (stay(aching("elective-long"), "2024-03-01 10:00", "2024-03-04 10:00", **ELECTIVE),
     ["prolonged_stay"]),
    (stay(aching("unplanned-long"), "2024-03-01 10:00", "2024-03-04 10:00"), []),
    (stay(aching("not-expected"), "2024-03-01 08:00", "2024-03-06 08:00", setting="outpatient"),
     []),
    (stay(aching("over-before"), "2024-02-25 08:00", "2024-03-01 20:00", **ELECTIVE), []),
    (stay(aching("never-ends"), "2024-03-01 08:00", None), []),
    (stay(aching("three-dates"), "2024-03-01", "2024-03-03 23:00"), []),
    (stay(aching("four-dates"), "2024-03-01", "2024-03-04 01:00"), ["prolonged_stay"]),
    (aching("blind").diagnosis("2024-03-03 09:00", "H54.0X"), ["disability"]),
    (aching("blind-before").diagnosis("2024-03-01 19:59", "H54.0X"), []),
    (aching("blind-that-day").diagnosis("2024-03-01", "H54.0X"), ["disability"]),
    (aching("blind-later").diagnosis(WINDOW_END, "H54.0X"), []),
    (aching("seizure").report("2024-03-01 21:00", "R56.9"), ["important"]),
    (aching("told").report("2024-03-02 09:00", "R51.9", is_serious=True), ["reported"]),
    (aching("told-not").report("2024-03-02 09:00", "R51.9", is_serious=False), []),
    (aching("told-of-another").report("2024-03-02 09:00", "R11.0", is_serious=True), []),
    (died("everything", "2024-03-02 01:00", grade=4).report(EMERGENT, "R56.9"),
     ["death", "important", "life_threatening"]),
]  # fmt: skip

AFTER = "2024-03-01 21:00"

#: A patient with a headache, and whether it was treated.
TREATED: list[tuple[Patient, bool]] = [
    (aching("untreated"), False),
    (drug(aching("treated"), AFTER), True),
    (drug(aching("other-drug"), AFTER, OTHER_DRUG), False),
    (drug(aching("refused"), AFTER, status="not-done"), False),
    (drug(aching("at-once"), ONSET), True),
    (drug(aching("just-before"), "2024-03-01 19:59:59"), False),
    (drug(aching("in-gap"), "2024-03-04 20:00"), True),
    (drug(aching("after-gap"), "2024-03-04 20:00:01"), False),
    # Not begun: a dose in the day before, or a course that lasted into it.
    (drug(drug(aching("had-it"), AFTER), "2024-02-29 20:00"), False),
    (drug(drug(aching("had-it-once"), AFTER), "2024-02-29 19:59:59"), True),
    (drug(drug(aching("course"), AFTER), "2024-02-20 08:00", ended_at=utc("2024-02-29 21:00")),
     False),
    (drug(drug(aching("course-over"), AFTER), "2024-02-20 08:00", ended_at=utc("2024-02-29 19:00")),
     True),
    (drug(drug(aching("had-another"), AFTER), "2024-03-01 08:00", OTHER_DRUG), True),
    # Raised above every dose before, in one unit.
    (drug(drug(aching("raised"), AFTER, **mg(500)), "2024-03-01 08:00", **mg(250)), True),
    (drug(drug(aching("same-dose"), AFTER, **mg(500)), "2024-03-01 08:00", **mg(500)), False),
    (drug(drug(drug(aching("not-above-all"), AFTER, **mg(500)), "2024-03-01 08:00", **mg(250)),
     "2024-03-01 12:00", **mg(600)), False),
    (drug(drug(drug(aching("one-untold"), AFTER, **mg(500)), "2024-03-01 08:00", **mg(250)),
     "2024-03-01 12:00"), False),
    (drug(drug(aching("in-grams"), AFTER, **mg(500)), "2024-03-01 08:00", dose_value=0.2,
          dose_unit="g"), False),
    (drug(drug(aching("other-remedy"), AFTER, **mg(500)), "2024-03-01 08:00", **mg(500))
     .infusion(AFTER, code=INFUSED_REMEDY), True),
    # By days: the onset's date is after it, the third date still counts.
    (drug(aching("that-day"), "2024-03-01"), True),
    (drug(aching("third-day"), "2024-03-04"), True),
    (drug(aching("fourth-day"), "2024-03-05"), False),
    (drug(drug(aching("eve"), AFTER), "2024-02-29"), False),
    (drug(drug(aching("two-days-ago"), AFTER), "2024-02-28"), True),
    (drug(aching("onset-by-day", at="2024-03-02"), "2024-03-02 00:10"), True),
    # Infusions: given ones treat; what was ordered before was not begun for the event.
    (aching("infused").infusion(AFTER, code=INFUSED_REMEDY), True),
    (aching("ordered-only").infusion(AFTER, code=INFUSED_REMEDY, evidence="ordered"), False),
    (aching("planned").infusion(AFTER, code=INFUSED_REMEDY)
     .infusion("2024-03-01 08:00", code=INFUSED_REMEDY, evidence="ordered", status="active"),
     False),
    (aching("plan-dropped").infusion(AFTER, code=INFUSED_REMEDY)
     .infusion("2024-03-01 08:00", code=INFUSED_REMEDY, evidence="ordered", status="cancelled"),
     True),
    (aching("standing-order").infusion(AFTER, code=INFUSED_REMEDY)
     .infusion("2024-02-20 08:00", "2024-03-20 08:00", code=INFUSED_REMEDY, evidence="ordered",
               status="active"), False),
]  # fmt: skip


@pytest.fixture(scope="module")
def linked() -> Linked:
    quiet = child("quiet").infusion(START, END)
    feverish = child("feverish").infusion(START, END).report(ONSET, "R50.9", is_serious=True)
    return link(
        [*(row[0] for row in SERIOUS), *(row[0] for row in TREATED), quiet, feverish], STUDY
    )


@pytest.mark.parametrize(("patient", "criteria"), SERIOUS, ids=[row[0].key for row in SERIOUS])
def test_an_event_is_serious_for_what_follows_it_and_says_why(
    linked: Linked, patient: Patient, criteria: list[str]
) -> None:
    row = linked.of(patient.key, "headache")
    assert row["serious_criteria"] == criteria
    assert row["is_serious"] is bool(criteria)


@pytest.mark.parametrize(("patient", "is_treated"), TREATED, ids=[row[0].key for row in TREATED])
def test_an_event_is_treated_where_a_remedy_begins_or_rises_after_it(
    linked: Linked, patient: Patient, is_treated: bool
) -> None:
    assert linked.of(patient.key, "headache")["is_treated"] is is_treated


def test_the_first_dose_after_the_onset_is_told_whether_begun_for_it_or_not(
    linked: Linked,
) -> None:
    told = {
        "at-once": (True, 0.0),  # the onset was at 20:00
        "in-gap": (True, 72.0),
        "after-gap": (False, None),
        "had-it": (True, 1.0),
        "same-dose": (True, 1.0),
        "infused": (True, 1.0),
        "untreated": (False, None),
        "just-before": (False, None),
        "refused": (False, None),
        "that-day": (True, None),
        "onset-by-day": (True, None),
    }
    found = {key: linked.of(key, "headache") for key in told}
    assert {
        key: (row["has_remedy"], row["remedy_after_hours"]) for key, row in found.items()
    } == told
    assert linked.of("quiet", "headache")["has_remedy"] is None
    assert linked.of("feverish", "fever")["has_remedy"] is None


def test_what_did_not_happen_is_neither_serious_nor_treated(linked: Linked) -> None:
    row = linked.of("quiet", "headache")
    assert (row["is_serious"], row["serious_criteria"], row["is_treated"]) == (None, None, None)


def test_an_outcome_without_remedies_is_not_asked_for_treatment(linked: Linked) -> None:
    assert linked.of("feverish", "fever")["is_treated"] is None
    # A composite is treated by its own remedies, and it has none.
    assert linked.of("treated", "any_side_effect")["is_treated"] is None


def test_a_composite_is_serious_by_its_own_onset_and_its_components_reports(linked: Linked) -> None:
    assert linked.of("feverish", "acute_phase_reaction")["serious_criteria"] == ["reported"]
    assert linked.of("admitted", "any_side_effect")["serious_criteria"] == ["hospitalisation"]


def test_an_event_in_an_open_window_is_asked_the_same() -> None:
    patient = stay(aching("open"), EMERGENT, "2024-03-03 09:00")
    linked = link([drug(patient, AFTER)], STUDY, through={})
    row = linked.of("open", "headache")
    assert (row["status"], row["is_serious"], row["is_treated"]) == ("open_event", True, True)


def test_by_days_dates_are_compared() -> None:
    study = with_settings(STUDY, study={"resolution": "day"})
    early = "2024-03-01 19:00"
    linked = link(
        [
            stay(aching("same-date"), early, "2024-03-02 09:00"),
            stay(aching("day-earlier"), "2024-02-29 23:59", "2024-03-02 09:00"),
            died("last-date", "2024-03-04 23:00"),
            died("next-date", "2024-03-05"),
            drug(aching("drug-that-date"), early),
            drug(aching("drug-third-date"), "2024-03-04 23:59"),
            drug(aching("drug-fourth-date"), "2024-03-05 00:00"),
        ],
        study,
    )
    found = {row["patient_key"]: row for row in linked.outcomes if row["outcome"] == "headache"}
    assert {key: row["serious_criteria"] for key, row in found.items() if row["is_serious"]} == {
        "same-date": ["hospitalisation"], "last-date": ["death"],
    }  # fmt: skip
    assert {key for key, row in found.items() if row["is_treated"]} == {
        "drug-that-date", "drug-third-date",
    }  # fmt: skip
