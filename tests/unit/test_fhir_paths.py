"""Paths into resources: what they find, against a plain walk over parsed JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.base import duck
from pipelines.base.duck import literal
from pipelines.sources.fhir import paths

RESOURCE: dict[str, Any] = {
    "id": "p1",
    "name": [{"family": "A", "given": ["X", "Y"]}, {"family": "B"}],
    "identifier": [{"system": "urn:a", "value": "1"}, {"system": "http://b.c/d", "value": "2"}],
    "category": [{"text": "none"}, {"coding": [{"code": "x"}, {"code": "y"}]}],
    "dose": {"value": 2.5, "unit": "mg"},
    "flag": True,
    "empty": "",
}


def walked(value: Any, steps: paths.Path) -> list[str]:
    """Follow a path step by step, as its words say."""
    found = [value]
    for step in steps:
        found = [one.get(step.name) for one in found if isinstance(one, dict)]
        if step.is_list:
            items = [one if isinstance(one, list) else [] for one in found]
            if step.index is not None:
                items = [one[step.index : step.index + 1] for one in items]
            found = [item for one in items for item in one]
        if step.only:
            key, text = step.only
            found = [one for one in found if one.get(key) == text]
    return [json.dumps(one).strip('"') for one in found if one not in (None, "")]


@pytest.mark.parametrize(
    "text",
    [
        "id",
        "dose.value",
        "dose.unit",
        "flag",
        "empty",
        "gone",
        "dose.gone.deeper",
        "name[0].family",
        "name[1].family",
        "name[7].family",
        "name[*].family",
        "name[*].given[*]",
        "name[0].given[1]",
        "category[*].coding[*].code",
        "category[*].text",
        "identifier[system=urn:a].value",
        "identifier[system=http://b.c/d].value",
        "identifier[system=none].value",
    ],
)
def test_a_path_finds_what_a_walk_finds(text: str) -> None:
    path = paths.parse(text)
    tree = paths.Tree()
    tree.add(path)
    structure = literal(json.dumps(tree.structure()))
    con = duck.connect()
    row = con.execute(
        f"SELECT {paths.first(path, 't')}, {paths.every([path], 't')}, "
        f"{tree.malformed('resource', 'kinds', 't')} FROM (SELECT resource, "
        f"json_transform(resource, {structure}) AS t, {tree.kinds('resource')} AS kinds "
        "FROM (SELECT $1::VARCHAR AS resource))",
        [json.dumps(RESOURCE)],
    ).fetchone()
    assert row is not None
    expected = walked(RESOURCE, path)
    assert row[0] == (expected[0] if expected else None)
    assert [one for one in row[1] if one] == expected
    assert row[2] is False


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[*", "a[-1]", "a[x=]", "a b", "a[*]b", "1a"],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        paths.parse(text)


def test_an_element_cannot_be_read_in_two_shapes() -> None:
    tree = paths.Tree()
    tree.add(paths.parse("code"), "fragment")
    with pytest.raises(ValueError, match="code"):
        tree.add(paths.parse("code.text"))
    with pytest.raises(ValueError, match="code"):
        tree.add(paths.parse("code[0].text"))
