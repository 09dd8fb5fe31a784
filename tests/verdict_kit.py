"""Judging rows that were staged by hand, and what was found of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from expectations.validate import Validation, validate
from pipelines.base.site import ThresholdTable
from tests.checks_staging import CONCEPTS, DATA_THROUGH

LAB, DRIP = "LabResulted", "InfusionRecorded"


def judge(
    con: duckdb.DuckDBPyConnection,
    types: Sequence[str] = (LAB,),
    docs_dir: Path | None = None,
    **thresholds: Any,
) -> Validation:
    return validate(
        con,
        event_types=types,
        data_through=DATA_THROUGH,
        concepts=CONCEPTS,
        thresholds=ThresholdTable(**thresholds),
        docs_dir=docs_dir,
    )


def failures(con: duckdb.DuckDBPyConnection) -> Counter[tuple[str, str, int]]:
    rows = con.execute("SELECT event_type, check_id, source_row FROM judge.failure").fetchall()
    return Counter(rows)


def flags(con: duckdb.DuckDBPyConnection, event_type: str = LAB) -> list[list[str] | None]:
    query = f'SELECT flags FROM event."{event_type}" ORDER BY source_row'
    return [row[0] for row in con.execute(query).fetchall()]
