"""A first mapping of flat files: what their columns tell, to be completed by people.

It loads as it stands. Guesses say so, and a layout that tells too little is out of scope. It
names columns and nothing else of the files: no value of a row but words that may be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pipelines.sources.flat.model import FileRule
from pipelines.sources.profile.columns import FlatColumn, main_code
from pipelines.sources.profile.flat import FlatFound
from pipelines.sources.profile.known import slug
from pipelines.sources.profile.names import folded
from pipelines.sources.profile.sniff import plain_rule

HEAD = """\
# A first mapping, suggested by `dripwatch profile`. It loads, but it is a
# guess: read every line.
# Every key: docs/reference/mapping.md

# Kind of patient identifier. Sources that share it share their patients.
namespace = "mrn"
# IANA zone of times without an offset; by default the site's.
# zone = "Europe/Berlin"

[delivery]
# snapshot: each delivery tells everything; delta: what is new since the last.
kind = "snapshot"
"""
SIDECAR = """\
# delivery.toml lies beside the files:
#   exported_at = 2026-01-06T02:00:00Z
#   [data_through]
#   default = 2026-01-06T00:00:00Z
exported_at = { sidecar = "delivery.toml" }
data_through = { default = { sidecar = "delivery.toml" } }
"""
_SEX = {"f": "female", "w": "female", "female": "female", "weiblich": "female",
        "m": "male", "male": "male", "männlich": "male"}  # fmt: skip


def flat_mapping(found: Sequence[FlatFound]) -> str:
    """Return a mapping with one `[[file]]` per layout."""
    used: set[str] = set()
    blocks = [HEAD + SIDECAR]
    for one in found:
        name = _name(one, used)
        blocks.append("\n".join(_file(one, name, used)) + "\n")
    return "\n".join(blocks)


def _name(found: FlatFound, used: set[str]) -> str:
    words = [word for word in re.split("[^a-z]+", found.files[0].pattern.lower()) if word]
    plain = [word for word in words if word not in ("csv", "gz", "txt", "tsv", "parquet")]
    base = "-".join(plain) or slug(found.table.name)
    name = next(n for n in (base, *(f"{base}-{k}" for k in range(2, 10_000))) if n not in used)
    used.add(name)
    return name


def _file(found: FlatFound, name: str, used: set[str]) -> Iterator[str]:
    rule = found.files[0].rule or plain_rule()
    pattern = found.files[0].pattern
    yield "[[file]]"
    yield f"name = {_text(name)}"
    if f"pattern {pattern}" in used or not re.search("[A-Za-z]{3}.*[.]", pattern):
        yield "# Other files may match this pattern too: make it narrower."
    used.add(f"pattern {pattern}")
    yield f"pattern = {_text(pattern)}"
    if found.table.kind == "csv":
        yield from _writing(rule)
    columns = [one for one in found.columns if one.name == one.header or not rule.header]
    event = _event(columns)
    yield f"event = {_text(event)}" + _why(event)
    yield from _key(found, columns)
    patient = next((one for one in columns if one.role == "patient"), None)
    if patient is None:
        yield "# No column looks like a patient's identifier: name it."
    told = patient or (columns or found.columns)[0]
    yield f"patient = {{ column = {_text(told.header)} }}"
    if event != "out_of_scope":
        yield ""
        yield "[file.fields]"
        yield from _fields(event, found, columns)


def _why(event: str) -> str:
    if event == "out_of_scope":
        return "  # its columns tell no event that Dripwatch knows, or not enough of one"
    return "  # a guess by the names of the columns"


def _writing(rule: FileRule) -> Iterator[str]:
    for name in ("delimiter", "encoding"):
        if (told := getattr(rule, name)) != FileRule.model_fields[name].default:
            yield f"{name} = {_text(told)}"
    if rule.last_line_may_lack_newline:
        yield "last_line_may_lack_newline = true"
    if not rule.header:
        yield "# No header: write the names of the columns in the order of the file."
        yield "header = false"
        yield f"columns = [{', '.join(map(_text, rule.columns))}]"


def _event(columns: Sequence[FlatColumn]) -> str:
    roles = {one.role for one in columns}
    if "patient" not in roles:
        return "out_of_scope"
    code = main_code(columns)
    if code is not None and "time" in roles:
        if "value" in roles:
            return "LabResulted"
        if roles & {"dose", "rate", "route"}:
            return "InfusionRecorded"
        if (code.token or "").startswith("icd"):
            return "DiagnosisRecorded"
    if roles & {"birth", "sex"} and code is None:
        return "PatientRegistered"
    if {"encounter", "time", "end"} <= roles and code is None:
        return "EncounterOccurred"
    return "out_of_scope"


def _key(found: FlatFound, columns: Sequence[FlatColumn]) -> Iterator[str]:
    """Yield the key: columns that never repeat together, else those that come nearest."""
    by_name = {one.name: one for one in columns if one.is_full}
    for key in found.table.keys:
        if key.repeats == 0 and all(name in by_name for name in key.columns):
            yield f"key = [{', '.join(_text(by_name[name].header) for name in key.columns)}]"
            return
    parts = [main_time(columns), main_code(columns), *(c for c in columns if c.role == "patient")]
    some = [one for one in columns if one in parts and one.is_full]
    told = some or list(by_name.values())[:1] or list(columns)[:1] or found.columns[:1]
    if some:
        yield "# These columns repeat together, or that may not be told: is there an id?"
    else:
        yield "# No column names a record: choose."
    yield f"key = [{', '.join(_text(one.header) for one in told)}]"
    yield "occurrence = true"


def main_time(columns: Sequence[FlatColumn]) -> FlatColumn | None:
    """Return the column that says when: with an offset before without, charted before stored."""
    some = [one for one in columns if one.role == "time"]
    late = re.compile("stor|creat|updat|load|record|verif|result|issue")
    return min(
        some,
        key=lambda one: (bool(late.search(folded(one.header))), not one.has_offset),
        default=None,
    )


def _fields(event: str, found: FlatFound, columns: Sequence[FlatColumn]) -> Iterator[str]:
    by_role = {one.role: one for one in reversed(columns) if one.role}
    time, code = main_time(columns), main_code(columns)
    ends = sorted((c for c in columns if c.role == "end"), key=lambda c: not c.has_offset)
    if event == "PatientRegistered":
        yield from _column("birth_date", by_role.get("birth"))
        yield from _column("died_at", by_role.get("died"))
        yield from _sex(by_role.get("sex"), found)
        return
    yield from _column("occurred_at", time)
    if event in ("InfusionRecorded", "EncounterOccurred", "DiagnosisRecorded") and ends:
        yield from _column("ended_at", ends[0])
    if event == "EncounterOccurred":
        yield 'setting = { constant = "other" }  # inpatient, outpatient, home, emergency, other'
        return
    yield from _column("code", code)
    token = (code.token if code else None) or f"local-{slug(code.name if code else 'code')}"
    yield f"code_system = {{ constant = {_text(token)} }}"
    yield from _column("display", by_role.get("label"))
    if event == "LabResulted":
        yield from _lab(by_role)
    if event == "InfusionRecorded":
        yield from _infusion(columns, by_role)


def _lab(by_role: dict[str, FlatColumn]) -> Iterator[str]:
    yield from _column("value", by_role.get("value"))
    if "unit" in by_role:
        yield from _column("unit", by_role["unit"])
    else:
        yield 'unit = { constant = "unknown" }  # no column of units: write the unit'
    yield from _column("low_limit", by_role.get("low"))
    yield from _column("high_limit", by_role.get("high"))
    yield 'status = { constant = "final" }'


def _infusion(columns: Sequence[FlatColumn], by_role: dict[str, FlatColumn]) -> Iterator[str]:
    yield 'evidence = { constant = "administered" }  # or dispensed, ordered'
    status = next((one for one in columns if "status" in folded(one.header)), None)
    if status is None:
        yield 'status = { constant = "completed" }  # no column tells it'
    else:
        yield from _column("status", status)
    yield from _column("dose_value", by_role.get("dose"))
    yield from _column("dose_unit", by_role.get("dose_unit") or by_role.get("unit"))
    yield from _column("rate_value", by_role.get("rate"))
    yield from _column("rate_unit", by_role.get("rate_unit"))
    if "route" in by_role:
        yield '# values = { IV = "intravenous", ... }: oral, subcutaneous, intramuscular, other'
        yield from _column("route", by_role["route"])


def _sex(column: FlatColumn | None, found: FlatFound) -> Iterator[str]:
    if column is None:
        return
    told = [v.value for c in found.table.codes if c.name == column.name for v in c.values]
    words = {word: _SEX[word.lower()] for word in told if word.lower() in _SEX}
    values = ", ".join(f"{_text(word)} = {_text(meaning)}" for word, meaning in words.items())
    if values:
        inside = f'values = {{ {values} }}, default = "unknown"'
        yield f"sex = {{ column = {_text(column.header)}, {inside} }}"
    else:
        yield "# values = { ... }: female, male, other, unknown"
        yield from _column("sex", column)


def _column(field: str, column: FlatColumn | None) -> Iterator[str]:
    if column is None:
        return
    told = [f"column = {_text(column.header)}"]
    if column.kind == "time" and column.pattern:
        told.append(f"format = {_text(column.pattern)}")
    if column.decimal == ",":
        told.append('decimal = ","')
    yield f"{field} = {{ {', '.join(told)} }}"


def _text(value: str) -> str:
    """Return a TOML string."""
    return json.dumps(value, ensure_ascii=False)
