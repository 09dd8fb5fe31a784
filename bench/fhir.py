"""The FHIR source against DuckDB's bare `read_json` of the same file, each in its own process.

The source does far more (numbers of lines, repeated keys, malformed elements, codes, units, times,
keys of patients, versions, one fate per resource); the ratio says what that costs.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.observations import N_PATIENTS, write_observations, write_patients

#: Observations that are measured.
N_OBSERVATIONS = 1_000_000
HEADING = "# What FHIR costs"

_SITE = """
[site]
id = "bench"
zone = "America/New_York"
studies = ["iv_bisphosphonate"]
row_level = "internal"
synthetic = true

[key]
env = "DRIPWATCH_BENCH_KEY"

[[source]]
name = "fhir"
kind = "fhir"
mapping = "fhir.toml"
path = "deliveries"
"""

_MAPPING = """
namespace = "bench"

[delivery]
kind = "snapshot"
exported_at = "manifest"
data_through = { default = "manifest" }
"""


def make_export(folder: Path, n: int) -> Path:
    """Write a site with one bulk export of `n` Observations; return their file."""
    export = folder / "deliveries" / "export-1"
    export.mkdir(parents=True)
    observations = export / "Observation.ndjson"
    write_observations(observations, n)
    write_patients(export / "Patient.ndjson")
    told = [("Observation", n), ("Patient", N_PATIENTS)]
    manifest = {
        "transactionTime": "2025-06-02T00:00:00.000Z",
        "request": "https://ehr.example/fhir/$export",
        "requiresAccessToken": False,
        "output": [
            {"type": name, "url": f"https://ehr.example/bulk/{name}.ndjson", "count": count}
            for name, count in told
        ],
        "error": [],
    }
    (export / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "site.toml").write_text(_SITE, encoding="utf-8")
    (folder / "fhir.toml").write_text(_MAPPING, encoding="utf-8")
    return observations


def run_read_json(folder: Path) -> dict[str, Any]:
    """Read the Observations with DuckDB alone into a table; return seconds."""
    import duckdb

    path = folder / "deliveries" / "export-1" / "Observation.ndjson"
    began = time.perf_counter()
    with closing(duckdb.connect()) as con:
        con.execute(
            "CREATE TABLE observation AS SELECT * FROM read_json(?, format='newline_delimited')",
            [str(path)],
        )
        found = con.execute("SELECT count(*) FROM observation").fetchone()
    return {"seconds": time.perf_counter() - began, "n_rows": found[0] if found else 0}


def run_source(folder: Path) -> dict[str, Any]:
    """Describe and extract the export; return seconds of each and what became of the rows."""
    from pipelines.base.duck import connect
    from pipelines.base.keys import load_key
    from pipelines.base.site import load_site
    from pipelines.sources import source_kind
    from pipelines.sources.rows.folders import discover
    from studies.load import load_study

    site = load_site(folder)
    scope = load_study("iv_bisphosphonate").concept_rows()
    kind = source_kind("fhir")
    (source,) = site.source
    mapping = kind.load_mapping(site.at(source.mapping))
    began = time.perf_counter()
    (delivery,) = discover(site, source)
    facts = kind.describe(delivery, mapping, site, scope)
    described = time.perf_counter()
    with closing(connect(folder / "staging.duckdb")) as con:
        kind.extract(con, facts, mapping, site, scope, load_key(site))
        extracted = time.perf_counter()
        n_rows = con.execute("SELECT sum(n_rows) FROM fate.file").fetchone()
        fates = con.execute("SELECT fate, count(*) FROM fate.row GROUP BY ALL").fetchall()
        labs = con.execute('SELECT count(*) FROM event."LabResulted"').fetchone()
    return {
        "describe": described - began,
        "extract": extracted - described,
        "n_rows": int(n_rows[0]) if n_rows else 0,
        "n_labs": labs[0] if labs else 0,
        "fates": dict(fates),
    }


def section(n: int, size: int, bare: dict[str, Any], source: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    seconds = source["describe"] + source["extract"]
    rows = [
        ("describe (hash, manifest, times)", source["describe"], n, None),
        ("extract to staged events", source["extract"], n, None),
        ("**FHIR source**", seconds, n, source["peak_mb"]),
        ("bare `read_json`", bare["seconds"], bare["n_rows"], bare["peak_mb"]),
    ]
    lines = [
        HEADING,
        "",
        f"{n:,} synthetic Observations ({size / 1e6:,.0f} MB of NDJSON, `bench/observations.py`),",
        f"one in twenty with components, and {N_PATIENTS:,} Patients, to {source['n_labs']:,}",
        "staged results; against DuckDB's `read_json` of the Observations into a table, types",
        "guessed.",
        "",
        "| | seconds | rows/s | peak MB |",
        "|---|---:|---:|---:|",
    ]
    for name, spent, count, peak in rows:
        lines.append(
            f"| {name} | {spent:.2f} | {count / spent:,.0f} | {f'{peak:,.0f}' if peak else ''} |"
        )
    lines += [
        f"| **ratio** | **{seconds / bare['seconds']:.1f}** | "
        f"| **{source['peak_mb'] / bare['peak_mb']:.1f}** |",
        "",
    ]
    return "\n".join(lines)
