"""Nights as flat files: a CSV per kind of record, and a sidecar that dates the delivery."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipelines.simulate.clock import DAY
from pipelines.simulate.deliver import EXPORTED_AFTER_MINUTES, Night
from pipelines.simulate.dirt import fates_of

MAPPING = "mapping.toml"


def write_night(
    folder: Path, night: Night, files: dict[str, pl.DataFrame]
) -> tuple[dict[str, int], pl.DataFrame]:
    """Write one night's soiled rows; return rows per file and the fates of the dirty ones."""
    fates = []
    for file, rows in files.items():
        write_csv(folder / f"{file}.csv", rows)
        told = fates_of(file, rows.with_row_index("row", offset=1))
        fates.append(
            told.insert_column(0, pl.repeat(f"{file}.csv", told.height, eager=True).alias("file"))
        )
    (folder / "delivery.toml").write_text(sidecar(night), encoding="utf-8")
    return {file: rows.height for file, rows in files.items()}, pl.concat(fates)


def write_csv(path: Path, rows: pl.DataFrame) -> None:
    """Write a CSV file; records of the kind `broken_record` get two fields too many."""
    data = rows.drop("kind").write_csv(line_terminator="\n")
    broken = (rows["kind"] == "broken_record").arg_true().to_list()
    if broken:
        lines = data.split("\n")
        for place in broken:
            lines[place + 1] += ",7,unexpected"
        data = "\n".join(lines)
    path.write_text(data, encoding="utf-8", newline="")


def sidecar(night: Night) -> str:
    """Return delivery.toml of a night; a silent laboratory is complete to when it fell silent."""
    silent = ""
    if night.silent_days:
        silent = f"LabResulted = {night.through(minutes=-night.silent_days * DAY)}\n"
    return (
        'kind = "delta"\n'
        f"exported_at = {night.through(minutes=EXPORTED_AFTER_MINUTES)}\n\n"
        "[data_through]\n"
        f"default = {night.through()}\n"
        f"{silent}"
    )
