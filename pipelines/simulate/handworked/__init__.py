"""Fourteen patients worked by hand: records, mapping and answers that a person typed."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

PACKAGE = "pipelines.simulate"


def write_handworked(out: Path) -> None:
    """Copy the hand-worked deliveries, their mapping and their answers into a folder."""
    root = resources.files(PACKAGE)
    for night in root.joinpath("handworked", "deliveries").iterdir():
        folder = out / "deliveries" / night.name
        folder.mkdir(parents=True, exist_ok=True)
        for file in night.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    (out / "mapping.toml").write_bytes(root.joinpath("mapping.toml").read_bytes())
    expected = root.joinpath("handworked", "expected.csv").read_bytes()
    (out / "expected.csv").write_bytes(expected)


def expected_statuses() -> dict[tuple[str, int, str, str], str]:
    """Return the typed answers as (patient, unit ordinal, outcome, window) -> status."""
    text = resources.files(PACKAGE).joinpath("handworked", "expected.csv").read_text("utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        patient, ordinal = row.pop("patient_id"), int(row.pop("unit_ordinal"))
        del row["index_start_utc"]
        for name, status in row.items():
            outcome, window = name.split("/")
            found[patient, ordinal, outcome, window] = status
    return found
