"""Which codes the studies name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.base.duck import literal
from studies.load import Study

#: Code systems by the address or identifier that FHIR calls them by.
TOKENS: dict[str, str] = {
    "http://loinc.org": "loinc",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "http://snomed.info/sct": "snomed",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10cm",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "icd10gm",
    "http://fhir.de/CodeSystem/dimdi/icd-10-gm": "icd10gm",
    "http://www.whocc.no/atc": "atc",
    "http://fhir.de/CodeSystem/bfarm/atc": "atc",
    "http://fhir.de/CodeSystem/dimdi/atc": "atc",
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "hcpcs",
    "https://www.meddra.org": "meddra",
    "http://terminology.hl7.org/CodeSystem/MDRAE": "meddra",
    "http://hl7.org/fhir/sid/ndc": "ndc",
    "http://hl7.org/fhir/sid/cvx": "cvx",
    "http://unitsofmeasure.org": "ucum",
}


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
        token = TOKENS.get(system, system)
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
        token = TOKENS.get(system, system)
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
