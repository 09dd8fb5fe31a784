"""FHIR resources written by hand, and what is read out of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.base.site_privacy import PrivacyTable
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts, DeliveryKind
from pipelines.sources.fhir.extract import extract
from pipelines.sources.fhir.mapping import Mapping, load_mapping
from pipelines.sources.rows.stage import Scope
from studies.load import ConceptRow

KEY = SiteKey(bytes(range(32)))
AT = datetime(2030, 1, 1, tzinfo=UTC)
MAPPING = """
namespace = "mrn"
zone = "America/New_York"
[delivery]
kind = "snapshot"
exported_at = 2030-01-01T00:00:00Z
data_through = { default = 2030-01-01T00:00:00Z }
"""
Json = dict[str, Any]
Read = Callable[..., "Staged"]


class Staged:
    """A staging database, asked in the words of the contract."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def rows(self, event_type: str, *columns: str) -> list[tuple[Any, ...]]:
        told = ", ".join(columns)
        order = "source_file_sha, source_row, source_part NULLS FIRST"
        query = f'SELECT {told} FROM event."{event_type}" ORDER BY {order}'
        return self.con.execute(query).fetchall()

    def one(self, event_type: str, *columns: str) -> tuple[Any, ...]:
        (row,) = self.rows(event_type, *columns)
        return row

    def fates(self) -> list[tuple[Any, ...]]:
        query = "SELECT source_row, source_part, fate, reason FROM fate.row ORDER BY ALL"
        return self.con.execute(query).fetchall()


def utc(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - columns are naive UTC


def facts_of(paths: list[Path], types: tuple[str, ...], kind: DeliveryKind) -> DeliveryFacts:
    files = tuple(
        DeliveredFile(path, "any", hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths
    )
    return DeliveryFacts(
        "0" * 64, "here", "ehr", kind, AT, dict.fromkeys(types, AT), "m", "s", "p", files
    )


@cache
def mapping_of(text: str) -> Mapping:
    """Load a mapping; each text is checked once."""
    with TemporaryDirectory() as folder:
        toml = Path(folder) / "fhir.toml"
        toml.write_text(text)
        return load_mapping(toml)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(
        *resources: Json,
        more: str = "",
        scope: Scope = "all",
        kind: DeliveryKind = "snapshot",
    ) -> Staged:
        path = tmp_path / "all.ndjson"
        path.write_text("".join(json.dumps(one) + "\n" for one in resources))
        mapping = mapping_of(MAPPING + more)
        con = duck.connect(threads=1)
        site = cast(
            "Site",
            SimpleNamespace(
                site=SimpleNamespace(zone="America/New_York"),
                privacy=PrivacyTable(),
                log_root=Path("no-log"),
            ),
        )
        facts = facts_of([path], mapping.event_types, kind)
        extract(con, facts, mapping, site, scope, KEY)
        return Staged(con)

    return reading


def coded(system: str, code: str, display: str | None = None) -> Json:
    coding = {"system": system, "code": code}
    return {"coding": [coding | ({"display": display} if display else {})]}


LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def observation(**told: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "category": [
            coded("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")
        ],
        "code": coded(LOINC, "17861-6", "Calcium"),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-01T08:30:00-05:00",
        "valueQuantity": {"value": 8.1, "unit": "milligram per deciliter", "code": "mg/dL"},
    } | told


def administration(**told: Any) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        "id": "a1",
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, "77655", "zoledronic acid"),
        "subject": {"reference": "Patient/p1"},
        "effectivePeriod": {
            "start": "2024-03-01T09:00:00-05:00",
            "end": "2024-03-01T09:30:00-05:00",
        },
        "dosage": {"route": coded(SNOMED, "47625008"), "dose": {"value": 2.5, "code": "mg"}},
    } | told


ZOLEDRONATE = ConceptRow("InfusionRecorded", "rxnorm", "77655", "exact", "zoledronic_acid")


def of_drug(kind: str, code: str, **told: Any) -> Json:
    return {
        "resourceType": kind,
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, code),
        "subject": {"reference": "Patient/p1"},
    } | told
