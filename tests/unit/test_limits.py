"""Tables of cuts and limits: what a study may write, what is shipped, who overrides whom."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.base.errors import ConfigError
from studies.analytes import analytes
from studies.limit_tables import CUT_COLUMNS, SHARED, limit_files, numbered_rows
from studies.load import HERE, load_study

HEAD = ",".join(CUT_COLUMNS)
OK = ["1,below,lower_limit,1,,,,own", "2,below,value,8,mg/dL,,,own", "3,below,value,7,mg/dL,,,own"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / "iv_bisphosphonate", tmp_path / "study"))


def write(folder: Path, *rows: str, name: str = "ctcae5_calcium") -> None:
    """Give the study a table of its own; its first row stands on line 3."""
    (folder / "limits").mkdir(exist_ok=True)
    text = "\n".join(["# our own", HEAD, *rows])
    (folder / "limits" / f"{name}.csv").write_text(f"{text}\n")


def mistakes(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(str(folder))
    return caught.value.what


def test_a_sound_table_of_its_own_replaces_the_shared_one(folder: Path) -> None:
    shared = load_study(str(folder))
    write(folder, *OK)
    own = load_study(str(folder))
    assert [row["cut"] for row in own.limits["ctcae5_calcium"]] == ["1", "8", "7"]
    assert own.limits["ctcae4_phosphate"] == shared.limits["ctcae4_phosphate"]
    assert own.study_hash != shared.study_hash


def test_the_hash_follows_only_the_tables_that_are_used(folder: Path) -> None:
    before = load_study(str(folder)).study_hash
    write(folder, *OK, name="daids_calcium")
    assert load_study(str(folder)).study_hash == before


#: Rows after the sound ones (the first of them on line 6), and what is said of which line.
WRONG = [
    ("4,under,value,6,mg/dL,,,own", "no side 'under'"),
    ("4,below,nadir,6,mg/dL,,,own", "not of 'nadir'"),
    ("4,below,value,6,furlong,,,own", "'furlong' is no unit that calcium_total is graded in"),
    ("4,below,value,6,,,,own", "'' is no unit that calcium_total is graded in"),
    ("4,below,lower_limit,0.5,mg/dL,,,own", "a multiple of lower_limit has no unit"),
    ("4,below,lower_limit,0,,,,own", "a multiple must be above zero"),
    ("4,below,value,six,mg/dL,,,own", "cut must be a number"),
    ("4,below,value,nan,mg/dL,,,own", "cut must be a number"),
    ("5,below,value,6,mg/dL,,,own", "grade must be 1, 2, 3 or 4"),
    ("4,below,value,6,mg/dL,1.5,,own", "must be a whole number"),
    ("4,below,value,6,mg/dL,24,12,own", "ends before it starts"),
    ("3,below,value,6.9,mg/dL,,,own", "the same is told in"),
    ("3,at_or_below,value,6.9,mg/dL,,,own", "the same is told in"),
    ("3,below,value,6.9,mg/dL,0,12,own", "overlap or leave a gap"),
    ("4,below,value,7,mg/dL,,,own", "not farther out"),
    ("4,at_or_below,value,7,mg/dL,,,own", "not farther out"),
    ("4,below,value,7.5,mg/dL,,,own", "not farther out"),
    ("4,below,value,1.5,mmol/L,,,own", "grade 4 is not told in mg/dL"),
]


@pytest.mark.parametrize(("row", "said"), WRONG, ids=[row for row, _ in WRONG])
def test_a_mistake_in_a_table_of_cuts_is_named_with_its_line(
    folder: Path, row: str, said: str
) -> None:
    write(folder, *OK, row)
    told = [line for line in mistakes(folder).splitlines() if said in line]
    assert any(line.strip().startswith("limits/ctcae5_calcium.csv:6: ") for line in told)


def test_cuts_at_one_number_are_farther_out_where_one_holds_at_it(folder: Path) -> None:
    write(folder, *OK[:2], "3,below,value,7,mg/dL,,,own", "2,above,value,11,mg/dL,,,own",
          "3,above,value,12,mg/dL,,,own")  # fmt: skip
    load_study(str(folder))
    write(folder, "2,at_or_below,value,7,mg/dL,,,own", "3,below,value,7,mg/dL,,,own")
    load_study(str(folder))
    write(folder, "2,above,value,7,mg/dL,,,own", "3,at_or_above,value,7,mg/dL,,,own")
    assert "not farther out" in mistakes(folder)


def test_ages_of_one_grade_follow_each_other(folder: Path) -> None:
    write(folder, "2,below,value,8,mg/dL,0,12,own", "2,below,value,7,mg/dL,12,,own")
    load_study(str(folder))
    write(folder, "2,below,value,8,mg/dL,0,12,own", "2,below,value,7,mg/dL,13,,own")
    assert "limits/ctcae5_calcium.csv:4: bands of age overlap or leave a gap" in mistakes(folder)


def test_grades_are_compared_where_their_ages_meet(folder: Path) -> None:
    write(folder, "2,below,value,6,mg/dL,0,12,own", "2,below,value,8,mg/dL,12,,own",
          "3,below,value,7,mg/dL,12,,own")  # fmt: skip
    load_study(str(folder))
    write(folder, "2,below,value,6,mg/dL,0,12,own", "2,below,value,8,mg/dL,12,,own",
          "3,below,value,7,mg/dL,,,own")  # fmt: skip
    assert "limits/ctcae5_calcium.csv:5: its cut is not farther out" in mistakes(folder)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("male,0,264,mg/dL,,,own", "low, high or both"),
        ("male,0,264,mg/dL,11,9,own", "low must be below high"),
        ("male,0,264,mg/l,9,11,own", "'mg/l' is no unit"),
        ("boy,0,264,mg/dL,9,11,own", "no sex 'boy'"),
        ("male,0,,mg/dL,9,11,own", "must be a whole number"),
        ("male,0,264,mg/dL,nine,11,own", "must be a number"),
    ],
)
def test_a_mistake_in_a_table_of_limits_is_named(folder: Path, row: str, said: str) -> None:
    (folder / "limits").mkdir()
    header = "sex,from_months,until_months,unit,low,high,source"
    (folder / "limits" / "normal_calcium.csv").write_text(f"{header}\n{row}\n")
    told = [line.strip() for line in mistakes(folder).splitlines() if said in line]
    assert [line.startswith("limits/normal_calcium.csv:2: ") for line in told] == [True]


def test_a_table_that_gives_one_limit_only_is_sound(folder: Path) -> None:
    (folder / "limits").mkdir()
    header = "sex,from_months,until_months,unit,low,high,source"
    row = "male,0,264,mg/dL,9,,own"
    (folder / "limits" / "normal_calcium.csv").write_text(f"{header}\n{row}\n")
    load_study(str(folder))


CONCEPTS = {
    "calcium": "calcium_total",
    "calcium_ionised": "calcium_ionised",
    "phosphate": "phosphate",
    "magnesium": "magnesium",
    "creatinine": "creatinine",
}
SCALES = sorted(path.stem for path in SHARED.glob("*.csv") if path.stem.split("_")[0] in {
    "ctcae4", "ctcae5", "daids", "kdigo"})  # fmt: skip


@pytest.mark.parametrize("name", SCALES)
def test_a_shipped_scale_is_sound_and_names_its_source(folder: Path, name: str) -> None:
    concept = CONCEPTS[name.split("_", 1)[1]]
    text = (folder / "study.toml").read_text()
    more = f"""
