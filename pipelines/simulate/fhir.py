"""Nights as FHIR R4 bulk exports: NDJSON files per resource type, and a manifest.

The rows are those of the flat files, dirt included, in the same order. Times carry the offset that
was in force; the files of a night are listed in `manifest.json` as the bulk export specification
asks. A record that is taken back is not told as a resource: a Bundle in the manifest's `deleted`
list names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.simulate import clock
from pipelines.simulate.clock import WallClock
from pipelines.simulate.codes import ALENDRONATE, DRUG_CODES, DRUG_DISPLAYS
from pipelines.simulate.deliver import Night
from pipelines.simulate.dirt import fates_of
from pipelines.simulate.fhir_codes import HOSPITAL
from pipelines.simulate.fhir_resources import (
    administration,
    adverse_event,
    bone_density,
    condition,
    encounter,
    laboratory,
    patient,
    specimen,
    statement,
    stock,
    vital_sign,
)

MAPPING = "fhir.toml"
DELETED = "deleted"
#: The flat file whose rows each NDJSON file tells, and how.
FILES: dict[str, tuple[str, Callable[[], pl.Expr]]] = {
    "Patient": ("patients", patient),
    "Encounter": ("encounters", encounter),
    "MedicationAdministration": ("medications", administration),
    "MedicationStatement": ("medications", statement),
    "Observation.laboratory": ("labs", laboratory),
    "Observation.vital-signs": ("vitals", vital_sign),
    "Observation.dxa": ("dxa", bone_density),
    "Condition": ("diagnoses", condition),
    "AdverseEvent": ("adverse_events", adverse_event),
}
TIMES = (
    *("start", "end", "collected", "resulted", "measured", "diagnosed", "onset", "resolved"),
    *("scanned", "died", "observation_end"),
)
#: Why a resource is quarantined where that differs from the same row of a flat file.
REASONS = {"missing_id": "missing_id", "unknown_category": "wrong_resource_type"}
#: A server stored a record an hour before its night's export; an older version a day earlier.
STORED_MINUTES, OLDER_MINUTES = -60, -60 - clock.DAY


def write_night(
    folder: Path, night: Night, files: dict[str, pl.DataFrame]
) -> tuple[dict[str, int], pl.DataFrame]:
    """Write one night's soiled rows; return resources per file and the fates of the dirty ones."""
    fates, counts = [], {}
    for name, (file, told) in FILES.items():
        rows = _told_by(name, files[file]).with_row_index("row", offset=1)
        counts[name] = _write(folder, name, _lines(told(), with_offsets(rows, night)))
        fates.append(_fates_of(name, file, rows))
    counts["Specimen"] = _write(folder, "Specimen", _lines(specimen(), _spoiled(night, files)))
    counts["Medication"] = _write(folder, "Medication", _lines(stock(), _pharmacy(night)))
    gone = _withdrawn(files["medications"])
    n_bundles = _write(folder, DELETED, [_bundle(gone)]) if gone else 0
    manifest = manifest_of(night, counts, n_bundles)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return counts, pl.concat(fates)


def _fates_of(name: str, file: str, rows: pl.DataFrame) -> pl.DataFrame:
    reason = pl.col("kind").replace_strict(REASONS, default=pl.col("reason"))
    told = fates_of(file, rows).with_columns(reason=reason)
    return told.select(pl.lit(f"{name}.ndjson").alias("file"), pl.all())


