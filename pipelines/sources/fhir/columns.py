"""What each way of reading an element takes from a resource, and the columns it makes, as SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from pipelines.base.duck import literal, quote
from pipelines.sources.fhir import paths
from pipelines.sources.fhir.model import Element
from pipelines.sources.fhir.paths import Shape, Step
from studies.analytes import known_units

Values = Mapping[str, Mapping[str, str]]

_QUANTITY = ("comparator", "value", "unit", "code")
_AMOUNT = _QUANTITY[1:]
_ENDS = ("low", "high")
_RANGE = (
    *("type.coding[*].code", "type.text", "text"),
    *(f"age.{end}.value" for end in ("low", "high")),
    *("appliesTo[*].coding[*].code", "appliesTo[*].text"),
    *(f"{end}.{part}" for end in ("low", "high") for part in _AMOUNT),
)
#: A number as results write it: comparator and digits.
_NUMBER = r"(<=|>=|<|>|≤|≥)? *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
#: What a laboratory sets behind a number: (L), H, *.
_MARK = r"( *\([A-Za-z*!+-]{1,3}\)| +[HLA*]{1,2}| *\*)"

#: Where a resource stands: the name of what it contains begins with it.
INSIDE = "source_file_sha || '/' || source_row"


def column(name: str) -> str:
    """Return the SQL name of an element's column; a dot, so that nothing else is called so."""
    return quote("e." + name)


def listed(step: Step) -> Step:
    """Return a step as one to a list."""
    return Step(step.name, is_list=True)


def paths_of(element: Element) -> Iterator[tuple[str, Shape]]:
    """Yield every path that an element reads, with the shape of what stands there."""
    texts = [*(element.path or ()), *(f"{path}.reference" for path in element.reference or ())]
    if element.number:
        texts.append(element.number)
    if element.medication:
        texts.append(f"{element.medication}Reference.reference")
        yield f"{element.medication}CodeableConcept", "fragment"
    if element.number_of:
        texts.append(element.number_of)
    for quantity in (element.quantity, element.unit_of):
        texts += [f"{quantity}.{part}" for part in _QUANTITY if quantity]
    for side in ("numerator", "denominator"):
        texts += [f"{element.ratio}.{side}.{part}" for part in _AMOUNT if element.ratio]
    texts += [f"{element.range}[*].{part}" for part in _RANGE if element.range]
    yield from ((text, "text") for text in texts)
    if element.concept:
        yield element.concept, "fragment"
    if element.identifiers:
        yield element.identifiers, "list"
    if element.items:
        yield element.items, "items"


def columns_of(name: str, element: Element, values: Values, root: str) -> dict[str, str]:
    """Return the SQL of each column that an element makes; none where it is looked up.

    Args:
        name: the element.
        element: how it is read.
        values: every table of words by its name, keys in lower case.
        root: SQL of the structure that the resource, or its part, is read into.
    """
    if element.path is not None:
        return {name: _text(element, values, root)}
    if element.reference is not None:
        return _reference(name, element, root)
    if element.medication:
        return _medication(name, element.medication, root)
    if element.concept:
        return {name: _concept(element, root)}
    if element.items:
        return {name: f"CAST({paths.told(paths.parse(element.items), root)[0]} AS VARCHAR)"}
    return _numbers(name, element, root)


def _numbers(name: str, element: Element, root: str) -> dict[str, str]:
    if element.quantity:
        part = _parts_of(element.quantity, _QUANTITY, root)
        value = f"coalesce({part['comparator']}, '') || {part['value']}"
        return {name: value, f"{name}_unit": known_unit([part["code"], part["unit"]])}
    if element.number:
        return _number(name, paths.first(paths.parse(element.number), root))
    if element.ratio:
        return _ratio(name, element.ratio, root)
    return _limits(name, element, root) if element.range else {}


def _reference(name: str, element: Element, root: str) -> dict[str, str]:
    steps, of = [paths.parse(f"{path}.reference") for path in element.reference or ()], element.of
    if element.all:
        each = pointed_at("v", of or "")
        return {name: f"list_transform({paths.every(steps, root)}, lambda v: {each})"}
    pointed = _coalesce([paths.first(path, root) for path in steps])
    return {name: pointed_at(pointed, of or ""), f"{name}_told": pointed}


