"""From the elements of a rule to the columns that a resource is read into, as SQL.

What a resource itself tells is read here, once per resource, columnar. What only others tell
(codes of the scope, what a reference points to) is joined afterwards: see `view`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache

from pipelines.base.duck import literal, quote
from pipelines.sources.fhir import paths
from pipelines.sources.fhir.model import Element, ResourceRule
from pipelines.sources.fhir.paths import Path, Shape
from studies.analytes import known_units

Values = Mapping[str, Mapping[str, str]]

_RANGE = ("type.coding[*].code", "type.text", "low.value", "low.unit", "low.code") + (
    "high.value",
    "high.unit",
    "high.code",
)
#: A number as results write it: comparator, digits, and the laboratory's mark such as (L), H, *.
_NUMBER = r"(<=|>=|<|>|≤|≥)? *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_MARK = r"( *\([A-Za-z*!+-]{1,3}\)| +[HLA*]{1,2}| *\*)"


def column(name: str) -> str:
    """Return the SQL name of an element's column; a dot, so that nothing else is called so."""
    return quote("e." + name)


def reads(rule: ResourceRule) -> Iterator[tuple[str, Path, Shape, bool]]:
    """Yield every path that a rule reads: its element, its steps, its shape, if parts tell it."""
    for name, element in rule.elements.items():
        own = rule.parts is not None and name in rule.parts.own
        for text, shape in _paths(element):
            yield name, paths.parse(text), shape, own


def _paths(element: Element) -> Iterator[tuple[str, Shape]]:
    for text in (*(element.path or ()), *_after(element.reference or (), ".reference")):
        yield text, "text"
    if element.concept:
        yield element.concept, "fragment"
    if element.identifiers:
        yield element.identifiers, "list"
    if element.items:
        yield element.items, "items"
    if element.medication:
        yield f"{element.medication}CodeableConcept", "fragment"
        yield f"{element.medication}Reference.reference", "text"
    if element.number:
        yield element.number, "text"
    for text in (element.quantity, element.unit_of):
        if text:
            yield from ((f"{text}.{part}", "text") for part in _QUANTITY)
    if element.ratio:
        for side in ("numerator", "denominator"):
            yield from ((f"{element.ratio}.{side}.{part}", "text") for part in _QUANTITY[1:])
    if element.range:
        yield from ((f"{element.range}[*].{part}", "text") for part in _RANGE)


_QUANTITY = ("comparator", "value", "unit", "code")


def _after(texts: object, end: str) -> list[str]:
    return [f"{text}{end}" for text in texts] if isinstance(texts, list | tuple) else []


def tree(rule: ResourceRule) -> paths.Tree:
    """Return the structure of all that a rule reads.

    Errors:
        ValueError: a path is none, or two paths read one element in two shapes.
    """
    found = paths.Tree()
    under = paths.parse(rule.parts.path + "[*]") if rule.parts else ()
    for _, path, shape, own in reads(rule):
        if shape == "list":
            for part in ("system", "value"):
                found.add((*path[:-1], _listed(path[-1]), paths.Step(part)))
            continue
        found.add(path, shape)
        if own:
            found.add(path, shape, under)
    return found


def _listed(step: paths.Step) -> paths.Step:
    return paths.Step(step.name, is_list=True)


def shred(rule: ResourceRule, values: Values, rows: str) -> str:
    """Return the query for one row per resource and part, a column per element.

    Args:
        rule: the rule of the resources' type, complete.
        values: every table of words by its name, keys in lower case.
        rows: relation with `source_file_sha`, `source_row`, `contained` and `resource`.
    """
    read = tree(rule)
    structure = literal(json.dumps(read.structure()))
    whole = (
        "SELECT source_file_sha, source_row, contained, resource, "
        f"json_transform(resource, {structure}) AS t, {read.kinds('resource')} AS kinds FROM {rows}"
    )
    part, count, source = "NULL::INTEGER", "0", whole
    if rule.parts:
        source = f"SELECT *, unnest({_parts(rule, read)}) AS u FROM ({whole})"
        part = "nullif(u.i, 0)::INTEGER"
        count = f"coalesce(len(t.{quote(rule.parts.path)}), 0)"
    told = [
        f"{text} AS {column(name)}"
        for element, rule_ in rule.elements.items()
        for name, text in _columns(element, rule_, values, _root(rule, element)).items()
    ]
    return (
        f"SELECT source_file_sha, source_row, contained, {part} AS source_part, "
        f"{count} AS n_parts, {read.malformed('resource', 'kinds', 't')} AS malformed, "
        f"{', '.join(told)} FROM ({source})"
    )


