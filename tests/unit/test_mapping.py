"""Every mistake in a mapping says its line, its cause and its remedy, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.base.errors import ExitCode
from pipelines.sources.flat import MappingError, load_mapping
from tests.flat_kit import MAPPING

#: What to change in the good mapping, the line that must be named, its cause, its remedy.
MISTAKES: dict[str, tuple[str, str, str, str, str]] = {
    "unknown key": ("key = [", "keys = [", "keys = [", "unknown key", "did you mean `key`?"),
    "missing key": ('key = ["id"]\n', "", "[[file]]", "required", "Mend the lines"),
    "event type": ('"LabResulted"', '"LabResult"', "event =", "no event type", "LabResulted"),
    "field": ("unit = {", "units = {", "units =", "no such field", "Did you mean unit"),
    "envelope field": ("unit =", "flags =", "flags =", "filled in by Dripwatch", "Delete it"),
    "required field": ('code = { column = "test" }\n', "", "[file.fields]", "needs code", "Tell"),
    "value without unit": ('unit = { column = "unit" }\n', "", "[file.fields]", "no unit", "const"),
    "two origins": (
        'column = "unit"',
        'column = "unit", constant = "g"',
        "unit =",
        "2 origins",
        "Give one",
    ),
    "word": ('F = "final"', 'F = "finale"', "status =", "not understood", "final?"),
    "format": (
        'column = "taken"',
        'column = "taken", format = "dd.mm"',
        "occurred_at =",
        "not a format",
        "strptime",
    ),
    "zone name in times": (
        'column = "taken"',
        'column = "taken", format = "%Y %Z"',
        "occurred_at =",
        "not unique",
        "%z",
    ),
    "field zone": (
        'column = "taken"',
        'column = "taken", zone = "Europe/Berln"',
        "occurred_at =",
        "not an IANA",
        "Europe/Berlin",
    ),
    "mapping zone": (
        'namespace = "mrn"',
        'namespace = "mrn"\nzone = "Berlin"',
        "zone =",
        "not an IANA",
        "Europe/Berlin",
    ),
    "decimal of a text": (
        'column = "unit"',
        'column = "unit", decimal = ","',
        "unit =",
        "for numbers",
        "a text",
    ),
    "format of a number": (
        'column = "result"',
        'column = "result", format = "iso"',
        "value =",
        "for times",
        "a number",
    ),
    "number that is none": (
        'column = "result"',
        'column = "result", if_missing = "none"',
        "value =",
        "does not fit",
        "a number",
    ),
    "default without values": (
        'column = "unit"',
        'column = "unit", default = "g"',
        "unit =",
        "every text",
        "if_missing",
    ),
    "one sign": (
        'column = "result"',
        'column = "result", decimal = ",", thousands = ","',
        "value =",
        "one sign",
        "Change",
    ),
    "exported_at": ("2026-01-06T02:00:00Z", "last night", "exported_at", "not a time", "2026"),
    "data_through type": (
        "default = ",
        'LabResultd = "2026-01-06T00:00:00Z"\ndefault = ',
        "LabResultd",
        "no file has rows",
        "LabResulted",
    ),
    "data_through missing": (
        "default = ",
        "VitalSignMeasured = ",
        "[delivery.data_through]",
        "nothing for LabResulted",
        "default",
    ),
    "source file": (
        '"2026-01-06T02:00:00Z"',
        '{ column = "x", file = "lab" }',
        "exported_at",
        "no [[file]] is named",
        "labs",
    ),
    "sidecar path": (
        '"2026-01-06T02:00:00Z"',
        '{ sidecar = "../delivery.toml" }',
        "exported_at",
        "not a file name",
        "delivery.toml",
    ),
    "two ways of a time": (
        '"2026-01-06T02:00:00Z"',
        '{ sidecar = "d.toml", column = "x" }',
        "exported_at",
        "exactly one way",
        "Write",
    ),
    "kind": ('"delta"', '"deltas"', "kind =", "snapshot", "Mend the lines"),
    "delimiter": (
        'pattern = "labs*"',
        'pattern = "labs*"\ndelimiter = "||"',
        "delimiter",
        "not one ASCII character",
        "Write one",
    ),
    "delimiter of two bytes": (
        'pattern = "labs*"',
        'pattern = "labs*"\ndelimiter = "§"',
        "delimiter",
        "not one ASCII character",
        "Write one",
    ),
    "escape that is the quote": (
        'pattern = "labs*"',
        'pattern = "labs*"\nescape = \'"\'',
        "escape",
        "the same character as",
        "Delete `escape`",
    ),
    "line ends without quotes": (
        'pattern = "labs*"',
        'pattern = "labs*"\nquote = ""\nnewlines_in_cells = true',
        "newlines_in_cells",
        "there are no quotes",
        "Delete it",
    ),
    "encoding": (
        'pattern = "labs*"',
        'pattern = "labs*"\nencoding = "latin-one"',
        "encoding",
        "not a known text encoding",
        "latin-1",
    ),
    "binary encoding": (
        'pattern = "labs*"',
        'pattern = "labs*"\nencoding = "base64"',
        "encoding",
        "not a known text encoding",
        "latin-1",
    ),
    "folder in pattern": (
        'pattern = "labs*"',
        'pattern = "in/labs*"',
        "pattern",
        "a folder",
        "file name alone",
    ),
    "no header": (
        'pattern = "labs*"',
        'pattern = "labs*"\nheader = false',
        "header",
        "no names of columns",
        "columns =",
    ),
    "column not named": (
        'pattern = "labs*"',
        'pattern = "labs*"\nheader = false\ncolumns = ["id", "patient", "taken", "test", "results",'
        ' "unit", "state"]',
        "value =",
        "no column 'result'",
        "results",
    ),
    "operators": (
        "[file.patient]",
        '[[file.where]]\ncolumn = "unit"\n[file.patient]',
        "[[file.where]]",
        "0 operators",
        "exactly one",
    ),
    "regular expression": (
        "[file.patient]",
        '[[file.where]]\ncolumn = "unit"\nmatches = "(?=x)"\n[file.patient]',
        "matches",
        "not a regular expression",
        "look-around",
    ),
    "dead case": (
        'event = "LabResulted"',
        'event = [{ when = [], event = "LabResulted" }, { when = [{ column = "unit", equals = "x" '
        '}], event = "out_of_scope" }]',
        "event =",
        "never count",
        "last",
    ),
    "override of nothing": (
        "[file.fields]",
        '[file.VitalSignMeasured.fields]\nunit = { column = "unit" }\n[file.fields]',
        "[file.VitalSignMeasured.fields]",
        "no row of this file",
        "Delete",
    ),
    "key twice": ('key = ["id"]', 'key = ["id", "id"]', "key =", "named twice", "once"),
    "operation": (
        'key = ["id"]',
        'key = ["id"]\noperation = { column = "state", values = { X = "delete" } }',
        "operation",
        "retract",
        "Mend the lines",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_line_cause_and_remedy(name: str, tmp_path: Path) -> None:
    old, new, marker, cause, remedy = MISTAKES[name]
    assert MAPPING.count(old) >= 1
    text = MAPPING.replace(old, new, 1)
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith(marker))
    with pytest.raises(MappingError) as caught:
        load_mapping(path)
    told = str(caught.value)
    (mistake,) = [row for row in told.splitlines() if f"mapping.toml:{line}:" in row]
    assert cause in mistake
    assert remedy in told
    assert caught.value.exit_code is ExitCode.CONFIG


def test_the_good_mapping_has_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    assert load_mapping(path).file("labs").event_types == ("LabResulted",)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING.replace("unit = {", "units = {").replace("F = ", "F = 'x', G = "))
    with pytest.raises(MappingError, match="3 mistakes"):
        load_mapping(path)


def test_absent_and_broken_files_are_mapping_errors(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="does not exist"):
        load_mapping(tmp_path / "none.toml")
    path = tmp_path / "mapping.toml"
    path.write_text("[[file]\n")
    with pytest.raises(MappingError, match="not TOML"):
        load_mapping(path)


def test_comments_and_order_of_keys_do_not_change_the_hash_but_words_and_zone_do(
    tmp_path: Path,
) -> None:
    def hash_of(text: str, zone: str = "Europe/Berlin") -> str:
        path = tmp_path / "mapping.toml"
        path.write_text(text)
        return load_mapping(path).content_hash(zone)

    good = hash_of(MAPPING)
    assert hash_of("# a comment\n" + MAPPING) == good
    moved = MAPPING.replace('name = "labs"\npattern = "labs*"', 'pattern = "labs*"\nname = "labs"')
    assert hash_of(moved) == good
    assert hash_of(MAPPING.replace('"final"', '"corrected"', 1)) != good
    assert hash_of(MAPPING, "Asia/Tokyo") != good
