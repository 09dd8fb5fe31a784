"""Paths into a resource: `dosage.dose.value`, `name[0].family`, `category[*].coding[*].code`.

A path is a small part of FHIRPath. Brackets say that an element is a list: `[0]` its first item,
`[*]` all, `[system=http://loinc.org]` those whose element is that text. From the paths of a rule
follow the one structure that a resource is read into, and what shape each element must have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.base.duck import literal, quote

#: What stands at a place of a resource; a fragment is kept as JSON text, to be read later.
Shape = Literal["object", "list", "text", "fragment", "items"]

_STEP = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"(\[((?P<all>\*)|(?P<index>\d{1,3})|(?P<key>[A-Za-z_]\w*)=(?P<text>[^\[\]]+))\])?(\.|$)"
)
_SCALARS = ("VARCHAR", "BIGINT", "UBIGINT", "HUGEINT", "DOUBLE", "BOOLEAN")
_WRONG: dict[Shape, tuple[str, ...]] = {
    "object": (*_SCALARS, "ARRAY"),
    "list": (*_SCALARS, "OBJECT"),
    "text": ("OBJECT", "ARRAY"),
    "fragment": (*_SCALARS, "ARRAY"),
    "items": (*_SCALARS, "OBJECT"),
}


@dataclass(frozen=True)
class Step:
    """One element of a path.

    Attributes:
        name: the element.
        index: which item of a list, from 0; None for none in particular.
        is_list: whether the element is a list.
        only: element and text that an item must have.
    """

    name: str
    index: int | None = None
    is_list: bool = False
    only: tuple[str, str] | None = None


Path = tuple[Step, ...]


def parse(text: str) -> Path:
    """Return the steps of a path.

    Errors:
        ValueError: it is no path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(text) or not steps:
        found = _STEP.match(text, at)
        if not found or (found.end() == len(text) and text.endswith(".")):
            raise ValueError(text)
        index = found["index"]
        steps.append(
            Step(
                found["name"],
                int(index) if index is not None else None,
                is_list=bool(found["all"] or index is not None or found["key"]),
                only=(found["key"], found["text"].strip("'\"")) if found["key"] else None,
            )
        )
        at = found.end()
    return tuple(steps)