def _root(rule: ResourceRule, element: str) -> str:
    return "u.v" if rule.parts and element in rule.parts.own else "t"


def _parts(rule: ResourceRule, read: paths.Tree) -> str:
    """Return the list of {number, what the item tells}; number 0 is the resource itself."""
    path = quote(rule.parts.path if rule.parts else "")
    inside = read.structure()[path.strip('"')][0]
    root = ", ".join(f"{quote(name)}: t.{quote(name)}" for name in inside)
    items = f"list_transform(t.{path}, lambda c, n: {{'i': n, 'v': c}})"
    # the cast: the resource itself must look like its items, or DuckDB makes no list of them
    return f"list_prepend({{'i': 0::BIGINT, 'v': {{{root}}}}}, coalesce({items}, []))"


def _columns(name: str, element: Element, values: Values, root: str) -> dict[str, str]:
    if element.path is not None:
        return {name: _text(element, values, root)}
    if element.concept:
        return _concept(name, element, root)
    if element.items:
        return {name: f"CAST({paths.told(paths.parse(element.items), root)[0]} AS VARCHAR)"}
    if element.medication:
        concept = paths.parse(f"{element.medication}CodeableConcept")
        target = paths.parse(f"{element.medication}Reference.reference")
        pointed = paths.first(target, root)
        return {
            name: f"CAST({paths.told(concept, root)[0]} AS VARCHAR)",
            f"{name}_told": pointed,
            f"{name}_id": pointed_at(pointed, "Medication"),
        }
    if element.reference is not None and element.all:
        texts = paths.every([paths.parse(f"{p}.reference") for p in element.reference], root)
        return {name: f"list_transform({texts}, lambda v: {pointed_at('v', element.of or '')})"}
    if element.reference is not None:
        texts = [paths.first(paths.parse(f"{p}.reference"), root) for p in element.reference]
        pointed = _coalesce(texts)
        return {name: pointed_at(pointed, element.of or ""), f"{name}_told": pointed}
    if element.quantity:
        part = _quantity(element.quantity, root)
        value = f"coalesce({part['comparator']}, '') || {part['value']}"
        return {name: value, f"{name}_unit": known_unit([part["code"], part["unit"]])}
    if element.number:
        return _number(name, paths.first(paths.parse(element.number), root))
    if element.ratio:
        return _ratio(name, element.ratio, root)
    return _limits(name, element, root) if element.range else {}


def _text(element: Element, values: Values, root: str) -> str:
    steps = [paths.parse(text) for text in element.path or ()]
    if element.values is not None:
        arms = " ".join(
            f"WHEN {literal(told)} THEN {literal(meant)}"
            for told, meant in values[element.values].items()
        )
        texts = paths.every(steps, root)
        meant = f"list_transform({texts}, lambda v: CASE lower(v) {arms} END)" if arms else "[NULL]"
        return f"nullif(list_filter({meant}, lambda v: v IS NOT NULL)[1], '')"
    if element.all:
        return paths.every(steps, root)
    texts_ = [paths.first(path, root) for path in steps]
    return known_unit(texts_) if element.known else _coalesce(texts_)


