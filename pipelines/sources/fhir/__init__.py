"""FHIR R4 bulk exports, Bundles and single resources, read by rules that are data."""
