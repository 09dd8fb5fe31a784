"""Reading a FHIR mapping: the hospital's file over the shipped rules, whole and checked."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping as Table
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import Path_, line_index, parse_model, read_toml
from pipelines.sources.fhir.check import check_mapping
from pipelines.sources.fhir.model import Element, FhirMapping, ResourceRule
from pipelines.sources.rows.errors import MappingError, mapping_error
from pipelines.sources.rows.model import OUT_OF_SCOPE, PatientRule, TimeRule, VersionRule

#: Tables of named things: a hospital replaces one of them as a whole and leaves the others.
_NAMED = ("elements", "choose", "flags", "fields")
_NOT_RULES = ("values", "systems")


@dataclass(frozen=True)
class Mapping:
    """A checked FHIR mapping.

    Attributes:
        path: the hospital's file.
        table: what it says together with the shipped rules, complete.
        lines: line of each key of the hospital's file, for messages.
    """

    path: Path
    table: FhirMapping
    lines: dict[Path_, int] = field(repr=False)

    def content_hash(self, site_zone: str) -> str:
        """Return the SHA-256 of all that it decides, shipped rules included."""
        told = self.table.model_dump(mode="json", exclude_defaults=True)
        # the order of choices and systems counts, so keys must not be sorted there
        ordered = {
            "systems": list(self.table.systems.items()),
            "choose": {n: list(r.choose) for n, r in self.table.resource.items()},
        }
        text = json.dumps({"mapping": told, "site_zone": site_zone} | ordered, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The kinds of patient identifier that it makes keys of patients from, sorted."""
        told = {rule.patient.namespace for rule in self.table.resource.values()}
        return tuple(sorted({name or self.table.namespace for name in told}))

    @property
    def resource_types(self) -> tuple[str, ...]:
        """The resource types that a rule reads, look-ups included, sorted."""
        return tuple(sorted(self.table.resource))

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types that its deliveries can tell, sorted."""
        return tuple(sorted({t for name in self.resource_types for t in self.types_of(name)}))

    def types_of(self, resource_type: str) -> tuple[str, ...]:
        """Return the event types that resources of a type can become; none for look-ups."""
        rule = self.table.resource.get(resource_type)
        return rule.event_types if rule and not rule.reference else ()

    #: The same under its older name.
    event_types_of = types_of


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    """Return every shipped file of rules by its name; parsed once."""
    found = {}
    for file in resources.files("pipelines.sources.fhir").joinpath("r4").iterdir():
        name, _, kind = file.name.rpartition(".")
        if kind == "toml":
            found[name] = tomllib.loads(file.read_text(encoding="utf-8"))
    return found


@cache
def resource_names() -> frozenset[str]:
    """Return the name of every resource type of FHIR R4."""
    text = resources.files("pipelines.sources.fhir").joinpath("r4", "types.txt")
    return frozenset(text.read_text(encoding="utf-8").split())


def load_mapping(path: Path) -> Mapping:
    """Read and check a FHIR mapping file.

    Errors:
        MappingError: naming line, cause and remedy of every mistake.
    """
    try:
        data, text = read_toml(path)
        told = parse_model(FhirMapping, _over_shipped(data), text, path)
    except ConfigError as error:
        raise MappingError(
            error.what, where=error.where, remedy=error.remedy, next_run=error.next_run
        ) from None
    table = _completed(told)
    lines = line_index(text)
    mapping = Mapping(path, table, lines)
    if mistakes := check_mapping(table, resource_names(), mapping.types_of):
        raise mapping_error(mistakes, lines, path)
    return mapping


def _over_shipped(data: dict[str, Any]) -> dict[str, Any]:
    """Return the hospital's file laid over the shipped rules; what is no table is left as told."""
    shipped = deepcopy(_shipped())
    whole = dict(data)
    values = dict(shipped["values"])
    for name, words in _tables(data.get("values")).items():
        values[name] = {**values.get(name, {}), **words} if isinstance(words, dict) else words
    whole["values"] = values
    own = _tables(data.get("systems"))
    whole["systems"] = {**own, **{u: t for u, t in shipped["systems"].items() if u not in own}}
    rules = {name: rule for name, rule in shipped.items() if name not in _NOT_RULES}
    for name, rule in _tables(data.get("resource")).items():
        rules[name] = _merged(rules.get(name, {}), rule) if isinstance(rule, dict) else rule
    whole["resource"] = rules
    for name in ("values", "systems", "resource"):
        if name in data and not isinstance(data[name], dict):
            whole[name] = data[name]
    return whole


def _tables(told: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever TOML held
    return told if isinstance(told, dict) else {}


def _merged(shipped: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Lay a hospital's rule over a shipped one: named things one by one, all else as a whole."""
    found = dict(shipped)
    for key, told in own.items():
        before = shipped.get(key)
        if key in _NAMED and isinstance(told, dict) and isinstance(before, dict):
            found[key] = {**before, **told}
        elif isinstance(told, dict) and isinstance(before, dict) and "fields" in before:
            found[key] = _merged(before, told)
        else:
            found[key] = told
    return found


def _completed(told: FhirMapping) -> FhirMapping:
    """Spell out what every rule has without telling it."""
    values = {
        name: {word.lower(): meant for word, meant in words.items()}
        for name, words in told.values.items()
    }
    values["not_given"] = {word.lower(): "yes" for word in told.settings.not_given}
    rules = {name: _rule(name, rule, told) for name, rule in told.resource.items()}
    return told.model_copy(update={"values": values, "resource": rules})


def _rule(name: str, rule: ResourceRule, told: FhirMapping) -> ResourceRule:
    elements = dict(_everywhere(name, rule, told))
    elements |= rule.elements
    change: dict[str, Any] = {"elements": elements}
    if rule.version is None and rule.last_updated is None:
        by_number = told.settings.version == "versionId"
        change["version"] = VersionRule(column="version_id") if by_number else None
        change["last_updated"] = TimeRule(column="last_updated", format="iso", zone=None)
    if rule.patient == ResourceRule.model_fields["patient"].default:
        change["patient"] = PatientRule(
            column="patient",
            namespace=told.patient.namespace,
            strip_prefix=told.patient.strip_prefix,
        )
    return rule.model_copy(update=change)


def _everywhere(name: str, rule: ResourceRule, told: FhirMapping) -> Table[str, Element]:
    """Return the elements that every resource has."""
    blank = Element.model_validate({"path": "id"})
    found = {
        "id": blank,
        "last_updated": blank.model_copy(update={"path": ["meta.lastUpdated"]}),
        "version_id": blank.model_copy(update={"path": ["meta.versionId"]}),
    }
    if name == "Patient":
        found["patient"] = blank.model_copy(update={"path": [told.patient.identifier]})
    elif not rule.reference and rule.event_types != (OUT_OF_SCOPE,):
        found["patient"] = Element.model_validate({"reference": "subject", "of": "Patient"})
    return found