def _coalesce(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"coalesce({', '.join(texts)})"


def _concept(name: str, element: Element, root: str) -> dict[str, str]:
    fragment = paths.told(paths.parse(element.concept or ""), root)[0]
    if element.identifiers:
        path = paths.parse(element.identifiers)
        listed = paths.told((*path[:-1], _listed(path[-1])), root)[0]
        told = f"json_object('identifier', {listed})"
        fragment = f"json_merge_patch(coalesce({fragment}, '{{}}'), {told})"
    return {name: f"CAST({fragment} AS VARCHAR)"}


def _quantity(path: str, root: str) -> dict[str, str]:
    return {part: paths.first(paths.parse(f"{path}.{part}"), root) for part in _QUANTITY}


@cache
def _known_units() -> str:
    return ", ".join(literal(unit) for unit in sorted(known_units()))


def known_unit(texts: list[str]) -> str:
    """Return SQL for the first text that is a known unit, else the last that is told.

    A Quantity tells its unit as a code and as the laboratory's own words: which of the two the
    vocabulary knows differs by hospital, and words alone are better reported than lost.
    """
    known = [f"CASE WHEN {text} IN ({_known_units()}) THEN {text} END" for text in texts]
    return f"coalesce({', '.join([*known, *reversed(texts)])})"


def pointed_at(reference: str, of: str) -> str:
    """Return SQL of the id that a reference tells; null where it is to nothing of that type.

    Relative and absolute references end in `Type/id`; `#id` is inside the same record; an urn is
    taken for the id itself.
    """
    inside = "source_file_sha || '/' || source_row"
    pattern = rf"(?:^|/){of}/([^/?#|]+)(?:/_history/[^/?#]+)?$"
    return (
        f"CASE WHEN starts_with({reference}, '#') THEN {inside} || {reference} "
        rf"WHEN starts_with({reference}, 'urn:') "
        rf"THEN nullif(regexp_extract({reference}, '^urn:(?:uuid|oid):(.+)$', 1), '') "
        f"ELSE nullif(regexp_extract({reference}, {literal(pattern)}, 1), '') END"
    )


def _number(name: str, text: str) -> dict[str, str]:
    # The mark is not part of the number; a text with more than that is words, not a bad number.
    told = f"trim({text})"
    whole = literal(f"({_NUMBER}){_MARK}?")
    plain = literal(_NUMBER)
    return {
        name: f"CASE WHEN regexp_full_match({told}, {whole}) "
        f"THEN regexp_extract({told}, {literal('^(' + _NUMBER + ')')}, 1) END",
        f"{name}_text": f"CASE WHEN NOT regexp_full_match({told}, {plain}) THEN {text} END",
    }


def _ratio(name: str, path: str, root: str) -> dict[str, str]:
    above = _quantity_of(f"{path}.numerator", root)
    below = _quantity_of(f"{path}.denominator", root)
    top, bottom = (f"TRY_CAST({side['value']} AS DOUBLE)" for side in (above, below))
    unit = f"{known_unit([above['code'], above['unit']])}"
    per = f"{known_unit([below['code'], below['unit']])}"
    return {
        name: f"CASE WHEN isfinite({top}) AND {bottom} > 0 AND isfinite({bottom}) "
        f"THEN CAST({top} / {bottom} AS VARCHAR) ELSE {above['value']} || '/' END",
        f"{name}_unit": f"{unit} || '/' || {per}",
    }


def _quantity_of(path: str, root: str) -> dict[str, str]:
    return {part: paths.first(paths.parse(f"{path}.{part}"), root) for part in _QUANTITY[1:]}


def _limits(name: str, element: Element, root: str) -> dict[str, str]:
    """Return the limits of normal: of one range alone, for several are for other people."""
    ranges = paths.told(paths.parse(element.range or ""), root)[0]
    value = _quantity(element.unit_of, root) if element.unit_of else None
    normal = (
        "(CASE WHEN len(g.type.coding) > 0 "
        "THEN list_contains(list_transform(g.type.coding, lambda c: c.code), 'normal') "
        "ELSE g.type.text IS NULL OR starts_with(lower(g.type.text), 'normal') END)"
    )
    tests = [normal, "(g.low.value IS NOT NULL OR g.high.value IS NOT NULL)"]
    for end in ("low", "high") if value else ():
        unit = f"g.{end}.unit = {value['unit']} OR g.{end}.code = {value['code']}" if value else ""
        tests.append(f"(coalesce(g.{end}.unit, g.{end}.code) IS NULL OR coalesce({unit}, false))")
    fits = f"list_filter({ranges}, lambda g: {' AND '.join(tests)})"
    return {
        f"{name}_{end}": f"CASE WHEN len({fits}) = 1 THEN {fits}[1].{end}.value END"
        for end in ("low", "high")
    }
