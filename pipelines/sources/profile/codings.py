"""Codes, units and fixed words in the resources of one type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.sources.profile import coded
from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.report import Codes, Column
from pipelines.sources.profile.shapes import sql_path
from pipelines.sources.profile.tables import Rows

#: Elements that say what a resource is about; studies name their codes.
MAIN = ("code", "medicationCodeableConcept", "event", "component[*].code",
        "ingredient[*].itemCodeableConcept", "vaccineCode")  # fmt: skip
#: Elements of fixed words.
_WORDS = ("status", "intent", "gender", "priority", "valueQuantity.comparator", "doNotPerform")
#: Codes told per system of an element that is no main one.
_FEW = 8
#: Where the unit of a resource's number is, best first.
_QUANTITIES = ("valueQuantity", "dosage.dose", "dosage.rateQuantity", "quantity",
               "dosageInstruction[*].doseAndRate[*].doseQuantity")  # fmt: skip


def all_codes(rows: Rows, columns: Sequence[Column], asked: Asked) -> Iterator[Codes]:
    """Yield the values of every element whose values may be told, those of main ones first."""
    by_name = {one.name: one.kind for one in columns}
    ordered = [one for one in MAIN if one in by_name]
    ordered += [one for one in by_name if one not in MAIN]
    for name in ordered:
        if "CodeableConcept" in by_name[name] or by_name[name] == "Coding":
            yield from _coding(rows, name, by_name, asked)
    for name in _WORDS:
        if by_name.get(name, "text") in ("text", "yes/no") and name.split(".")[0] in by_name:
            text = f"json_extract_string(resource, {sql_path(name)})"
            told = coded.codes(
                rows, coded.Values(name, text), asked.known, asked.min_cell, asked.top
            )
            if told.values:
                yield told


def _coding(rows: Rows, name: str, by_name: dict[str, str], asked: Asked) -> Iterator[Codes]:
    """Yield the codes of an element of codings."""
    base = (
        name.split(".", maxsplit=1)[0]
        if name.startswith(("component[*].", "ingredient[*]."))
        else ""
    )
    inside = name.removeprefix(base).removeprefix(".")
    path = inside if by_name[name] == "Coding" else f"{inside}.coding[*]"
    quantities = [q for q in _QUANTITIES if (f"{base}.{q}" if base else q) in by_name]
    unit = _unit(quantities[0]) if quantities and name in MAIN else "NULL"
    source = "one"
    if base:
        # each part counts like a resource of its own
        source = f"(SELECT n, patient, unnest({_list(base)}) AS resource FROM one)"
    rows.con.execute(
        f"CREATE OR REPLACE TABLE coding AS WITH found AS (SELECT patient, {unit} AS unit, "
        f"{_list(path)} AS codings FROM {source}), each AS (SELECT patient, unit, "
        "unnest(CASE WHEN len(codings) > 0 THEN codings ELSE [NULL] END) AS c FROM found) "
        "SELECT patient, unit, c->>'$.code' AS code, c->>'$.display' AS label, "
        "CASE WHEN c->>'$.code' IS NOT NULL THEN coalesce(c->>'$.system', '(no system)') END "
        "AS system FROM each"
    )
    values = coded.Values(
        name,
        "code",
        system="system",
        label="label",
        unit="unit" if unit != "NULL" else None,
        is_coded=name in MAIN,
    )
    limit = asked.top if name in MAIN else _FEW
    told = coded.codes(
        Rows(rows.con, "coding", "patient"), values, asked.known, asked.min_cell, limit
    )
    if told.values or told.has_more or told.is_coded:
        yield told


def _list(path: str) -> str:
    """Return SQL of the list of what is at a path."""
    found = f"json_extract(resource, {sql_path(path)})"
    return found if "[*]" in path else f"[{found}]"


def _unit(path: str) -> str:
    parts = [
        f"json_extract_string(resource, {sql_path(f'{path}.{key}')})" for key in ("unit", "code")
    ]
    if "[*]" in path:
        parts = [f"{part}[1]" for part in parts]
    return f"coalesce({', '.join(parts)})"