[[outcome]]
name = "scale"
label = "Scale"
kind = "grade"
concept = "{concept}"
cuts = "{name}"
min_grade = 1
"""
    (folder / "study.toml").write_text(text + more)
    study = load_study(str(folder))
    assert all(row["source"] for row in study.limits[name])


#: What the scales print (not what the files hold): low results, grades 1 to 4.
PRINTED: dict[tuple[str, str], list[float | None]] = {
    ("ctcae5_calcium", "mg/dL"): [None, 8.0, 7.0, 6.0],
    ("ctcae5_calcium", "mmol/L"): [None, 2.0, 1.75, 1.5],
    ("ctcae5_calcium_ionised", "mmol/L"): [None, 1.0, 0.9, 0.8],
    ("ctcae5_magnesium", "mg/dL"): [None, 1.2, 0.9, 0.7],
    ("ctcae5_magnesium", "mmol/L"): [None, 0.5, 0.4, 0.3],
    ("ctcae4_phosphate", "mg/dL"): [None, 2.5, 2.0, 1.0],
    ("ctcae4_phosphate", "mmol/L"): [None, 0.8, 0.6, 0.3],
    ("daids_calcium", "mg/dL"): [8.4, 7.8, 7.0, 6.1],
    ("daids_calcium", "mmol/L"): [2.10, 1.95, 1.75, 1.53],
    ("daids_calcium_ionised", "mmol/L"): [None, 1.0, 0.9, 0.8],
    ("daids_magnesium", "mmol/L"): [0.70, 0.60, 0.45, 0.30],
}


@pytest.mark.parametrize(("name", "unit"), PRINTED, ids="-".join)
def test_cuts_of_low_results_are_those_that_are_printed(name: str, unit: str) -> None:
    rows = [row for _, row in numbered_rows(SHARED / f"{name}.csv")]
    told = {int(row["grade"]): float(row["cut"]) for row in rows if row["unit"] == unit}
    assert [told.get(grade) for grade in (1, 2, 3, 4)] == PRINTED[name, unit]
    by_limit = [row["grade"] for row in rows if row["of"] == "lower_limit"]
    assert by_limit == ([] if PRINTED[name, unit][0] else ["1"])
    assert {row["side"] for row in rows} == {"below"}


@pytest.mark.parametrize(
    ("age", "unit", "cuts"),
    [
        (0, "mg/dL", [4.5, 3.5, 2.5, 1.5]),
        (12, "mg/dL", [3.5, 3.0, 2.5, 1.5]),
        (180, "mg/dL", [2.0, 1.4, 1.0]),
        (0, "mmol/L", [1.45, 1.13, 0.81, 0.48]),
        (12, "mmol/L", [1.13, 0.97, 0.81, 0.48]),
        (180, "mmol/L", [0.65, 0.45, 0.32]),
    ],
)
def test_daids_grades_phosphate_by_age(age: int, unit: str, cuts: list[float]) -> None:
    rows = [row for _, row in numbered_rows(SHARED / "daids_phosphate.csv")]
    told = [row for row in rows if row["unit"] == unit and row["from_months"] == str(age)]
    assert [float(row["cut"]) for row in told] == cuts
    assert [int(row["grade"]) for row in told] == list(range(5 - len(cuts), 5))


@pytest.mark.parametrize(
    ("name", "concept"), [("ctcae5_calcium", "calcium_total"), ("ctcae4_phosphate", "phosphate")]
)
def test_cuts_of_two_unit_systems_are_no_conversions(name: str, concept: str) -> None:
    """CTCAE prints both; whoever fills one column by a factor gets other numbers."""
    [factor] = [
        row.to_canonical_factor
        for row in analytes()
        if (row.concept, row.unit) == (concept, "mmol/L")
    ]
    for grade in (1, 2, 3):
        conventional, si = PRINTED[name, "mg/dL"][grade], PRINTED[name, "mmol/L"][grade]
        assert conventional is not None
        assert si is not None
        assert si * factor != pytest.approx(conventional, rel=1e-3)


def test_bands_of_the_shared_limits_follow_each_other() -> None:
    for name in ("pals_heart_rate", "pals_respiratory_rate"):
        rows = [row for _, row in numbered_rows(SHARED / f"{name}.csv")]
        assert all(one["until_months"] == two["from_months"] for one, two in pairwise(rows))
        assert rows[0]["from_months"] == "0"


def test_a_line_is_counted_with_comments_and_quoted_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text('# one\na,b\n# three\n1,"x\ny"\n2,z\n')
    assert list(numbered_rows(path)) == [
        (5, {"a": "1", "b": "x\ny"}),
        (6, {"a": "2", "b": "z"}),
    ]
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ConfigError) as caught:
        list(numbered_rows(path))
    assert caught.value.where == "some.csv:3"


def test_own_files_win_over_shared_ones(folder: Path) -> None:
    write(folder, *OK)
    files = limit_files(folder)
    assert files["ctcae5_calcium"].parent == folder / "limits"
    assert files["pals_heart_rate"].parent == SHARED
