"""Mutated resources and rows: no crash, nothing lost, each accepted or set aside with a reason.

A seed that Hypothesis draws makes a file of odd records, with sound ones among them. It goes the
whole road from extract to log; the standard library says beside it which lines are records. A file
that breaks a rule is made smaller line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources.fhir.extract import extract as extract_fhir
from pipelines.sources.fhir.mapping import load_mapping
from pipelines.sources.flat import extract as extract_flat
from pipelines.sources.flat import load_mapping as load_flat_mapping
from pipelines.sources.rows.stage import Scope
from tests.fuzz_kit import odd_resource, odd_row
from tests.fuzz_reading import csv_lines, json_lines, strict_resource, strict_row
from tests.fuzz_road import KEY, SCOPE, SITE, Road, RowTold, travel
from tests.fuzz_seeds import seeds

DELIVERY = """
namespace = "mrn"
zone = "America/New_York"
[delivery]
kind = "snapshot"
exported_at = 2026-01-01T00:00:00Z
data_through = { default = 2026-01-01T00:00:00Z }
"""
LOOKED_UP = """
[patient]
identifier = "identifier[system=urn:mrn].value"
strip_prefix = "M-"
[settings]
point_time = "end"
undated_conditions = "encounter_end"
not_given = ["reason"]
version = "versionId"
"""
COLUMNS = ["id", "patient", "taken", "kind", "test", "result", "unit", "state", "changed", "no"]
ROW = ["r1", "P-7", "2025-03-01 08:30", "lab", "17861-6", "2.21", "mmol/L", "F", "2025-03-02", "3"]
ROWS = """
[[file]]
name = "results"
pattern = "*"
key = ["id"]
version = { column = "no" }
last_updated = { column = "changed" }
operation = { column = "state", values = { E = "retract" } }
event = [
  { when = [{ column = "kind", equals = "lab" }], event = "LabResulted" },
  { when = [{ column = "kind", equals = "vital" }], event = "VitalSignMeasured" },
]
where = [{ column = "state", not_in = ["X"], reason = "called_off" }]
[file.patient]
column = "patient"
strip_prefix = "P-"
[file.fields]
occurred_at = { column = "taken" }
code = { column = "test" }
code_system = { constant = "loinc" }
value = { column = "result" }
unit = { column = "unit" }
status = { column = "state", values = { F = "final", C = "corrected" } }
"""


def fhir(folder: Path, more: str = "", **told: Any) -> Road:
    path = folder / f"fhir{len(more)}.toml"
    path.write_text(DELIVERY + more)
    mapping = load_mapping(path)
    reasons = {c.reason for rule in mapping.table.resource.values() for c in rule.where}
    roles = {rule.reference for rule in mapping.table.resource.values()}

    def extract(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts, scope: Scope) -> None:
        extract_fhir(con, facts, mapping, SITE, scope, KEY)

    calm = tuple(json.dumps(seed).encode() + b"\n" for seed in seeds("calm-"))
    return Road(
        extract, mapping.event_types, odd_resource, calm, strict_resource, json_lines,
        reasons=frozenset(str(r) for r in reasons | roles if r), **told,
    )  # fmt: skip


def flat(folder: Path) -> Road:
    path = folder / "flat.toml"
    path.write_text(DELIVERY + ROWS)
    mapping = load_flat_mapping(path)

    def extract(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts, scope: Scope) -> None:
        files = tuple(replace(file, role="results") for file in facts.files)
        extract_flat(con, replace(facts, files=files), mapping, SITE, scope, KEY)

    calm = tuple(
        ",".join([f"calm-{n}", f"P-calm{n}", *ROW[2:5], text, *ROW[6:]]).encode() + b"\n"
        for n, text in enumerate(["2.1", '"<5.0"', '"high, very"', "", "é", '"a ""b"" c"'])
    )

    def line(seed: str) -> bytes:
        number = Random(seed).randrange(1000)  # noqa: S311 - no secret
        return odd_row(seed, [f"r{number}", f"P-{number}", *ROW[2:]])

    head = ",".join(COLUMNS).encode() + b"\n"
    return Road(
        extract, ("LabResulted", "VitalSignMeasured"), line, calm,
        lambda line: strict_row(line, len(COLUMNS)), csv_lines, head,
        reasons=frozenset({"called_off"}),
    )  # fmt: skip


def make(road: Road, seed: int, number: int) -> list[bytes]:
    """Return lines: mutated ones, and the sound ones at places of their own among them."""
    random = Random(seed)  # noqa: S311 - no secret
    lines = [road.line(f"{seed}-{n}") for n in range(number)]
    for calm in road.calm:
        at = random.randrange(len(lines) + 1)
        if at and not lines[at - 1].endswith(b"\n"):
            lines[at - 1] += b"\n"  # nothing is joined to a sound line
        lines.insert(at, calm)
    if road.head and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"  # without it, a last row may be cut off: it is no record
    return lines


def problems_of(road: Road, lines: list[bytes], folder: Path) -> list[str]:
    found = travel(road, road.head + b"".join(lines), folder)
    if not found.told:
        return found.problems
    alone = sound(road, folder)
    rows = {line: number for number, line in enumerate(found.rows, start=1)}
    for line in [line for line in road.calm if line in lines]:
        events = {(n, p): e for (n, row, p), e in found.told.items() if row == rows[line.strip()]}
        if events != alone[line] and set(road.calm) <= set(lines):
            found.problems.append(f"{rows[line.strip()]}: a sound line became another event")
    return found.problems


@cache
def sound(road: Road, folder: Path) -> dict[bytes, RowTold]:
    """Return what each sound line becomes among sound lines."""
    found = travel(road, road.head + b"".join(road.calm), folder, to_log=False)
    assert not found.problems, found.problems
    return {
        line: {(n, part): e for (n, row, part), e in found.told.items() if row == number}
        for number, line in enumerate(road.calm, start=1)
    }


def check(road: Road, seed: int, number: int, folder: Path) -> None:
    lines = make(road, seed, number)
    if problems := problems_of(road, lines, folder):
        few = smaller(lines, lambda some: bool(problems_of(road, some, folder)))
        shown = [line[:2000] for line in few]
        again = problems_of(road, few, folder)
        pytest.fail(f"seed {seed}: {problems[:5]}\nof {len(few)} lines: {again[:5]}\n{shown}")


def smaller(
    lines: list[bytes], fails: Callable[[list[bytes]], bool], tries: int = 40
) -> list[bytes]:
    """Return fewer lines that fail as well: halves, quarters, eighths are left out by turns."""
    size = (len(lines) + 1) // 2
    while size and tries:
        at = 0
        while at < len(lines) and tries:
            tries -= 1
            fewer = lines[:at] + lines[at + size :]
            if fewer and fails(fewer):
                lines = fewer
            else:
                at += size
        size = size // 2
    return lines


ROADS: dict[str, Callable[[Path], Road]] = {
    "FHIR": lambda folder: fhir(folder, is_by_id=True),
    "FHIR, identifiers looked up": lambda folder: fhir(folder, LOOKED_UP, kind="delta"),
    "FHIR, codes of a study": lambda folder: fhir(folder, scope=tuple(SCOPE), kind="delta"),
    "rows": flat,
}
#: Resources that others look something up in.
LOOKED_IN = re.compile(
    rb'"resourceType": "(Patient|Encounter|Medication|Specimen|DiagnosticReport)"'
)


@pytest.mark.parametrize(("name", "number"), [("FHIR", 200), ("rows", 100)])
def test_odd_records_are_accepted_or_set_aside_and_cost_no_other(
    name: str, number: int, tmp_path: Path
) -> None:
    check(ROADS[name](tmp_path), 25, number, tmp_path)


def test_a_loss_that_the_accounts_do_not_show_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A property that nothing can break would prove nothing.
    flat_extract = import_module("pipelines.sources.flat.extract")
    load = flat_extract.load

    def without_the_last(*told: Any) -> Any:
        found = load(*told)
        told[0].execute(f"DELETE FROM row_raw WHERE source_row = {found.n_rows}")
        found.n_rows -= 1
        return found

    monkeypatch.setattr(flat_extract, "load", without_the_last)
    road = ROADS["rows"](tmp_path)
    lines = [*road.calm, *road.calm]
    assert travel(road, road.head + b"".join(lines), tmp_path).problems == [
        f"{len(lines)} lines are [({len(lines) - 1},)] rows",
        f"{len(lines)} rows are {{'accepted': 6, 'quarantined': 0, 'superseded': 0, "
        "'duplicate': 5, 'out_of_scope': 0, 'reference': 0}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ROADS)
def test_many_odd_records_are_accepted_or_set_aside_and_cost_no_other(
    name: str, tmp_path: Path
) -> None:
    road = ROADS[name](tmp_path)

    # a seed does not shrink: the file that it makes does
    @settings(max_examples=13, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(seed=st.integers(min_value=0, max_value=2**32))
    def search(seed: int) -> None:
        check(road, seed, 100, tmp_path)

    search()


@pytest.mark.slow
def test_a_sound_resource_gives_the_same_events_without_the_others(tmp_path: Path) -> None:
    road = ROADS["FHIR"](tmp_path)
    context = [line for line in road.calm if LOOKED_IN.search(line)]
    for line in (line for line in road.calm if line not in context):
        found = travel(road, b"".join([line, *context]), tmp_path, to_log=False)
        events = {(name, part): e for (name, row, part), e in found.told.items() if row == 1}
        assert events == sound(road, tmp_path)[line]
