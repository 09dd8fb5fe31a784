"""A spec table says only what its grammar has, and the page shows what the tables say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.spec.expected import statements
from tests.spec.grammar import story_of
from tests.spec.render import PAGE, rendered
from tests.spec.settings import split, studies_of
from tests.spec.tables import Row, rows_of, spec_files
from tests.spec.times import Clock, SpecError

ROW = Row(
    "1_time", 7, 1, "a case", "headache reported +12 h", "instant", "", "headache", "event"
)  # fmt: skip


def test_the_page_shows_the_cases() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rendered(page) == page, "run `make docs`"


def test_every_case_of_every_section_has_a_line_of_its_own() -> None:
    for file in spec_files():
        rows = rows_of(file)
        asked = [(one.happens, one.by, one.settings, one.outcome, one.expected) for one in rows]
        assert len(set(asked)) == len(asked), file


@pytest.mark.parametrize(
    "words",
    [
        "headche reported +12 h", "headache +12 h", "headache reported +12 hours",
        "headache reported +12 h (grade two)", "calcium 8.0 at +48 h", "temperature 38 C day x",
        "infusion day 0 09:00-09:30 (grade 2)", "seen",
    ],
)  # fmt: skip
def test_an_unknown_word_is_an_error_at_its_line(words: str) -> None:
    with pytest.raises(SpecError, match=r"tests/spec/1_time.md:7"):
        story_of(replace(ROW, happens=words))


def test_an_unknown_setting_outcome_or_answer_is_an_error_at_its_line() -> None:
    with pytest.raises(SpecError, match=r"1_time.md:7.*overlap none"):
        split(replace(ROW, settings="overlap none"))
    with pytest.raises(SpecError, match=r"1_time.md:7.*toothache"):
        studies_of([replace(ROW, outcome="toothache")])
    with pytest.raises(SpecError, match=r"1_time.md:7.*perhaps"):
        statements(replace(ROW, expected="event, perhaps"), Clock())


def test_what_is_told_is_what_is_linked() -> None:
    story = story_of(replace(ROW, happens="headache reported day 2 14:00 (grade 2); dies day 3"))
    events = dict(story.patient.events)
    report = events["AdverseEventReported"]
    assert (report["code"], report["grade"], report["time_precision"]) == ("R51.9", 2, "instant")
    # Adelaide is ten and a half hours ahead of UTC in March.
    assert str(report["occurred_at"]) == "2024-03-03 03:30:00"
    assert str(events["InfusionRecorded"]["occurred_at"]) == "2024-02-29 22:30:00"
    assert str(events["PatientRegistered"]["died_at"]) == "2024-03-03 13:30:00"
