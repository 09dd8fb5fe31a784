"""A study's files that cannot be read as they stand are named, each with its remedy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import read_toml
from studies.load import load_study
from tests.study_kit import folder, line_of, named_lines

__all__ = ["folder"]

BOM = b"\xef\xbb\xbf"


def to_latin(path: Path) -> None:
    path.write_bytes(path.read_bytes() + "fever,x,y,caf\xe9,exact,z,\n".encode("latin-1"))


def to_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def to_long_field(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'fever,x,y,"' + b"A" * 200_000 + b'",exact,z,\n')


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at-all.csv")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT = [
    (to_latin, "not UTF-8"),
    (to_noise, "not UTF-8"),
    (to_long_field, "no row of a CSV file"),
    (to_link, "a link to nothing"),
    (to_folder, "is a folder"),
    (to_pipe, "a pipe or a device"),
]


@pytest.mark.parametrize("file", ["codelists/reactions.csv", "limits/pals_heart_rate.csv"])
@pytest.mark.parametrize(("spoil", "said"), SPOILT, ids=[one.__name__ for one, _ in SPOILT])
def test_a_file_that_cannot_be_read_is_named_and_is_the_only_mistake(
    folder: Path, file: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder / file)
    (told,) = named_lines(folder)
    assert told.startswith(f"{file}:")
    assert said in told


def test_study_check_ends_as_with_any_mistake(folder: Path) -> None:
    to_latin(folder / "codelists" / "reactions.csv")
    done = CliRunner().invoke(app, ["study", "check", str(folder), "--json"])
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["exit_name"]) == (12, "PROBLEMS")
    assert "Save it as UTF-8" in answer["result"]["mistakes"][0]


def test_what_excel_puts_before_utf_8_changes_nothing(folder: Path) -> None:
    before = load_study(str(folder)).study_hash
    for name in ("study.toml", "codelists/reactions.csv", "limits/pals_heart_rate.csv"):
        path = folder / name
        path.write_bytes(BOM + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_study(str(folder)).study_hash == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 100_000 + "]" * 100_000, "values are nested too deep"),
        ("x = " + "[" * 60 + "]" * 60, "values are nested too deep"),
        ("[a" + ".a" * 100_000 + "]", "keys are nested too deep"),
        ("[a" + ' . "a"' * 100_000 + "]", "keys are nested too deep"),
        ("x = " + "9" * 5000, "a number is too long"),
    ],
    ids=["arrays", "sixty arrays", "keys", "quoted keys", "digits"],
)
def test_toml_that_nobody_writes_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_toml(tmp_path / "study.toml")


#: A setting, what it becomes, and what is said of it at its line.
NO_NUMBERS = [
    ("end_offset_hours = 336", "end_offset_hours = nan", "finite number"),
    ("end_offset_hours = 336", "end_offset_hours = inf", "finite number"),
    ("end_offset_hours = 336", "end_offset_hours = 1e300", "less than or equal to 175320"),
    ("end_offset_hours = 336", "end_offset_hours = -1e14", "greater than or equal to -175320"),
    ("end_offset_hours = 336", f"end_offset_hours = {'9' * 400}", "valid number"),
    ("max_age_years = 21.0", "max_age_years = nan", "finite number"),
    ("max_age_years = 21.0", "max_age_years = inf", "finite number"),
    ("max_age_years = 21.0", "max_age_years = true", "valid number"),
    ("max_age_years = 21.0", 'max_age_years = "21"', "valid number"),
    ("max_age_years = 21.0", "max_age_years = 0", "greater than 0"),
    ("lookback_days = 365", "lookback_days = inf", "finite number"),
    ("lookback_days = 365", "lookback_days = 1e6", "less than or equal to 36525"),
    ("course_gap_hours = 96", "course_gap_hours = inf", "finite number"),
    ("LabResulted = 48", "LabResulted = inf", "finite number"),
    ("requires_indication = true", 'requires_indication = "no"', "valid boolean"),
    ("requires_indication = true", "requires_indication = 0", "valid boolean"),
    ("min_grade = 2", "min_grade = true", "valid integer"),
    ("until_months = 72", 'until_months = "72"', "valid integer"),
    ('label = "Chills"', r'label = "\u001b[31mChills"', "U+001B, which cannot be printed"),
    ('label = "Chills"', r'label = "Chills\n"', "U+000A, which cannot be printed"),
    ('label = "Chills"', r'label = "\u202eChills"', "U+202E, which cannot be printed"),
    ('label = "Chills"', 'label = " "', "is empty"),
    ('label = "Chills"', f'label = "{"C" * 201}"', "at most 200 characters"),
    ('name = "ibandronate"', 'name = ""', "is empty"),
]


@pytest.mark.parametrize(
    ("old", "new", "said"), NO_NUMBERS, ids=[one[1][:40] for one in NO_NUMBERS]
)
def test_a_value_of_another_type_or_size_is_refused(
    folder: Path, old: str, new: str, said: str
) -> None:
    path = folder / "study.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    told = named_lines(folder)
    line = line_of(folder, new)
    assert any(one.startswith(f"study.toml:{line}:") and said in one for one in told), told


def test_letters_of_every_script_are_printable(folder: Path) -> None:
    path = folder / "study.toml"
    words = "Schüttelfrost, 寒気, لرز می\u200cکند"
    path.write_text(path.read_text().replace('"Chills"', f'"{words}"'), encoding="utf-8")
    assert load_study(str(folder)).outcome("chills").label == words


#: What is said twice, and what is said of it.
TWICE = [
    ('label = "2-5 y"', 'label = "6-11 Y"', "two bands of age are called"),
    ('name = "ibandronate"', 'name = "pamidronate"', "two drugs are called 'pamidronate'"),
    ('type = "neuromuscular"', 'type = "primary"', "two groups are called 'primary'"),
    ('["drug", "ordinal"]', '["drug", "drug"]', "crosses 'drug' with itself"),
    ('["drug", "ordinal"]', '["drug", "ordinal"], ["ordinal", "drug"]',
     "crosses 'ordinal' and 'drug' twice"),
    ("two_way =", 'by = ["all", "drug", "drug"]\ntwo_way =', "names 'drug' twice"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), TWICE, ids=[new for _, new, _ in TWICE])
def test_what_would_be_counted_as_one_is_named(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "study.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    (told,) = named_lines(folder)
    assert said in told


def test_one_unreadable_study_is_no_fault_of_the_program(tmp_path: Path) -> None:
    made = tmp_path / "study"
    made.mkdir()
    shutil.copy("/dev/null", made / "study.toml")
    (made / "study.toml").write_bytes(b"\xff\xfe[study]")
    done = CliRunner().invoke(app, ["study", "check", str(made)])
    assert done.exit_code == 12
    assert "not UTF-8" in done.stderr
