"""published.csv and `signals.benchmark`: printed numbers are intervals, unprinted ones are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flows.published import PAGE
from pipelines.signals.benchmark import benchmark_table
from pipelines.signals.risk import estimate_risk
from studies.load import load_study
from tests.counts_kit import counts, row
from tests.study_kit import folder, named_lines

__all__ = ["folder"]

HEAD = (
    "measure,outcome,window,stratum,stratum_value,value,low,high,"
    "n_events_low,n_events_high,n_units,is_derived,source\n"
)
GOOD = "risk,fever,risk,drug,pamidronate,0.07,0.065,0.075,62,70,942,yes,a paper\n"


def rows_of(*given: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = benchmark_table(counts(*given), [load_study("iv_bisphosphonate")]).to_pylist()
    return {(one["site_id"], one["outcome"], one["stratum_value"]): one for one in found}


def seen(e: int, n: int, **key: Any) -> dict[str, Any]:
    fixed = {"study_id": "iv_bisphosphonate", "outcome": "any_side_effect", "denominator": "all"}
    return row(e, n, **(fixed | key))


def test_every_published_row_is_held_against_each_site() -> None:
    first = {"stratum": "ordinal", "stratum_value": "first"}
    found = rows_of(
        seen(66, 942),
        seen(33, 123, **first),
        seen(9, 942, denominator="complete"),
        seen(20, 100, site_id="south"),
        row(5, 9, study_id="other", site_id="west", denominator="all"),
    )
    assert len(found) == 24
    assert {site for site, *_ in found} == {"north", "south"}
    one = found["north", "any_side_effect", "all"]
    assert (one["published_low"], one["published_high"], one["n_published_units"]) == (
        0.065,
        0.075,
        942,
    )
    assert (one["n_published_events_low"], one["n_published_events_high"]) == (62, 70)
    plain = estimate_risk(66, 942, 942, 66, 66, 942)
    assert (one["risk"], one["ci_low"], one["ci_high"]) == (plain.risk, plain.low, plain.high)
    assert (one["n_patients"], one["is_derived"], one["note"]) == (942, True, None)
    assert (one["is_within"], one["is_overlapping"]) == (True, True)
    south = found["south", "any_side_effect", "all"]
    assert (south["is_within"], south["is_overlapping"]) == (False, False)
    assert found["north", "any_side_effect", "first"]["is_within"]


def test_what_is_not_published_or_not_seen_is_null_and_says_so() -> None:
    type_ = {"stratum": "indication_type", "stratum_value": "primary"}
    found = rows_of(seen(66, 942), seen(3, 40, **type_))
    one = found["north", "any_side_effect", "primary"]
    assert [
        one[name] for name in ("published_risk", "published_low", "n_published_units", "is_within")
    ] == [None] * 4
    assert (one["n_events"], one["note"]) == (3, "nothing published")
    later = found["north", "any_side_effect", "later"]
    assert [later[name] for name in ("n_units", "risk", "ci_low", "is_overlapping")] == [
        0,
        None,
        None,
        None,
    ]
    assert (later["published_risk"], later["published_low"], later["note"]) == (
        None,
        0.0354,
        "no units",
    )
    assert found["north", "hypocalcaemia", "all"]["note"] == "nothing published, no units"


def test_what_is_published_is_part_of_the_study(folder: Path) -> None:
    before = load_study(str(folder))
    assert len(before.reference_tables()["published"]) == len(before.published) == 12
    (folder / "published.csv").write_text(HEAD + GOOD)
    after = load_study(str(folder))
    assert [one["n_events_low"] for one in after.reference_tables()["published"]] == [62]
    assert after.study_hash != before.study_hash
    (folder / "published.csv").unlink()
    assert load_study(str(folder)).published == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("risk,fever", "odds,fever", "there is no measure 'odds'"),
        ("fever", "fevr", "there is no published outcome 'fevr'; did you mean `fever`?"),
        ("fever", "chills", "there is no published outcome 'chills'"),
        ("fever,risk", "fever,late", "there is no window 'late'"),
        ("drug,", "dose,", "there is no stratum 'dose'"),
        ("pamidronate", "aspirin", "there is no drug 'aspirin'"),
        ("0.07,", "7,", "must be numbers from 0 to 1"),
        ("0.07,", "nan,", "must be numbers from 0 to 1"),
        ("0.07,", "0.08,", "low must not be above value"),
        ("0.065,", ",", "low and high must be given together"),
        ("62,70", "62,-1", "must be whole numbers"),
        ("62,70", "62,80", "must lie from low to high"),
        ("62,70", "70,62", "must not be above"),
        ("62,70", "62,", "need each other"),
        ("yes", "", "is_derived must be yes or no"),
        ("a paper", " ", "source must be given"),
    ],
)
def test_each_mistake_of_published_csv_has_its_line(
    folder: Path, old: str, new: str, said: str
) -> None:
    (folder / "published.csv").write_text(HEAD + "# a comment\n" + GOOD.replace(old, new, 1))
    (told,) = named_lines(folder)
    assert told.startswith("published.csv:3: ")
    assert said in told


def test_a_row_twice_another_header_and_a_folder_are_mistakes(folder: Path) -> None:
    path = folder / "published.csv"
    path.write_text(HEAD + GOOD + GOOD)
    assert named_lines(folder) == ["published.csv:3: the same is told in line 2; delete one"]
    path.write_text("a,b\n1,2\n")
    (told,) = named_lines(folder)
    assert told.startswith("published.csv:1: the columns must be: measure, outcome")
    path.unlink()
    path.mkdir()
    (told,) = named_lines(folder)
    assert "is a folder" in told


def test_the_pages_published_column_is_published_csv() -> None:
    cells = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if "|" in line]
    header, _, children, infusions, *rows = cells
    assert header.count("published") == 1
    study = load_study("iv_bisphosphonate")
    assert (children[1], infusions[1]) == ("123", "942")
    assert len(rows) == len(study.published)
    for one, given in zip(rows, study.published, strict=True):
        if not given["low"]:
            assert one[1:3] == ["null", "null"]
            continue
        said = [float(text) / 100 for text in re.findall(r"[\d.]+", one[1])]
        assert said[:2] == pytest.approx([float(given["low"]), float(given["high"])], abs=5e-4)
        assert said[2:] == ([float(given["value"])] if given["value"] else [])
        told = re.findall(r"\d+", one[2])
        counts = [given["n_events_low"], given["n_events_high"], given["n_units"]]
        assert told == list(dict.fromkeys(counts))
        assert ("*" in one[2]) == (given["is_derived"] == "yes")
