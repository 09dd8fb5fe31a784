"""A site with one FHIR source, and what is delivered to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import duck
from pipelines.base.keys import SiteKey, load_key
from pipelines.base.site import Site, load_site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources import SourceMapping, source_kind
from pipelines.sources.rows.folders import discover

KEY = bytes(range(1, 33)).hex()
SITE = """
[site]
id = "north"
zone = "Europe/Berlin"
studies = ["iv_bisphosphonate"]
scope = "all"
[key]
file = "site.key"
[[source]]
name = "ehr"
kind = "fhir"
mapping = "fhir.toml"
path = "inbox"
"""
MAPPING = """\
namespace = "mrn"

[delivery]
kind = "delta"
exported_at = "manifest"
data_through = { default = "manifest" }
"""
LOADED: dict[str, SourceMapping] = {}
LITERAL = MAPPING.replace('"manifest"', '"2026-01-06T02:00:00Z"')
AT = datetime(2026, 1, 6, 2, tzinfo=UTC)
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "2015-02-03"}
LAB = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [{"coding": [{"code": "laboratory"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "17861-6"}]},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2025-03-01T08:30:00+01:00",
    "valueQuantity": {"value": 2.21, "unit": "mmol/L"},
}


def lines(*resources: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in resources)


def manifest(**more: Any) -> dict[str, Any]:
    """The manifest of an export with a patient and a laboratory result."""
    told = {
        "transactionTime": "2026-01-06T02:00:00Z",
        "request": "https://h/fhir/$export?_since=2026-01-05T02:00:00Z",
        "requiresAccessToken": False,
        "output": [
            {"type": "Patient", "url": "https://h/1/patient.ndjson", "count": 1},
            {"type": "Observation", "url": "https://h/1/lab.ndjson", "count": 1},
        ],
        "error": [],
    }
    return told | more


@dataclass
class FhirSite:
    """A site with one FHIR source and one delivery."""

    root: Path
    site: Site
    key: SiteKey

    def deliver(self, told: dict[str, Any] | None = None, /, **files: bytes) -> None:
        """Write the files; the last underscore of a name stands for its dot."""
        folder = self.root / "inbox" / "night1"
        folder.mkdir(parents=True, exist_ok=True)
        if told is not None:
            (folder / "manifest.json").write_text(json.dumps(told))
        for name, data in files.items():
            stem, _, ending = name.rpartition("_")
            (folder / f"{stem}.{ending}").write_bytes(data)

    def map(self, text: str) -> SourceMapping:
        """Load a mapping; each text is checked once, whatever the site."""
        if text not in LOADED:
            (self.root / "fhir.toml").write_text(text)
            LOADED[text] = source_kind("fhir").load_mapping(self.root / "fhir.toml")
        return LOADED[text]

    def describe(self, mapping: str = MAPPING) -> DeliveryFacts:
        (delivery,) = discover(self.site, self.site.source[0])
        return source_kind("fhir").describe(delivery, self.map(mapping), self.site, "all")

    def fates(self, mapping: str = MAPPING) -> tuple[list[Any], list[Any], list[str]]:
        """Extract; return fates of rows, withdrawals and remarks."""
        facts, kind = self.describe(mapping), source_kind("fhir")
        con = duck.connect(threads=1)
        try:
            kind.extract(con, facts, self.map(mapping), self.site, "all", self.key)
            fates = con.execute(
                "SELECT source_row, fate, reason FROM fate.row ORDER BY ALL"
            ).fetchall()
            gone = con.execute("SELECT reason, version FROM fate.withdrawn").fetchall()
            return fates, gone, kind.remarks(con, self.map(mapping), "ehr")
        finally:
            con.close()


@pytest.fixture
def fhir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FhirSite:
    monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "site.key").write_text(KEY)
    (tmp_path / "site.key").chmod(0o600)
    site = load_site(tmp_path / "site.toml")
    return FhirSite(tmp_path, site, load_key(site))


DATA = {"patient_ndjson": lines(PATIENT), "lab_ndjson": lines(LAB)}
