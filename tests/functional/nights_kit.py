"""A hospital of hand-made records that arrive night by night, and what linkage makes of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from expectations import docs, suites
from flows.conduct import run_in_process
from flows.console import SilentConsole
from flows.context import RunContext
from flows.init import site_toml, write_new
from flows.refresh import new_run_id
from flows.stages import STAGES
from pipelines.base.files import make_private
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from tests.checks_staging import as_sql_says
from tests.functional.refresh_site import KEY
from warehouse.store import Store

Row = dict[str, str]
Nights = Sequence[Mapping[str, Sequence[Row]]]

FIRST_NIGHT = datetime(2025, 9, 1, 2, tzinfo=UTC)
MAPPING = """\
namespace = "mrn"
zone = "Asia/Kolkata"

[delivery]
kind = "{kind}"
exported_at = {{ sidecar = "delivery.toml" }}
data_through = {{ default = {{ sidecar = "delivery.toml" }} }}
"""
FILE = """
[[file]]
name = "{name}"
pattern = "{name}*.csv"
key = ["id"]
version = {{ column = "n" }}
operation = {{ column = "state", values = {{ deleted = "retract" }} }}
patient = {{ column = "patient" }}
"""
FILES = {
    "patients": """event = "PatientRegistered"
[file.fields]
birth_date = { column = "born" }
sex = { column = "sex" }
replaced_by_key = { column = "into" }
""",
    "drugs": """event = [
    { when = [{ column = "route", equals = "intravenous" }], event = "InfusionRecorded" },
    { when = [], event = "MedicationGiven" },
]
[file.fields]
occurred_at = { column = "at" }
code = { column = "code" }
code_system = { constant = "rxnorm" }
status = { constant = "completed" }
route = { column = "route" }
[file.InfusionRecorded.fields]
ended_at = { column = "end" }
evidence = { constant = "administered" }
""",
    "labs": """event = "LabResulted"
[file.fields]
occurred_at = { column = "at" }
code = { column = "code" }
code_system = { constant = "loinc" }
value = { column = "value" }
unit = { constant = "mg/dL" }
status = { constant = "final" }
""",
    "diagnoses": """event = "DiagnosisRecorded"
[file.fields]
occurred_at = { column = "at" }
code = { column = "code" }
code_system = { constant = "icd10cm" }
""",
}
COLUMNS = {
    "patients": ("born", "sex", "into"),
    "drugs": ("at", "end", "code", "route"),
    "labs": ("at", "code", "value"),
    "diagnoses": ("at", "code"),
}
_ENVELOPE = ("id", "n", "patient", "state")
#: What is done to a delivery before anything is linked.
READING = ("recover", "discover", "extract", "validate", "commit", "store")


class Outcome(NamedTuple):
    """What linkage says of a patient's units, in their order."""

    calcium: tuple[str, ...]
    age_years: tuple[int | None, ...] = (9,)
    sex: tuple[str, ...] = ("female",)


def make_site(root: Path, kind: str) -> Site:
    """Make a site with one flat source and nothing delivered."""
    told = MAPPING.format(kind=kind)
    told += "".join(FILE.format(name=name) + fields for name, fields in FILES.items())
    return site_of(root, "flat", told)


def site_of(root: Path, kind: str, mapping: str) -> Site:
    """Make a site with a source of a kind, read by this mapping, and nothing delivered."""
    make_private(root / "restricted")
    (root / "inbox").mkdir()
    write_new(root / "restricted" / "site.key", KEY, 0o600)
    (root / "mapping.toml").write_text(mapping)
    settings: dict[str, dict[str, object]] = {
        "site": {
            "id": "north",
            "zone": "Asia/Kolkata",
            "studies": ["iv_bisphosphonate"],
            "row_level": "internal",
            "synthetic": True,
        },
        "resources": {"buckets": 1, "memory_limit": "1GB"},
    }
    source: dict[str, object] = {
        "name": "ehr",
        "kind": kind,
        "mapping": "mapping.toml",
        "path": "inbox",
    }
    write_new(root / "site.toml", site_toml(settings, [source]), 0o644)
    return load_site(root / "site.toml")


def deliver(
    site: Site, number: int, files: Mapping[str, Iterable[Row]], name: str | None = None
) -> None:
    """Let a delivery of a night arrive; each has every file, so that it speaks of every type."""
    folder = site.root / "inbox" / (name or f"night-{number}")
    folder.mkdir()
    at = FIRST_NIGHT + timedelta(days=number)
    sidecar = {"exported_at": at, "data_through.default": at.replace(hour=0)}
    text = "".join(f"{key} = {told.isoformat()}\n" for key, told in sidecar.items())
    (folder / "delivery.toml").write_text(text)
    for file, own in COLUMNS.items():
        with (folder / f"{file}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, (*_ENVELOPE, *own), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(files.get(file, ()))


def read(site: Site) -> RunContext:
    """Bring whatever arrived into the store, and link nothing."""
    context = RunContext(site, new_run_id(), SilentConsole(), datetime.now(UTC))
    stages(context, READING)
    return context


def link(site: Site) -> dict[str, str]:
    """Link what the store holds; return the digest of each table of linkage and signals."""
    stages(read(site), ("link", "signals"))
    with Store(site) as store:
        return store.state_digests()


def stages(context: RunContext, names: Sequence[str]) -> None:
    with patch.object(suites, "run", as_sql_says), patch.object(docs, "_gx_body", _no_page):
        run_in_process([one for one in STAGES if one.name in names], context)


def _no_page(_event_type: str, _verdicts: object) -> str:
    return ""


def outcomes(site: Site) -> dict[str, Outcome]:
    """Return, per patient's key, what became of calcium after each unit, ages and sexes."""
    with Store(site) as store:
        rows = store.con.execute(
            """SELECT c.patient_key, list(o.status ORDER BY c.started_at),
                      list(c.age_months // 12 ORDER BY c.started_at),
                      list(c.sex ORDER BY c.started_at)
            FROM linkage.course AS c JOIN linkage.unit_outcome AS o USING (unit_id)
            WHERE o.outcome = 'hypocalcaemia' AND o.window_name = 'risk'
            GROUP BY ALL"""
        ).fetchall()
    return {key: Outcome(*map(tuple, told)) for key, *told in rows}


def key_of(site: Site, patient: str) -> str | None:
    """Return a patient's key."""
    return load_key(site).patient("north", "mrn", patient)


def newest(nights: Nights) -> dict[str, list[Row]]:
    """Return the newest version of every record of all nights."""
    found: dict[str, dict[str, Row]] = {name: {} for name in FILES}
    for night in nights:
        for name, rows in night.items():
            for row in rows:
                known = found[name].get(row["id"])
                if known is None or int(row["n"]) > int(known["n"]):
                    found[name][row["id"]] = row
    return {name: list(rows.values()) for name, rows in found.items()}


def row(id_: str, who: str, n: int = 1, **cells: Any) -> Row:
    """A row of any file."""
    return {"id": id_, "patient": who, "n": str(n)} | {k: str(v) for k, v in cells.items()}
