"""Which codes the studies name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pipelines.base.duck import literal
from studies.load import Study


@cache
def tokens() -> dict[str, str]:
    """Return what studies call each code system that the shipped FHIR rules know."""
    file = resources.files("pipelines.sources.fhir").joinpath("r4", "systems.toml")
    return {str(k): str(v) for k, v in tomllib.loads(file.read_text("utf-8")).items()}


def slug(text: str) -> str:
    """Return a short name: lower case, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "local"


@dataclass(frozen=True)
class Known:
    """The codes that some study names.

    Attributes:
        exact: concepts by code system and code.
        prefixes: code system, start of a code, concept.
    """

    exact: dict[tuple[str, str], frozenset[str]]
    prefixes: tuple[tuple[str, str, str], ...]

    def concepts(self, system: str, code: str) -> tuple[str, ...]:
        """Return what studies call a code of a system, as FHIR or as studies call that."""
        token = tokens().get(system, system)
        found = set(self.exact.get((token, code), ()))
        found |= {
            concept
            for name, start, concept in self.prefixes
            if name == token and code.startswith(start)
        }
        return tuple(sorted(found))

    def sql(self, system: str, code: str) -> str | None:
        """Return SQL of whether some study names a code of a system; None where none can.

        Args:
            system: code system, as FHIR or as studies call it.
            code: SQL of the code.
        """
        token = tokens().get(system, system)
        exact = sorted(one for name, one in self.exact if name == token)
        tests = [f"{code} IN ({', '.join(map(literal, exact))})"] if exact else []
        tests += [
            f"starts_with({code}, {literal(start)})"
            for name, start, _ in self.prefixes
            if name == token
        ]
        return " OR ".join(tests) or None

    @property
    def systems(self) -> tuple[str, ...]:
        """The code systems that studies use."""
        return tuple(sorted({s for s, _ in self.exact} | {s for s, _, _ in self.prefixes}))


def known_codes(studies: Sequence[Study]) -> Known:
    """Return the codes of several studies together."""
    exact: dict[tuple[str, str], frozenset[str]] = {}
    prefixes = set()
    for row in (row for study in studies for row in study.concept_rows()):
        if row.match == "prefix":
            prefixes.add((row.code_system, row.code, row.concept))
        else:
            key = (row.code_system, row.code)
            exact[key] = exact.get(key, frozenset()) | {row.concept}
    return Known(exact, tuple(sorted(prefixes)))
