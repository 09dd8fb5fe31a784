"""The rows of a resource type, complete: what the resources tell and what others tell of them."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.base.duck import literal
from pipelines.sources.fhir.compile import column
from pipelines.sources.fhir.lookups import CODES, DRUGS, current, shredded
from pipelines.sources.fhir.model import Choice, Condition, FhirMapping, ResourceRule
from pipelines.sources.rows import sql

_CODED = {"": "code", "_system": "code_system", "_display": "display", "_scope": "scope"}


def complete(
    resource_type: str, mapping: FhirMapping, rule: ResourceRule, used: Iterable[str], zone: str
) -> str:
    """Return the query for every row of a type, with `refused` where it is no record to read.

    Columns: `source_file_sha`, `source_row`, `source_part`, `resource_text`, `noted`, `refused`
    and one per used element; choices are made in the order in which the rule tells them.
    """
    query = _joined(resource_type, mapping, rule)
    for name, choices in rule.choose.items():
        query = f"SELECT *, {_chosen(choices, rule, zone)} AS {column(name)} FROM ({query})"
    kept = ", ".join(column(name) for name in dict.fromkeys(used))
    return (
        "SELECT source_file_sha, source_row, source_part, resource_text, "
        f"{_noted(rule)} AS noted, {_refused(rule)} AS refused, {kept} "
        f"FROM ({query}) {_without_wholes(rule)}"
    )


def _joined(resource_type: str, mapping: FhirMapping, rule: ResourceRule) -> str:
    """Return the query for what the resources tell, and what is looked up for them."""
    part = "t.source_part"
    replaced: dict[str, str] = {}
    added = {f"settings.{name}": literal(str(told)) for name, told in _settings(mapping).items()}
    joins, wrong, several, lost = [], ["t.malformed"], [], ["false"]
    for number, (name, element) in enumerate(rule.elements.items()):
        found = f"j{number}"
        if element.concept and not rule.reference:
            joins.append(f"LEFT JOIN {CODES} {found} ON {found}.fragment = t.{column(name)}")
            told = {end: f"{found}.{of}" for end, of in _CODED.items()}
        elif element.medication:
            joins.append(f"LEFT JOIN {CODES} {found}c ON {found}c.fragment = t.{column(name)}")
            joins.append(
                f"LEFT JOIN {DRUGS} {found} ON t.{column(name)} IS NULL "
                f"AND {found}.id = t.{column(name + '_id')}"
            )
            told = {e: f"coalesce({found}c.{of}, {found}.{of})" for e, of in _CODED.items()}
            part = f"{found}.part"
            pointed = f"t.{column(name)} IS NULL AND t.{column(name + '_told')} IS NOT NULL"
            lost.append(f"({pointed} AND coalesce({found}.unresolved, true))")
            wrong.append(f"{found}c.malformed")
            several.append(f"{found}c.several")
        elif element.via:
            joins.append(
                f"LEFT JOIN ({current(element.of or '', element.through)}) {found} "
                f"ON {found}.found_id = t.{column(element.via)}"
            )
            added[name] = f"{found}.{column(element.column or '')}"
            continue
        else:
            continue
        wrong.append(f"{found}.malformed")
        several.append(f"{found}.several")
        replaced[name] = told.pop("")
        added |= {name + end: text for end, text in told.items()}
    if "patient" in rule.elements and resource_type != "Patient" and _looked_up(mapping):
        joins.append(
            f"LEFT JOIN ({current('Patient')}) who ON who.found_id = t.{column('patient')}"
        )
        replaced["patient"] = f"who.{column('patient')}"
    changed = ", ".join(f"{text} AS {column(name)}" for name, text in replaced.items())
    star = f"t.* EXCLUDE (source_part) {f'REPLACE ({changed})' if changed else ''}"
    new = ", ".join(f"{text} AS {column(name)}" for name, text in added.items())
    text = f"{literal(resource_type + '/')} || t.{column('id')}"
    record = f"{text} || coalesce('#' || ({part}), '')"
    return (
        f"SELECT {star}, {new}, {part} AS source_part, CAST({part} AS VARCHAR) AS {column('part')}, "
        f"{text} AS resource_text, {record} AS {column('record')}, "
        f"{_any(wrong)} AS is_wrong, {_any(several)} AS has_several, {_any(lost)} AS is_lost "
        f"FROM {shredded(resource_type)} t {' '.join(joins)} WHERE NOT t.contained"
    )


def _settings(mapping: FhirMapping) -> dict[str, object]:
    told = mapping.settings.model_dump()
    return {name: value for name, value in told.items() if isinstance(value, str)}


def _looked_up(mapping: FhirMapping) -> bool:
    return mapping.patient.identifier != "id"


def _any(tests: list[str]) -> str:
    return "(" + " OR ".join(f"coalesce({test}, false)" for test in tests or ["false"]) + ")"


def _all(conditions: Iterable[Condition]) -> str:
    columns = {c.column: column(c.column) for c in conditions}
    return " AND ".join(sql.holds(c, columns) for c in conditions) or "true"


def _chosen(choices: list[Choice], rule: ResourceRule, zone: str) -> str:
    arms = []
    for choice in choices:
        told = literal(choice.text or "") if choice.column is None else column(choice.column)
        if choice.day:
            told = local_day(told, zone)
        arms.append(f"WHEN {_all(choice.when)} THEN {told}")
    return f"nullif(CASE {' '.join(arms)} END, '')"


def local_day(text: str, zone: str) -> str:
    """Return SQL of the local day of a time as written, whatever its offset."""
    local = sql.local_time(text, "iso")
    minutes = sql.offset_minutes(sql.offset_text(text, "iso"))
    shown = f"utc_to_local({local} - to_minutes({minutes}), {literal(zone)})"
    return (
        f"CASE WHEN {sql.time_kind(text, 'iso', 'auto')} = 'instant' AND {minutes} IS NOT NULL "
        f"THEN strftime({shown}, '%Y-%m-%d') ELSE left({text}, 10) END"
    )


def _noted(rule: ResourceRule) -> str:
    told = {"several_codings": "has_several"} | {n: _all(c) for n, c in rule.flags.items()}
    flags = ", ".join(f"CASE WHEN {test} THEN {literal(name)} END" for name, test in told.items())
    return f"[{flags}]::VARCHAR[]"


def _refused(rule: ResourceRule) -> str:
    """Return SQL of why a resource makes no event; one that is taken back needs nothing else."""
    kept = f"NOT ({_taken_back(rule)})"
    who = "false"
    if "patient" in rule.elements and rule.elements["patient"].reference:
        who = f"{column('patient_told')} IS NOT NULL AND {column('patient')} IS NULL"
    return (
        f"CASE WHEN is_wrong THEN 'malformed_element' WHEN {column('id')} IS NULL "
        f"THEN 'missing_id' WHEN {who} AND {kept} THEN 'unresolved_patient' "
        f"WHEN is_lost AND {kept} THEN 'unresolved_reference' END"
    )


def _taken_back(rule: ResourceRule) -> str:
    if rule.operation is None:
        return "false"
    told = column(rule.operation.column)
    meant = sql.mapped(told, dict(rule.operation.values), rule.operation.default)
    return f"coalesce({meant}, {literal(rule.operation.default)}) = 'retract'"


def _without_wholes(rule: ResourceRule) -> str:
    """Leave out resources that only hold their parts together."""
    if rule.parts is None:
        return ""
    empty = " AND ".join(f"{column(name)} IS NULL" for name in rule.parts.keep_whole) or "true"
    return f"WHERE NOT (source_part IS NULL AND n_parts > 0 AND {empty})"