def _medication(name: str, medication: str, root: str) -> dict[str, str]:
    concept = paths.told(paths.parse(f"{medication}CodeableConcept"), root)[0]
    pointed = paths.first(paths.parse(f"{medication}Reference.reference"), root)
    return {
        name: f"CAST({concept} AS VARCHAR)",
        f"{name}_told": pointed,
        f"{name}_id": pointed_at(pointed, "Medication"),
    }


def _concept(element: Element, root: str) -> str:
    fragment = paths.told(paths.parse(element.concept or ""), root)[0]
    if element.identifiers:
        path = paths.parse(element.identifiers)
        told = f"json_object('identifier', {paths.told((*path[:-1], listed(path[-1])), root)[0]})"
        fragment = f"json_merge_patch(coalesce({fragment}, '{{}}'), {told})"
    return f"CAST({fragment} AS VARCHAR)"


def _parts_of(path: str, parts: tuple[str, ...], root: str) -> dict[str, str]:
    return {part: paths.first(paths.parse(f"{path}.{part}"), root) for part in parts}


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
    each = [paths.first(path, root) for path in steps]
    return known_unit(each) if element.known else _coalesce(each)


def _coalesce(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"coalesce({', '.join(texts)})"


@cache
def _known_units() -> str:
    # a constant list: hundreds of values of an IN would each be a vector of their own
    return f"[{', '.join(literal(unit) for unit in sorted(known_units()))}]"


def _is_known(text: str) -> str:
    return f"list_contains({_known_units()}, {text})"


def known_unit(texts: list[str]) -> str:
    """Return SQL for the first text that is a known unit, else the last that is told.

    A Quantity tells its unit as a code and as the laboratory's own words: which of the two the
    vocabulary knows differs by hospital, and words alone are better reported than lost.
    """
    known = [f"CASE WHEN {_is_known(text)} THEN {text} END" for text in texts]
    return f"coalesce({', '.join([*known, *reversed(texts)])})"


def pointed_at(reference: str, of: str) -> str:
    """Return SQL of the id that a reference tells; null where it is to nothing of that type.

    Relative and absolute references end in `Type/id`; `#id` is inside the same record; an urn is
    taken for the id itself.
    """
    pattern = rf"(?:^|/){of}/([^/?#|]+)(?:/_history/[^/?#]+)?$"
    # a patient inside a record has no name that another record or delivery could share
    inside = "NULL" if of == "Patient" else f"{INSIDE} || {reference}"
    return (
        f"CASE WHEN starts_with({reference}, '#') THEN {inside} "
        rf"WHEN starts_with({reference}, 'urn:') "
        rf"THEN nullif(regexp_extract({reference}, '^urn:(?:uuid|oid):(.+)$', 1), '') "
        f"ELSE nullif(regexp_extract({reference}, {literal(pattern)}, 1), '') END"
    )


def _number(name: str, text: str) -> dict[str, str]:
    # The mark is not part of the number; a text with more than that is words, not a bad number.
    told = f"trim({text})"
    whole = literal(f"({_NUMBER}){_MARK}?")
    plain = literal(_NUMBER)
    unit = _unit_behind(text)
    return {
        name: f"CASE WHEN regexp_full_match({told}, {whole}) OR {unit} IS NOT NULL "
        f"THEN regexp_extract({told}, {literal('^(' + _NUMBER + ')')}, 1) END",
        f"{name}_unit": unit,
        f"{name}_text": f"CASE WHEN NOT regexp_full_match({told}, {plain}) THEN {text} END",
    }


def _unit_behind(text: str) -> str:
    """Return SQL of the known unit that a text tells behind a number, as in `6.9 mg/dL (L)`."""
    pattern = literal(f"^({_NUMBER}) *([^ ].*?){_MARK}?$")
    unit = f"regexp_extract(trim({text}), {pattern}, 6)"
    # a mark alone can be spelt as a unit is: L
    marked = f"regexp_full_match(trim({text}), {literal(f'({_NUMBER}){_MARK}')})"
    known = ", ".join(literal(u) for u in sorted(known_units()) if re.search(r"[^\W\d]|%", u))
    return f"CASE WHEN NOT {marked} AND list_contains([{known}], {unit}) THEN {unit} END"


def _ratio(name: str, path: str, root: str) -> dict[str, str]:
    above = _parts_of(f"{path}.numerator", _AMOUNT, root)
    below = _parts_of(f"{path}.denominator", _AMOUNT, root)
    top, bottom = (f"TRY_CAST({side['value']} AS DOUBLE)" for side in (above, below))
    unit = f"{known_unit([above['code'], above['unit']])}"
    per = f"{known_unit([below['code'], below['unit']])}"
    return {
        name: f"CASE WHEN isfinite({top}) AND {bottom} > 0 AND isfinite({bottom}) "
        f"THEN CAST({top} / {bottom} AS VARCHAR) ELSE {above['value']} || '/' END",
        f"{name}_unit": f"{unit} || '/' || {per}",
    }


def _limits(name: str, element: Element, root: str) -> dict[str, str]:
    """Return the limits of normal: of one range alone, for several are for other people."""
    ranges = paths.told(paths.parse(element.range or ""), root)[0]
    value = _parts_of(element.unit_of or "", _AMOUNT, root)
    units = [f"coalesce({value[part]}, '')" for part in ("unit", "code")]
    bare = f"{value['value']} IS NULL"
    behind = "NULL::VARCHAR"
    if element.number_of:
        # of a number in words the unit is told behind it, or by its range alone
        behind = _unit_behind(paths.first(paths.parse(element.number_of), root))
        units.append("coalesce(behind, '')")
        bare += " AND behind IS NULL"
    normal = (
        "(CASE WHEN len(g.type.coding) > 0 "
        "THEN list_contains(list_transform(g.type.coding, lambda c: c.code), 'normal') "
        "ELSE g.type.text IS NULL OR starts_with(lower(g.type.text), 'normal') END)"
    )
    # a range for an age or a group is perhaps not this child's; a critical one is not normal
    anybody = (
        "(g.age.low.value IS NULL AND g.age.high.value IS NULL AND coalesce(len(g.appliesTo), 0) "
        "= 0 AND NOT coalesce(regexp_matches(lower(g.text), 'critic|panic|alert|kritisch'), false))"
    )
    tests = [normal, anybody, "(g.low.value IS NOT NULL OR g.high.value IS NOT NULL)"]
    for end in _ENDS:
        # either name of the unit: a range often tells only the one, its result both
        told = [f"g.{end}.{part}" for part in ("unit", "code")]
        same = " OR ".join(f"{one} IN ({', '.join(units)})" for one in told)
        known = " OR ".join(map(_is_known, told))
        open_ = f"({bare} AND ({known}))" if element.number_of else "false"
        tests.append(f"(coalesce({', '.join(told)}) IS NULL OR coalesce({same} OR {open_}, false))")
    fits = f"list_filter({ranges}, lambda g: {' AND '.join(tests)})"
    units_told = ", ".join(
        f"CASE WHEN {_is_known(text)} THEN {text} END"
        for text in (f"fits[1].{end}.{part}" for end in _ENDS for part in ("unit", "code"))
    )
    # nothing measured is below zero: a low end of 0 says that there is none
    none = "coalesce(TRY_CAST(fits[1].low.value AS DOUBLE) <= 0, false)"
    columns = {
        "low": f"CASE WHEN len(fits) = 1 AND NOT {none} THEN fits[1].low.value END",
        "high": "CASE WHEN len(fits) = 1 THEN fits[1].high.value END",
        "unit": f"CASE WHEN {bare} AND len(fits) = 1 THEN coalesce({units_told}) END",
    }
    return {
        f"{name}_{part}": _let("behind", behind, _let("fits", fits, text))
        for part, text in columns.items()
    }


def _let(name: str, meant: str, text: str) -> str:
    """Return `text`, in which a name stands for a longer SQL expression, worked out once."""
    return f"list_transform([{meant}], lambda {name}: {text})[1]"
