"""What a FHIR mapping must be beside well-typed: every path, name and word understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pipelines.sources.fhir import compile as compiled
from pipelines.sources.fhir import paths
from pipelines.sources.fhir.delivery_check import check_export
from pipelines.sources.fhir.model import WAYS, Choice, Element, FhirMapping, ResourceRule
from pipelines.sources.rows import probe
from pipelines.sources.rows.check_rule import At, Mistakes, check_rule, check_zone, used_columns
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import Condition

_PATH = "Write it like dosage.dose.value, name[0].family or category[*].coding[*].code."
#: What must stand beside a way of reading, and what may.
_NEEDS = {"reference": ("of",), "via": ("of", "column"), "range": ("unit_of",)}
_BESIDE = {
    "path": ("values", "known", "all"),
    "concept": ("identifiers",),
    "reference": ("of", "all"),
    "via": ("of", "column", "through", "needed"),
    "range": ("unit_of", "number_of"),
}
_OPTIONS = (
    "values",
    "known",
    "identifiers",
    "of",
    "unit_of",
    "number_of",
    "column",
    "through",
    "needed",
)


def check_mapping(
    table: FhirMapping,
    resource_names: Iterable[str],
    types_of: Callable[[str], tuple[str, ...]],
) -> list[Mistake]:
    """Return every mistake of a complete mapping.

    Args:
        table: the hospital's file over the shipped rules.
        resource_names: every resource type of FHIR R4.
        types_of: the event types that resources of a type can become.
    """
    found = list(check_zone(table.zone, ("zone",)))
    found += check_export(table.delivery, table.files, table.resource, types_of)
    if not _is_path(table.patient.identifier):
        found.append(Mistake(("patient", "identifier"), "not a path.", _PATH))
    known = set(resource_names)
    for name, rule in table.resource.items():
        at: At = ("resource", name)
        if name not in known:
            found.append(Mistake(at, "no resource type of FHIR R4.", closest(name, known)))
        before = len(found)
        found += _elements(rule, table, at)
        if len(found) == before:
            found += _structure(rule, at)
            found += _columns(rule, table, at)
            if not rule.reference:
                found += check_rule(rule, at)
    return found


def _is_path(text: str) -> bool:
    try:
        paths.parse(text)
    except ValueError:
        return False
    return True


def _elements(rule: ResourceRule, table: FhirMapping, at: At) -> Mistakes:
    for name, element in rule.elements.items():
        place = (*at, "elements", name)
        yield from _ways(element, place)
        for text in _texts(element):
            if not _is_path(text):
                yield Mistake(place, f"{text!r} is not a path.", _PATH)
        if element.values is not None and element.values not in table.values:
            cause = f"no table {element.values!r} under [values]."
            yield Mistake(place, cause, closest(element.values, table.values))
        if element.via is not None:
            yield from _looked_up(element, rule, table, place)
    drugs = [name for name, element in rule.elements.items() if element.medication]
    if drugs and rule.parts:
        cause = "parts of the resource and ingredients of its drug cannot both be numbered."
        yield Mistake((*at, "parts"), cause, "Leave one of the two out.")
    if len(drugs) > 1:
        yield Mistake((*at, "elements", drugs[1]), "a second medication.", "Keep one.")


def _ways(element: Element, at: At) -> Mistakes:
    given = [way for way in WAYS if getattr(element, way) is not None]
    if len(given) != 1:
        yield Mistake(at, f"{len(given)} ways of reading.", f"Give one of {', '.join(WAYS)}.")
        return
    way = given[0]
    for option in _NEEDS.get(way, ()):
        if getattr(element, option) is None:
            yield Mistake(at, f"{way} needs {option}.", "Add it.")
    for option in (*_OPTIONS, "all"):
        told = getattr(element, option) not in (None, False)
        if told and option not in _BESIDE.get(way, ()):
            yield Mistake(at, f"{option} has no meaning beside {way}.", "Delete it.")


def _texts(element: Element) -> Iterator[str]:
    yield from (*(element.path or ()), *(element.reference or ()))
    for way in ("concept", "identifiers", "medication", "quantity", "number", "ratio", "range"):
        if (text := getattr(element, way)) is not None:
            yield text
    yield from (
        text for text in (element.unit_of, element.number_of, element.items) if text is not None
    )


def _looked_up(element: Element, rule: ResourceRule, table: FhirMapping, at: At) -> Mistakes:
    if element.via not in rule.elements:
        yield Mistake(at, f"no element {element.via!r}.", closest(element.via or "", rule.elements))
    if element.of not in table.resource:
        yield Mistake(
            at, f"no rule reads {element.of!r}.", closest(str(element.of), table.resource)
        )
        return
    others = table.resource[element.of].elements
    for name in (element.column, element.through):
        if name is not None and name not in others:
            yield Mistake(at, f"{element.of} has no element {name!r}.", closest(name, others))
    if element.column in others and others[element.column].via is not None:
        yield Mistake(at, "a look-up of a look-up.", "Name an element that is read there.")


def _structure(rule: ResourceRule, at: At) -> Mistakes:
    try:
        compiled.tree(rule)
    except ValueError as error:
        cause = f"{error} is read in two shapes."
        remedy = "Read it as a list ([*]) everywhere or nowhere, whole or by its parts, not both."
        yield Mistake((*at, "elements"), cause, remedy)


def columns_of(rule: ResourceRule) -> list[str]:
    """Return the columns that the elements of a rule make, before any choice."""
    found = ["part", "record"]
    for name, element in rule.elements.items():
        found.append(name)
        if element.concept or element.medication:
            found += [f"{name}_{end}" for end in ("system", "display", "scope")]
        if element.quantity or element.ratio or element.number or element.range:
            found.append(f"{name}_unit")
        if element.number:
            found.append(f"{name}_text")
        if element.range:
            found.remove(name)
            found += [f"{name}_low", f"{name}_high"]
        if element.reference and element.of == "Patient":
            found.append(f"{name}_lost")
        elif element.all:
            found.remove(name)
    return found


def _columns(rule: ResourceRule, table: FhirMapping, at: At) -> Mistakes:
    """Tell of names that no element or earlier choice makes."""
    known = set(columns_of(rule)) | {
        f"settings.{name}" for name in type(table.settings).model_fields
    }
    yield from _parts(rule, known, at)
    for name, choices in rule.choose.items():
        yield from _choices(name, choices, rule, known, (*at, "choose", name))
        known.add(name)
    for name, conditions in rule.flags.items():
        yield from _conditions(conditions, known, (*at, "flags", name))
    for name, element in rule.elements.items():
        yield from _conditions(element.needed or (), known, (*at, "elements", name))
    if not rule.reference:
        for name, place in used_columns(rule, at):
            yield from _known([name], known, place)


def _parts(rule: ResourceRule, known: set[str], at: At) -> Mistakes:
    if rule.parts:
        if not _is_path(rule.parts.path) or len(paths.parse(rule.parts.path)) != 1:
            yield Mistake((*at, "parts", "path"), "not the name of a list.", "Write component.")
        for name in rule.parts.own:
            if name not in rule.elements:
                remedy = closest(name, rule.elements)
                yield Mistake((*at, "parts", "own"), f"no element {name!r}.", remedy)
        yield from _known(rule.parts.keep_whole, known, (*at, "parts", "keep_whole"))


def _choices(
    name: str, choices: list[Choice], rule: ResourceRule, known: set[str], at: At
) -> Mistakes:
    if not choices:
        yield Mistake(at, "no choice.", "Write at least one.")
    for choice in choices:
        yield from _conditions(choice.when, known, at)
        if (choice.column is None) == (choice.text is None):
            yield Mistake(at, "a choice tells column or text.", "Give one of the two.")
        yield from _known([choice.column] if choice.column else [], known, at)
    if name in rule.elements:
        yield Mistake(at, "an element has this name.", "Give the choice its own.")


def _conditions(conditions: Iterable[Condition], known: set[str], at: At) -> Mistakes:
    operators = ("equals", "in_", "not_in", "is_null", "not_null", "matches")
    for condition in conditions:
        yield from _known([condition.column], known, at)
        given = [name for name in operators if getattr(condition, name) is not None]
        if len(given) != 1:
            remedy = "Give exactly one of equals, in, not_in, is_null, not_null, matches."
            yield Mistake(at, f"{len(given)} operators.", remedy)
        if condition.matches is not None and not probe.is_pattern(condition.matches):
            remedy = "Mend it; RE2 knows no look-around and no back-references."
            yield Mistake(at, "not a regular expression.", remedy)


def _known(names: Iterable[str], known: set[str], at: At) -> Mistakes:
    for name in names:
        if name not in known:
            yield Mistake(at, f"no element or choice {name!r} before it.", closest(name, known))
