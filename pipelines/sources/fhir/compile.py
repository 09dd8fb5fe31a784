"""From the elements of a rule to the columns that a resource is read into, as SQL.

What a resource itself tells is read here, once per resource, columnar. What only others tell
(codes of the scope, what a reference points to) is joined afterwards: see `view`.
"""

from __future__ import annotations

import json
from functools import lru_cache

from pipelines.base import duck
from pipelines.base.duck import literal, quote
from pipelines.sources.fhir import paths
from pipelines.sources.fhir.columns import INSIDE, Values, column, columns_of, listed, paths_of
from pipelines.sources.fhir.model import ResourceRule


def tree(rule: ResourceRule) -> paths.Tree:
    """Return the structure of all that a rule reads.

    Errors:
        ValueError: a path is none, or two paths read one element in two shapes.
    """
    found = paths.Tree()
    under = paths.parse(rule.parts.path + "[*]") if rule.parts else ()
    for name, element in rule.elements.items():
        for text, shape in paths_of(element):
            path = paths.parse(text)
            if shape == "list":
                for part in ("system", "value"):
                    found.add((*path[:-1], listed(path[-1]), paths.Step(part)))
                continue
            found.add(path, shape)
            if rule.parts and name in rule.parts.own:
                found.add(path, shape, under)
    return found


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
    # what stands inside another resource is named by it: two of them may use one id
    inside = f"CASE WHEN contained THEN {INSIDE} || '#' || t.id ELSE t.id END"
    cells = [
        f"{inside if name == 'id' else text} AS {column(name)}"
        for element, told in rule.elements.items()
        for name, text in columns_of(element, told, values, _root(rule, element)).items()
    ]
    return (
        f"SELECT source_file_sha, source_row, contained, {part} AS source_part, "
        f"{count} AS n_parts, {read.malformed('resource', 'kinds', 't')} AS malformed, "
        f"{', '.join(cells)} FROM ({source})"
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


@lru_cache(maxsize=100)
def declared(query: str) -> str:
    """Return the columns of a query, as a table is declared: found once, planning one is slow."""
    with duck.connect(threads=1) as con:
        described = con.execute(f"DESCRIBE {query}").fetchall()
    return ", ".join(f"{quote(name)} {kind}" for name, kind, *_ in described)