class Tree:
    """The structure that resources of a type are read into: the union of the paths in use."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._shapes: dict[tuple[str, ...], Shape] = {}
        # a list that few resources have is looked at for itself, where there is one
        self._apart: tuple[str, ...] = ()

    def add(self, path: Path, leaf: Shape = "text", under: Path = ()) -> None:
        """Take a path in.

        Errors:
            ValueError: another path reads the same element in another shape.
        """
        steps = (*under, *path)
        if under:
            self._apart = ("$", *(f"{step.name}[*]" for step in under))
        node: dict[str, Any] = self._root
        place: tuple[str, ...] = ("$",)
        for number, step in enumerate(steps):
            is_last = number == len(steps) - 1
            place = (*place, step.name)
            if step.is_list:
                self._shape(place, "list")
                place = (*place[:-1], f"{step.name}[*]")
            self._shape(place, leaf if is_last else "object")
            if is_last:
                node[step.name] = [_leaf(leaf)] if step.is_list else _leaf(leaf)
                return
            inside = node.setdefault(step.name, [{}] if step.is_list else {})
            node = inside[0] if step.is_list else inside
            if step.only:
                self._shape((*place, step.only[0]), "text")
                node[step.only[0]] = "VARCHAR"

    def _shape(self, place: tuple[str, ...], shape: Shape) -> None:
        if self._shapes.setdefault(place, shape) != shape:
            raise ValueError(".".join(place))

    def structure(self) -> dict[str, Any]:
        """Return the structure for DuckDB's `json_transform`."""
        return self._root

    def kinds(self, resource: str) -> str:
        """Return SQL of the kinds of everything, of lists their first items, for `malformed`."""
        paths = ", ".join(literal(".".join(_first(place))) for place in self._places())
        return f"json_type({resource}, [{paths}]::VARCHAR[])"

    def _places(self) -> list[tuple[str, ...]]:
        apart = set(self._below(self._apart)) if self._apart else set()
        places = [place for place in self._shapes if place not in apart]
        return sorted(places, key=lambda place: self._shapes[place])

    def malformed(self, resource: str, kinds: str, tree: str) -> str:
        """Return SQL for whether some element has a shape that FHIR does not give it.

        DuckDB reads what does not fit as if it were not there: an object in the place of a list
        would be lost without a word.

        Args:
            resource: SQL of the resource as JSON text.
            kinds: SQL of what `kinds` gave.
            tree: SQL of the resource as read into the structure.
        """
        tests = list(_misfits(kinds, [self._shapes[place] for place in self._places()]))
        for outer in self._lists_in(("$",)):
            # only where some list has more than the item that `kinds` saw
            longer = {test for place in self._below(outer) for test in _longer(place, tree)}
            if outer == self._apart:
                longer = {f"len({tree}.{quote(outer[-1].removesuffix('[*]'))}) > 0"}
            look = self._items(outer, resource, ("$",), 0)
            tests.append(f"CASE WHEN {' OR '.join(sorted(longer))} THEN {look} END")
        return _or(tests)

    def _below(self, above: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [place for place in self._shapes if place[: len(above)] == above]

    def _lists_in(self, above: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the places of items of the lists in a place that are in no other list there."""
        return [
            place
            for place in self._below(above)
            if len(place) > len(above)
            and place[-1].endswith("[*]")
            and not _in_list(place[len(above) : -1])
        ]

    def _items(self, place: tuple[str, ...], value: str, above: tuple[str, ...], depth: int) -> str:
        """Return the test of all items of a list: each, what is in it, and the lists in that."""
        path = literal(".".join(("$", *place[len(above) :])))
        item, kinds = f"i{depth}", f"k{depth}"
        inside = [other for other in self._below(place) if not _in_list(other[len(place) :])]
        inside.sort(key=lambda other: self._shapes[other])
        paths = ", ".join(literal(".".join(("$", *other[len(place) :]))) for other in inside)
        own = _or(_misfits(kinds, [self._shapes[other] for other in inside]))
        # a list of one, so that the item is parsed once for all tests
        looked = f"list_transform([json_type({item}, [{paths}])], lambda {kinds}: {own})[1]"
        deeper = [self._items(other, item, place, depth + 1) for other in self._lists_in(place)]
        each = f"lambda {item}: {_or([looked, *deeper])}"
        return f"list_bool_or(list_transform(json_extract({value}, {path}), {each}))"


def _misfits(kinds: str, shapes: list[Shape]) -> Iterator[str]:
    """Yield tests of kinds that stand in the order of the shapes they should have."""
    for shape in dict.fromkeys(shapes):
        first = shapes.index(shape) + 1
        found = f"{kinds}[{first}:{first + shapes.count(shape) - 1}]"
        # joined to one text: a search in it costs a tenth of one in the list
        wrong = literal("|".join(_WRONG[shape]))
        yield f"regexp_matches(array_to_string({found}, ','), {wrong})"


def _or(tests: Iterable[str]) -> str:
    return "(" + (" OR ".join(f"coalesce({test}, false)" for test in tests) or "false") + ")"


def _leaf(shape: Shape) -> str:
    return "JSON" if shape in ("fragment", "items") else "VARCHAR"


def _in_list(place: tuple[str, ...]) -> bool:
    return any(part.endswith("[*]") for part in place)


def _first(place: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.replace("[*]", "[0]") for part in place)


def _longer(place: tuple[str, ...], tree: str) -> Iterator[str]:
    """Yield SQL for whether each list on the way to a place has more than one item."""
    found = tree
    for part in place[1:]:
        found = f"{found}.{quote(part.removesuffix('[*]'))}"
        if part.endswith("[*]"):
            yield f"len({found}) > 1"
            found = f"{found}[1]"


def told(path: Path, root: str, depth: int = 0) -> tuple[str, bool]:
    """Return SQL of what a path tells, and whether that is a list.

    Args:
        path: the path.
        root: SQL of the structure that it starts in.
        depth: how many lists it already stands in.
    """
    found = root
    for number, step in enumerate(path):
        found = f"{found}.{quote(step.name)}"
        if not step.is_list:
            continue
        if step.index is not None:
            found = f"{found}[{step.index + 1}]"
            continue
        item = f"x{depth}"
        if step.only:
            key, text = step.only
            test = f"{item}.{quote(key)} = {literal(text)}"
            found = f"list_filter({found}, lambda {item}: {test})"
        if number == len(path) - 1:
            return found, True
        inner, is_list = told(path[number + 1 :], item, depth + 1)
        each = f"list_transform({found}, lambda {item}: {inner})"
        return (f"flatten({each})" if is_list else each), True
    return found, False


def first(path: Path, root: str) -> str:
    """Return SQL of the first text that a path tells; null where it tells none."""
    found, is_list = told(path, root)
    if is_list:
        found = f"list_filter({found}, lambda v: v IS NOT NULL AND v <> '')[1]"
    return f"nullif({found}, '')"


def every(paths: Iterable[Path], root: str) -> str:
    """Return SQL of all texts that paths tell, in their order, as one list."""
    lists = []
    for path in paths:
        found, is_list = told(path, root)
        lists.append(f"coalesce({found}, [])" if is_list else f"[{found}]")
    return lists[0] if len(lists) == 1 else f"list_concat({', '.join(lists)})"
