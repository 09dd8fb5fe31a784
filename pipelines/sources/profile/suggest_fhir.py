"""A first mapping of FHIR resources."""

from __future__ import annotations
def fhir_mapping(found): return ""
