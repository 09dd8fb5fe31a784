"""Generated page about FHIR: every key of its mapping, and the rules that come with Dripwatch."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

#: Files beside the rules that are tables of words.
_TABLES = ("systems", "values")


def fhir_page() -> str:
    """Return the page of every key of a FHIR mapping, and of the shipped rules."""
    from flows.init import mapping_example
    from flows.reference import NOTE, first_line, models_within, table_of
    from pipelines.sources.fhir.model import FhirMapping

    parts = [
        "# FHIR mapping",
        NOTE,
        "A FHIR mapping says what is a hospital's own about its exports; "
        "[FHIR exports](../fhir.md) explains it. Under `[resource.<Type>]` it overrides the "
        "shipped rules below: elements, choices, flags and fields one by one, every other key as "
        "a whole.",
    ]
    for head, model in models_within(FhirMapping):
        parts += [f"## {head}", first_line(model), table_of(model)]
    parts += ["## An example", f"```toml\n{mapping_example('fhir.toml')}```"]
    shipped = _shipped()
    parts += ["## Shipped rules", _overview(shipped)]
    for name, text in shipped.items():
        parts += [f"### {name}", f"```toml\n{text.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _shipped() -> dict[str, str]:
    """Return the text of each shipped file by its name: rules first, then tables of words."""
    folder = resources.files("pipelines.sources.fhir").joinpath("r4")
    files = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    }
    order = sorted(files, key=lambda name: (name in _TABLES, name))
    return {name: files[name] for name in order}


def _overview(shipped: dict[str, str]) -> str:
    lines = ["| resource type | becomes | is looked up for |", "|---|---|---|"]
    for name, text in shipped.items():
        if name in _TABLES:
            continue
        rule = tomllib.loads(text)
        events = ", ".join(dict.fromkeys(_events(rule.get("event")))) or "no event"
        lines.append(f"| {name} | {events} | {rule.get('reference', '')} |")
    return "\n".join(lines)


def _events(told: Any) -> list[str]:  # noqa: ANN401 - whatever TOML held
    names = [told] if isinstance(told, str) else [case["event"] for case in told or []]
    return [name for name in names if name != "out_of_scope"]
