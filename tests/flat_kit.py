"""A site of one flat source, for tests: write files, run, look at the staging tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.keys import SiteKey, load_key
from pipelines.base.site import Site, load_site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources import flat

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
name = "lis"
mapping = "mapping.toml"
path = "inbox"
"""

#: A mapping that tests change; its columns are those of LABS.
MAPPING = """\
namespace = "mrn"

[delivery]
kind = "delta"
exported_at = "2026-01-06T02:00:00Z"

[delivery.data_through]
default = "2026-01-06T00:00:00Z"

[[file]]
name = "labs"
pattern = "labs*"
event = "LabResulted"
key = ["id"]

[file.patient]
column = "patient"
strip_prefix = "P-"

[file.fields]
occurred_at = { column = "taken" }
code = { column = "test" }
code_system = { constant = "loinc" }
value = { column = "result" }
unit = { column = "unit" }
status = { column = "state", values = { F = "final", C = "corrected" } }
"""

HEADER = "id,patient,taken,test,result,unit,state"
ROW = "1,P-7,2025-03-01 08:30,17861-6,2.21,mmol/L,F"


@dataclass
class FlatSite:
    """The folder, and what a delivery of it became."""

    root: Path
    site: Site
    key: SiteKey

    def deliver(self, **files: str | bytes) -> None:
        """Write the files of the one delivery; `labs_csv` becomes labs.csv."""
        folder = self.root / "inbox" / "night1"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name.replace("_", ".")).write_bytes(data)

    def map(self, text: str = MAPPING) -> flat.Mapping:
        """Write and load the mapping."""
        path = self.root / "mapping.toml"
        path.write_text(text)
        return flat.load_mapping(path)

    def describe(self, text: str = MAPPING, scope: flat.Scope = "all") -> DeliveryFacts:
        """Describe the one delivery."""
        (delivery,) = flat.discover(self.site, self.site.source[0])
        return flat.describe(delivery, self.map(text), self.site, scope)

    @contextmanager
    def extracted(
        self, text: str = MAPPING, scope: flat.Scope = "all"
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Extract the one delivery; accounts are checked before the test sees anything."""
        facts = self.describe(text, scope)
        con = duck.connect(threads=1)
        try:
            flat.extract(con, facts, self.map(text), self.site, scope, self.key)
            assert_every_row_is_accounted_for(con)
            yield con
        finally:
            con.close()


def rows(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return con.execute(query).fetchall()


def assert_every_row_is_accounted_for(con: duckdb.DuckDBPyConnection) -> None:
    """Rows 1..n of each file are in exactly one of event.* and fate.row."""
    types = rows(con, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event'")
    parts = [f'SELECT source_file_sha, source_row FROM event."{t}"' for (t,) in types]
    everything = " UNION ALL ".join([*parts, "SELECT source_file_sha, source_row FROM fate.row"])
    told = sorted(rows(con, everything))
    expected = [
        (sha, number)
        for sha, n_rows in rows(con, "SELECT source_file_sha, n_rows FROM fate.file")
        for number in range(1, n_rows + 1)
    ]
    assert told == sorted(expected)


def make_site(root: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> FlatSite:
    """A fresh site in a folder."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "site.toml").write_text(SITE)
    key_file = root / "site.key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    if monkeypatch:
        monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    site = load_site(root / "site.toml")
    return FlatSite(root, site, load_key(site))
