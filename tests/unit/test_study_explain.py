"""A study is said in sentences and drawn, as its settings are."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.study import page
from studies.effectiveness import EffectivenessTable, effectiveness_sentences
from studies.load import Study, load_study
from studies.outcomes import SymptomOutcome, WindowTable
from studies.sentences import about, outcome_sentences
from studies.surveillance import SurveillanceTable
from studies.surveillance_sentences import surveillance_sentences
from studies.timeline import Edge, as_svg, as_text, groups
from tests.linkage_cases import with_settings


def said(study: Study, outcome: str) -> str:
    return " ".join(outcome_sentences(study, study.outcome(outcome)))


def headache(**settings: object) -> Study:
    """The shipped study with one outcome that says these settings."""
    base = load_study("iv_bisphosphonate")
    one = SymptomOutcome.model_validate(
        {
            "kind": "symptom",
            "name": "headache",
            "label": "Headache",
            "report_concepts": ["headache"],
            **settings,
        }
    )
    return Study(
        base.model.model_copy(update={"outcome": [one]}), base.codelist, base.limits, base.folder
    )


def watched(**table: object) -> str:
    """What is said of the shipped study with these settings of surveillance."""
    model = load_study("iv_bisphosphonate").model
    told = SurveillanceTable.model_validate(table)
    return " ".join(surveillance_sentences(model.model_copy(update={"surveillance": told})))


def test_surveillance_is_said_with_its_alpha_reference_and_end() -> None:
    model = load_study("iv_bisphosphonate").model
    told = " ".join(surveillance_sentences(model))
    for said in (
        "Two primary pairs are watched by sequential tests (MaxSPRT), over units from 2016-07-01",
        "all looks together signal with a chance of at most 0.05",
        "any_side_effect after bisphosphonate (window risk), at alpha 0.03",
        "what others have counted (33 of 123 first units and 37 of 819 later units)",
        "what the site's own units from 2012-07-01 up to the start had",
        "ends with 40 expected, fixed beforehand",
    ):
        assert said in told, said
    pair = {"outcome": "fever", "alpha": 0.01, "max_expected": 5.0, "min_events": 4}
    rates = {"rate_first": 0.2, "rate_later": 0.05}
    told = watched(pair=[pair | rates | {"drug": "pamidronate"}])
    for said in (
        "One primary pair is watched",
        "over all units",
        "fever after pamidronate",
        "Expected are 20 % of first and 5 % of later units, taken as known.",
        "a signal needs 4 events or more",
    ):
        assert said in told, said
    assert "no alert becomes a signal" in watched()


def test_what_is_compared_before_and_after_is_said() -> None:
    model = load_study("iv_bisphosphonate").model
    told = " ".join(effectiveness_sentences(model))
    for said in (
        "the last scan of the 180 days up to the start, and the one nearest to 365 days after it",
        "without the 90 days before the start and the 30 days after it",
        "at least 5: before-after, not causal.",
    ):
        assert said in told, said
    unset = model.model_copy(update={"effectiveness": EffectivenessTable()})
    assert effectiveness_sentences(unset) == ["Nothing is compared before and after treatment."]


def test_a_window_is_a_sentence() -> None:
    shipped = load_study("iv_bisphosphonate")
    told = said(shipped, "fever")
    assert "It counts from the start of the course to 72 h after its end." in told
    assert "Its extended window goes from the start of the course to 14 days after its end." in (
        said(shipped, "hypocalcaemia")
    )
    assert "the last result of the 90 days before, up to 30 min after the start" in said(
        shipped, "hypocalcaemia"
    )
    assert "at least 2 of: myalgia_or_bone_pain; tachycardia or tachypnoea; chills" in said(
        shipped, "acute_phase_symptoms"
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"overlap": "all"}, "an event counts in every window that holds it"),
        ({"overlap": "merge"}, "Windows of the class that share time are one"),
        ({"overlap_across_classes": True}, "The next course of any class cuts the window"),
        ({"same_day": "exclude"}, "known by its day is on neither side"),
        ({"same_day": "before"}, "known by its day counts as before it"),
        ({"clean_window_days": 30}, "An event within 30 days of the end of an earlier one is not"),
        ({"same_episode_gap_hours": "none"}, "Each piece of evidence is an event of its own."),
        ({"missing_start": "emergent"}, "Without a start, it is taken to have begun after"),
        ({"remedy_concepts": ["premedication"]}, "premedication begins, or rises, within 72 h"),
        ({"ascertainment": "independent"}, "It is found as surely without an infusion"),
        ({"chronic_concepts": ["headache"]}, "headache never ends."),
        ({"drug_classes": ["bisphosphonate"]}, "It is watched after bisphosphonate only."),
        (
            {"window": [WindowTable(start_anchor="end", start_offset_hours=-0.5)]},
            "It counts from 30 min before the end of the course to 72 h after its end.",
        ),
    ],
    ids=str,
)
def test_every_setting_of_an_outcome_changes_what_is_said(
    settings: dict[str, object], sentence: str
) -> None:
    assert sentence in said(headache(**settings), "headache")
    assert sentence not in said(headache(), "headache")


def test_windows_of_days_are_said_and_drawn_in_days() -> None:
    study = with_settings(headache(), study={"resolution": "day", "unit": "administration"})
    told = said(study, "headache")
    assert "from the first day of the infusion to 3 days after the last day of the infusion" in told
    assert "[" in as_text(study)
    assert ")" not in as_text(study)


def test_who_counts_is_said_from_the_settings() -> None:
    told = " ".join(about(load_study("iv_bisphosphonate")))
    for sentence in (
        "pamidronate goes on while the next administration starts within 4 days of the end",
        "younger than 21 years",
        "An earlier diagnosis of malignant_hypercalcaemia excludes it.",
        "plus 48 h for LabResulted",
        "without a reading, contact or report 6 h or more after the end",
    ):
        assert sentence in told, sentence
    other = with_settings(
        headache(),
        study={"unit": "administration", "evidence": ["administered", "ordered"]},
        eligibility={"never_event_concepts": ["headache"], "requires_indication": False},
        serious={"important_concepts": ["sepsis"], "expected_stay_hours": {"inpatient": 48}},
        follow_up={"contact_grace_days": 30, "seen_after_hours": 9},
        strata={"premedication_hours": 36, "co_infusion_hours": 120},
    )
    told = " ".join(about(other))
    for sentence in (
        "A unit is an administration.",
        "administered or ordered",
        "Codes of headache, and of the indication, are evidence of no outcome.",
        "sepsis, or a stay 24 h beyond what is planned: 48 h (inpatient).",
        "30 days after the last contact",
        "without a reading, contact or report 9 h or more after the end",
        "premedicated with premedication in the 36 h before the start",
        "or within 5 days of the end, is a co-infusion",
    ):
        assert sentence in told, sentence


def test_edges_keep_their_order_and_their_names() -> None:
    edges = [Edge.of("end", 72), Edge.of("start", 0), Edge.of("start", -2160), Edge.of("end", 0)]
    assert [edge.label for edge in sorted(edges)] == [
        "start - 90 days", "start", "end", "end + 72 h",
    ]  # fmt: skip


def test_the_timeline_draws_each_window_from_edge_to_edge() -> None:
    study = headache(
        window=[WindowTable(), WindowTable(name="extended", end_offset_hours=336)],
        same_day="before",
    )
    lines = as_text(study).splitlines()
    ticks = next(line for line in lines if set(line) <= {" ", "|"})
    risk, extended = (next(one for one in lines if one.startswith(f"  {name} ")) for name in
                      ("risk", "extended"))  # fmt: skip
    at = [place for place, mark in enumerate(ticks) if mark == "|"]
    assert len(at) == 5, "start, end, end + 6 h, end + 72 h, end + 14 days"
    assert (risk.index("["), risk.index(")")) == (at[0], at[3])
    assert (extended.index("["), extended.index(")")) == (at[0], at[4])
    assert [group.outcomes for group in groups(study)] == [("headache",)]


def test_a_window_is_looked_at_as_the_settings_say() -> None:
    before = WindowTable(
        name="control", start_offset_hours=-72, end_anchor="start", end_offset_hours=0
    )
    study = with_settings(headache(), follow_up={"seen_after_hours": 9})
    (late,) = groups(study)
    assert late.bars[-1].name == "looked at"
    assert late.bars[-1].lo.label == "end + 9 h"
    (early,) = groups(headache(window=[before]))
    assert early.bars[-1].lo.label == "start - 72 h", "it ends before those hours are over"


@pytest.mark.parametrize("width", [64, 80, 120])
def test_a_page_fits_its_columns_and_uses_them(width: int) -> None:
    text = page(load_study("iv_bisphosphonate"), width=width)
    assert width - 8 < max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(("columns", "widest"), [("70", 70), ("100", 100), ("20", 64), ("", 80)])
def test_the_command_keeps_to_the_columns_of_the_terminal(
    columns: str, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("iv_bisphosphonate").stdout.splitlines()
    assert widest - 8 < max(map(len, lines)) <= widest


def test_a_picture_is_xml() -> None:
    study = load_study("iv_bisphosphonate")
    drawn = ElementTree.fromstring(as_svg(study))  # noqa: S314 - our own picture
    texts = {one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"risk", "extended", "baseline", "end + 72 h"} <= texts


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", "explain", *arguments])


def test_the_command_says_it_as_text_as_json_and_as_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "windows.svg"
    done = run("iv_bisphosphonate", "--svg", str(picture), "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["ok"]) == (0, True)
    study = load_study("iv_bisphosphonate")
    assert picture.read_text() == as_svg(study)
    assert answer["result"]["study_hash"] == study.study_hash
    assert [one["outcome"] for one in answer["result"]["outcomes"]] == [
        one.name for one in study.model.outcome
    ]
    assert f"study hash {study.study_hash}" in run("iv_bisphosphonate").stdout


def test_a_picture_replaces_nothing_but_a_picture(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text("# mine")
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "link.svg").symlink_to(study)
    for name in ("study.toml", "folder.svg", "link.svg", "nowhere/x.svg", "."):
        done = run("iv_bisphosphonate", "--svg", str(tmp_path / name))
        assert done.exit_code == 2, name
        assert "nothing was written" in done.stderr
    assert study.read_text() == "# mine"
    assert run("iv_bisphosphonate", "--svg", "").exit_code == 2


def test_as_json_it_says_nothing_else() -> None:
    assert run("iv_bisphosphonate", "--json").stderr == ""


def test_a_wrong_study_is_not_explained(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('[study]\nid = "x"\n')
    assert run(str(tmp_path)).exit_code == 3
