"""The rows of a resource type, complete: what the resources tell and what others tell of them."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.base.duck import literal
from pipelines.sources.fhir.columns import column
from pipelines.sources.fhir.lookups import CODES, DRUGS, current, shredded
from pipelines.sources.fhir.model import Choice, Element, FhirMapping, ResourceRule
from pipelines.sources.rows import sql
from pipelines.sources.rows.model import Condition

_ABSENT = "absent."
_CODED = {"": "code", "_system": "code_system", "_display": "display", "_scope": "scope"}


def complete(
    resource_type: str,
    mapping: FhirMapping,
    rule: ResourceRule,
    used: Iterable[str],
    zone: str,
    *,
    is_delta: bool,
) -> str:
    """Return the query for every row of a type, with `refused` where it is no record to read.

    Columns: `source_file_sha`, `source_row`, `source_part`, `resource_text`, `malformed` (the
    resource, not only what a part is coded as), `noted`, `refused` and one per used element;
    choices are made in the order in which the rule tells them.
    """
    needs = is_delta and mapping.settings.lookups == "required"
    query = _joined(resource_type, mapping, rule, needs=needs)
    for name, choices in rule.choose.items():
        query = f"SELECT *, {_chosen(choices, zone)} AS {column(name)} FROM ({query})"
    kept = ", ".join(column(name) for name in dict.fromkeys(used))
    return (
        "SELECT source_file_sha, source_row, source_part, resource_text, malformed, "
        f"{_noted(rule)} AS noted, {_refused(rule, needs=needs)} AS refused, {kept} "
        f"FROM ({query}) {_without_wholes(rule)}"
    )


def _joined(resource_type: str, mapping: FhirMapping, rule: ResourceRule, *, needs: bool) -> str:
    """Return the query for what the resources tell, and what is looked up for them."""
    found = _Joined(rule, mapping)
    if resource_type == "Patient":
        found.links(rule, needs=needs)
    elif "patient" in rule.elements:
        found.patient()
    return found.query(resource_type)


class _Joined:
    """The look-ups of a rule: what is joined, the columns that come of it, what can be wrong."""

    def __init__(self, rule: ResourceRule, mapping: FhirMapping) -> None:
        self._mapping = mapping
        self._part = "t.source_part"
        self._joins: list[str] = []
        self._replaced: dict[str, str] = {}
        self._added = {f"settings.{n}": literal(str(v)) for n, v in _settings(mapping).items()}
        self._wrong, self._several, self._lost = ["t.malformed"], ["false"], ["false"]
        for number, (name, element) in enumerate(rule.elements.items()):
            if element.concept and not rule.reference:
                self._concept(name, f"j{number}")
            elif element.medication:
                self._medication(name, f"j{number}")
            elif element.via:
                self._via(name, element, f"j{number}")

    def _concept(self, name: str, found: str) -> None:
        self._joins.append(f"LEFT JOIN {CODES} {found} ON {found}.fragment = t.{column(name)}")
        self._code(name, {end: f"{found}.{of}" for end, of in _CODED.items()})
        self._wrong.append(f"{found}.malformed")
        self._several.append(f"{found}.several")

    def _medication(self, name: str, found: str) -> None:
        own = f"{found}c"
        nothing = f"t.{column(name)} IS NULL"
        self._joins += [
            f"LEFT JOIN {CODES} {own} ON {own}.fragment = t.{column(name)}",
            f"LEFT JOIN {DRUGS} {found} ON {nothing} AND {found}.id = t.{column(name + '_id')}",
        ]
        self._code(name, {e: f"coalesce({own}.{of}, {found}.{of})" for e, of in _CODED.items()})
        self._part = f"{found}.part"
        is_told = f"t.{column(name + '_told')} IS NOT NULL"
        self._lost.append(f"({nothing} AND {is_told} AND coalesce({found}.unresolved, true))")
        self._wrong += [f"{own}.malformed", f"{found}.malformed"]
        self._several += [f"{own}.several", f"{found}.several"]

    def _code(self, name: str, told: dict[str, str]) -> None:
        self._replaced[name] = told.pop("")
        self._added |= {name + end: text for end, text in told.items()}

    def _via(self, name: str, element: Element, found: str) -> None:
        newest = current(element.of or "", element.through)
        via = column(element.via or "")
        self._joins.append(f"LEFT JOIN ({newest}) {found} ON {found}.found_id = t.{via}")
        if element.needed is not None:
            self._added[_ABSENT + name] = f"t.{via} IS NOT NULL AND {found}.found_id IS NULL"
        self._added[name] = f"{found}.{column(element.column or '')}"

    def patient(self) -> None:
        """Look the patient's identifier up, where it is not the id of the resource."""
        if self._mapping.patient.identifier != "id":
            who = column("patient")
            self._joins.append(f"LEFT JOIN ({current('Patient')}) who ON who.found_id = t.{who}")
            self._replaced["patient"] = f"who.{who}"

    def links(self, rule: ResourceRule, *, needs: bool) -> None:
        """Name the patients whom a Patient was merged with as records name theirs, one a line."""
        told = {n: e for n, e in rule.elements.items() if e.reference and e.of == "Patient"}
        for number, (name, element) in enumerate(told.items()):
            each = f"unnest({column(name)})" if element.all else column(name)
            who = "w.found_id"
            if self._mapping.patient.identifier != "id":
                who = f"w.{column('patient')}"
            found = f"k{number}"
            self._joins.append(f"""LEFT JOIN (
    SELECT l.source_file_sha, l.source_row, string_agg(coalesce({who}, l.same), chr(10)) AS told,
        count(*) > count(coalesce({who}, l.same)) AS is_lost
    FROM (SELECT source_file_sha, source_row, id, {_same(self._mapping)} AS same
        FROM (SELECT source_file_sha, source_row, {each} AS id FROM {shredded("Patient")}
            WHERE NOT contained) WHERE id IS NOT NULL) l
    LEFT JOIN ({current("Patient")}) w ON w.found_id = l.id GROUP BY ALL
) {found} ON {found}.source_file_sha = t.source_file_sha AND {found}.source_row = t.source_row""")
            self._replaced[name] = f"{found}.told"
            self._added[f"{name}_lost"] = f"CASE WHEN {found}.is_lost THEN 'true' END"
            if needs and not element.all:
                self._lost.append(f"{found}.is_lost")

    def query(self, resource_type: str) -> str:
        """Return the query; `is_wrong`, `has_several`, `is_lost` say what is odd about a row."""
        changed = ", ".join(f"{text} AS {column(name)}" for name, text in self._replaced.items())
        kept = f"t.* EXCLUDE (source_part) {f'REPLACE ({changed})' if changed else ''}"
        text = f"{literal(resource_type + '/')} || t.{column('id')}"
        added = self._added | {
            "part": f"CAST({self._part} AS VARCHAR)",
            "record": f"{text} || coalesce('#' || ({self._part}), '')",
        }
        new = ", ".join(f"{told} AS {column(name)}" for name, told in added.items())
        return (
            f"SELECT {kept}, {new}, {self._part} AS source_part, {text} AS resource_text, "
            f"{_any(self._wrong)} AS is_wrong, {_any(self._several)} AS has_several, "
            f"{_any(self._lost)} AS is_lost "
            f"FROM {shredded(resource_type)} t {' '.join(self._joins)} WHERE NOT t.contained"
        )


