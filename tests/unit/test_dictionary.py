"""Every table and column says what it is, once, in its model; all else is copied from there."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from pipelines.linkage.kernel import sql_files
from warehouse import dictionary
from warehouse.models import Model, ModelError, load_models, model, parse
from warehouse.terms import TERMS

#: The tables that analysts are promised, as the contract lists them for this release.
CONTRACT = {
    "linkage": {"infusion", "course", "unit_outcome", "evidence", "attrition"},
    "signals": {"risk", "counts", "rate", "trend", "disproportionality", "benchmark"},
    "quality": {
        *("check_result", "quarantine", "reconciliation", "completeness"),
        *("feed", "silence", "drift"),
    },
    "ops": {"run", "batch", "look", "outbox", "change"},
    "reference": {
        *("study", "outcome", "window", "codelist", "dictionary", "freshness"),
        "published",
    },
}

GOOD = """\
-- ops.thing
--
-- Things that were
-- seen.
--
-- grain: One row per thing.
-- key: thing_id
-- columns:
--   thing_id VARCHAR - Name of the thing.
--   seen_at TIMESTAMP - When it was seen, UTC.

select * from store.ops.thing
"""


def test_every_promised_table_has_a_model() -> None:
    found = {name: {m.name for m in load_models() if m.schema == name} for name in CONTRACT}
    for schema, tables in CONTRACT.items():
        assert tables <= found[schema]


def test_what_holds_rows_of_patients_says_when_it_is_empty() -> None:
    holding = {m.full_name: m.comment for m in load_models() if m.holds_patients}
    assert {"linkage.course", "analysis.unit", "analysis.unit_outcome"} <= holding.keys()
    assert all("Empty where row_level is none" in comment for comment in holding.values())


def test_every_status_and_denominator_that_linkage_gives_is_a_term() -> None:
    files = dict(sql_files())
    rows = files["12_result.sql"].split("CREATE TABLE out_unit_outcome")[1]
    statuses = set(re.findall(r"(?:THEN|ELSE) '(\w+)'", rows.split("END AS status")[0]))
    named = files["13_counts.sql"].split("JOIN (\n    VALUES")[1].split(") AS d")[0]
    denominators = set(re.findall(r"'(?:all|seen|lab|composite)', '(\w+)'", named))
    assert {"event", "untested", "merged"} <= statuses
    assert {"complete", "determined"} <= denominators
    told = {kind: {one.term for one in TERMS if one.kind == kind} for kind, *_ in TERMS}
    assert statuses <= told["status"]
    assert denominators == told["denominator"]


def test_every_file_in_the_folder_is_a_model() -> None:
    folder = resources.files("warehouse") / "models"
    assert {entry.name for entry in folder.iterdir()} == {
        f"{m.full_name}.sql" for m in load_models()
    }


@pytest.mark.parametrize("found", load_models(), ids=lambda found: found.full_name)
def test_a_models_text_is_whole_sentences_that_end_with_the_grain(found: Model) -> None:
    assert found.comment.endswith(found.grain)
    assert found.grain.startswith("One row per ")
    assert found.purpose.endswith(".")
    for column in found.columns:
        assert column.comment.endswith("."), column
    assert "|" not in found.comment


@pytest.mark.parametrize("found", load_models(), ids=lambda found: found.full_name)
def test_names_tell_the_kind_of_a_column(found: Model) -> None:
    endings = {"_at": "TIMESTAMP", "_date": "DATE"}
    starts = {"n_": "BIGINT", "is_": "BOOLEAN", "has_": "BOOLEAN"}
    for column in found.columns:
        for ending, kind in endings.items():
            assert not column.name.endswith(ending) or column.type == kind, column
        for start, kind in starts.items():
            assert not column.name.startswith(start) or column.type == kind, column


def test_a_model_reads_as_it_is_written() -> None:
    found = parse(GOOD, "ops.thing.sql")
    assert found.comment == "Things that were seen. One row per thing."
    assert found.key == ("thing_id",)
    assert [(c.name, c.type) for c in found.columns] == [
        ("thing_id", "VARCHAR"),
        ("seen_at", "TIMESTAMP"),
    ]
    assert found.sql == "select * from store.ops.thing"
    assert list(found.comments_sql("w")) == [
        'COMMENT ON TABLE w."ops"."thing" IS \'Things that were seen. One row per thing.\'',
        'COMMENT ON COLUMN w."ops"."thing"."thing_id" IS \'Name of the thing.\'',
        'COMMENT ON COLUMN w."ops"."thing"."seen_at" IS \'When it was seen, UTC.\'',
    ]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (" - Name of the thing.", "", "not `name TYPE - meaning`"),
        ("VARCHAR", "TEXT", "not `name TYPE - meaning`"),
        ("-- grain: One row per thing.\n", "", "the grain must read"),
        ("-- Things that were\n-- seen.\n", "", "says no purpose"),
        ("key: thing_id", "key: thing", "key names no column: thing"),
        ("ops.thing\n--", "ops.other\n--", "the first line must be"),
        ("-- columns:\n", "", "no `columns:`"),
        ("seen_at TIMESTAMP", "thing_id TIMESTAMP", "listed twice"),
        ("\nselect * from store.ops.thing\n", "", "a query are needed"),
    ],
)
def test_a_model_that_leaves_something_out_is_refused(old: str, new: str, cause: str) -> None:
    assert old in GOOD
    with pytest.raises(ModelError, match=cause):
        parse(GOOD.replace(old, new, 1), "ops.thing.sql")


def test_the_dictionary_lists_itself() -> None:
    rows = dictionary.dictionary_rows().to_pylist()
    own = [row for row in rows if row["table_name"] == "dictionary"]
    assert [row["column_name"] for row in own] == [
        None,
        *model("reference.dictionary").column_names,
    ]
    assert [row["column_position"] for row in own] == list(range(len(own)))


def test_the_page_has_every_column_of_every_table() -> None:
    page = dictionary.dictionary_page()
    for found in load_models():
        section = page.split(f"### {found.full_name}")[1].split("\n### ")[0]
        for column in found.columns:
            assert f"| `{column.name}` | {column.type} | " in section


def test_the_checked_in_page_is_the_generated_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "dictionary.md"
    assert page.read_text(encoding="utf-8") == dictionary.dictionary_page(), "run `make docs`"