def _spoiled(night: Night, files: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the results that name a specimen, once each; dirt lies in the results alone."""
    is_named = pl.col("specimen").is_not_null() & pl.col("id").is_not_null()
    named = files["labs"].filter(is_named).unique("id", keep="first", maintain_order=True)
    return with_offsets(named.with_columns(kind=pl.lit(None, pl.String)), night)


def _pharmacy(night: Night) -> pl.DataFrame:
    """Return the drugs in stock, which every night delivers."""
    return pl.DataFrame(
        {"code": DRUG_CODES, "name": DRUG_DISPLAYS},
        schema={"code": pl.String, "name": pl.String},
    ).with_columns(
        version=pl.lit("1"),
        kind=pl.lit(None, pl.String),
        last_updated=pl.lit(night.through(minutes=OLDER_MINUTES)),
    )


def _told_by(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a flat file that an NDJSON file tells as resources."""
    if FILES[name][0] != "medications":
        return rows
    is_taken_at_home = (pl.col("code") == ALENDRONATE).fill_null(value=False)
    is_statement = is_taken_at_home & (pl.col("category") == "oral")
    wanted = is_statement if name == "MedicationStatement" else ~is_statement
    return rows.filter(wanted & ~_is_withdrawal())


def _is_withdrawal() -> pl.Expr:
    """Tell rows that only take a record back; a server tells such a thing once."""
    is_same_record = pl.col("kind").is_null() | (pl.col("kind") == "exact_duplicate")
    return (pl.col("record_state") == "deleted") & is_same_record


def _withdrawn(rows: pl.DataFrame) -> list[str]:
    """Return the ids of administrations that the night takes back."""
    found: list[str] = rows.filter(_is_withdrawal())["id"].unique(maintain_order=True).to_list()
    return found


def with_offsets(rows: pl.DataFrame, night: Night) -> pl.DataFrame:
    """Let times carry their offset, and say when the server stored each version.

    A time in the doubled hour is the first of the two, as for the flat files.
    """
    names, wall = [name for name in TIMES if name in rows.columns], night.wall
    stored = pl.when(pl.col("version") == "0").then(pl.lit(night.through(minutes=OLDER_MINUTES)))
    return rows.with_columns(
        *(pl.Series(name, _with_offset(rows[name], wall)) for name in names),
        last_updated=stored.otherwise(pl.lit(night.through(minutes=STORED_MINUTES))),
    )


def _with_offset(local: pl.Series, wall: WallClock) -> pl.Series:
    # An unreadable time gets the offset of 1970, so that it stays unreadable for its day alone.
    read = local.str.to_datetime("%Y-%m-%d %H:%M", strict=False).dt.epoch("s") // 60
    minutes = read.fill_null(0).to_numpy()
    ahead, place = np.unique(minutes - wall.to_utc(minutes), return_inverse=True)
    shown = pl.Series([_offset(int(one)) for one in ahead], dtype=pl.String).gather(place)
    whole = local.str.replace(" ", "T") + ":00" + shown
    # A date alone stays one: diagnoses are known by their day.
    return whole.zip_with(local.str.contains(" ").fill_null(value=True), local)


def _offset(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), clock.HOUR)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def _lines(told: pl.Expr, rows: pl.DataFrame) -> list[str]:
    """Render resources; a broken record's line stops short, as after a full disk."""
    is_broken = (pl.col("kind") == "broken_record").fill_null(value=False)
    line = pl.when(is_broken).then(told.str.head(-2)).otherwise(told)
    lines: list[str] = rows.select(line).to_series().to_list()
    return lines


def _bundle(gone: list[str]) -> str:
    """Return the transaction Bundle that deletes."""
    entries = [
        {"request": {"method": "DELETE", "url": f"MedicationAdministration/{name}"}}
        for name in gone
    ]
    whole = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return json.dumps(whole, separators=(",", ":"))


def _write(folder: Path, name: str, lines: list[str]) -> int:
    """Write an NDJSON file, an empty one too: its count says that nothing is missing."""
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"{name}.ndjson").write_text(text, encoding="utf-8", newline="")
    return len(lines)


def manifest_of(night: Night, counts: dict[str, int], n_bundles: int) -> dict[str, Any]:
    """Return the manifest of a night: what it holds, and the instant to which it is complete."""
    base = f"{HOSPITAL}/bulk/{night.name}"
    types = sorted({name.partition(".")[0] for name in counts})
    output = [
        {"type": name.partition(".")[0], "url": f"{base}/{name}.ndjson", "count": n}
        for name, n in counts.items()
    ]
    request = f"{HOSPITAL}/$export?_type={','.join(types)}"
    if night.number > 1:
        request += f"&_since={replace(night, number=night.number - 1).through()}"
    deleted = {"type": "Bundle", "url": f"{base}/{DELETED}.ndjson", "count": n_bundles}
    return {
        "transactionTime": night.through(),
        "request": request,
        "requiresAccessToken": False,
        "output": output,
        "deleted": [deleted] if n_bundles else [],
        "error": [],
    }