def _same(mapping: FhirMapping) -> str:
    """Return SQL of a patient's identifier where it is the id itself: nobody must be delivered."""
    return "id" if mapping.patient.identifier == "id" else "NULL::VARCHAR"


def _settings(mapping: FhirMapping) -> dict[str, object]:
    told = mapping.settings.model_dump()
    return {name: value for name, value in told.items() if isinstance(value, str)}


def _any(tests: list[str]) -> str:
    return "(" + " OR ".join(f"coalesce({test}, false)" for test in tests or ["false"]) + ")"


def _all(conditions: Iterable[Condition]) -> str:
    columns = {c.column: column(c.column) for c in conditions}
    return " AND ".join(sql.holds(c, columns) for c in conditions) or "true"


def _chosen(choices: list[Choice], zone: str) -> str:
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


def _refused(rule: ResourceRule, *, needs: bool) -> str:
    """Return SQL of why a resource makes no event; one that is taken back needs nothing else."""
    kept = f"NOT ({_taken_back(rule)})"
    who = "false"
    if "patient" in rule.elements and rule.elements["patient"].reference:
        who = f"{column('patient_told')} IS NOT NULL AND {column('patient')} IS NULL"
    return (
        f"CASE WHEN is_wrong AND {kept} THEN 'malformed_element' WHEN {column('id')} IS NULL "
        f"THEN 'missing_id' WHEN {who} AND {kept} THEN 'unresolved_patient' "
        f"WHEN (is_lost OR {_needed(rule) if needs else 'false'}) AND {kept} "
        "THEN 'unresolved_reference' END"
    )


def _needed(rule: ResourceRule) -> str:
    """Return SQL of whether a delta lacks a resource whose time this one would take."""
    tests = [
        f"({column(_ABSENT + name)} AND {_all(element.needed)})"
        for name, element in rule.elements.items()
        if element.needed is not None
    ]
    return f"({' OR '.join(tests) or 'false'})"


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
