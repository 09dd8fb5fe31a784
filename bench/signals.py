"""Signals from counts: 1,000 strata of 20 outcomes, against statsmodels called row by row."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

HEADING = "# What signals cost"
N_VALUES = 500
N_QUARTERS = 40
#: Units of one drug or value; quarters are fewer, as in years.
STRATA = (("drug", N_VALUES), ("setting", N_VALUES - N_QUARTERS), ("calendar_quarter", N_QUARTERS))
N_OUTCOMES = 20
SAMPLE = 500


def _counts() -> Any:  # noqa: ANN401 - pa.Table
    import numpy as np
    import pyarrow as pa

    from pipelines.signals.counts import COUNTS, SUM_COLUMNS

    rng = np.random.default_rng(11)
    keys = [
        (f"outcome{number:02d}", stratum, f"{stratum}{value:03d}", denominator)
        for number in range(N_OUTCOMES)
        for stratum, n in STRATA
        for value in range(n)
        for denominator in ("all", "complete")
    ]
    units = rng.integers(20, 400, len(keys))
    events = rng.binomial(units, 0.07)
    columns: dict[str, Any] = dict.fromkeys(SUM_COLUMNS, units)
    columns |= {"n_events": events, "sum_e2": events, "sum_en": events}
    columns |= {"person_us": units * 3 * 86_400_000_000}
    names = ("outcome", "stratum", "stratum_value", "denominator")
    columns |= dict(zip(names, map(list, zip(*keys, strict=True)), strict=True))
    fixed = {"study_id": "iv_bisphosphonate", "site_id": "bench", "window_name": "risk"}
    columns |= {name: [text] * len(keys) for name, text in fixed.items()}
    return pa.table({field.name: columns[field.name] for field in COUNTS.schema}, COUNTS.schema)


def _study() -> Any:  # noqa: ANN401 - studies.load.Study
    """Return the shipped study with the drugs of the counts, each in a class of its own."""
    from dataclasses import replace

    from studies.load import load_study
    from studies.model import DrugTable

    names = [f"drug{value:03d}" for value in range(N_VALUES)]
    drugs = [
        DrugTable(name=name, concept=name, drug_class=name, course_gap_hours=0) for name in names
    ]
    shipped = load_study("iv_bisphosphonate")
    return replace(shipped, model=shipped.model.model_copy(update={"drug": drugs}))


def run(folder: Path) -> dict[str, Any]:
    """Make each table that follows from `signals.counts` alone; then one of them row by row."""
    del folder  # every measurement is given one; this one needs no files
    from statsmodels.stats.proportion import proportion_confint

    from pipelines.signals.tables import MAKERS

    counts, studies = _counts(), [_study()]
    seconds: dict[str, float] = {}
    made: Any = None
    for name in ("risk", "rate", "trend", "disproportionality", "benchmark"):
        began = time.perf_counter()
        made = MAKERS[f"signals.{name}"]({"signals.counts": counts}, studies)
        seconds[name] = time.perf_counter() - began
    rows = counts.slice(0, SAMPLE).select(["n_events", "n_units"]).to_pylist()
    began = time.perf_counter()
    for row in rows:
        for method in ("beta", "wilson"):
            proportion_confint(row["n_events"], row["n_units"], method=method)
    peer = (time.perf_counter() - began) / len(rows) * counts.num_rows
    return {"seconds": seconds, "peer": peer, "n_rows": counts.num_rows, "n_last": made.num_rows}


def section(found: dict[str, Any]) -> str:
    """Return the part of the results on signals."""
    ours, peer = found["seconds"]["risk"], found["peer"]
    lines = [
        HEADING,
        "",
        f"1,000 strata x {N_OUTCOMES} outcomes x 2 denominators ({found['n_rows']:,} rows of "
        "counts):",
        f"every table that `signals.counts` alone gives; {N_VALUES} drugs in as many classes, EBGM",
        "included.",
        "",
        "| table | seconds |",
        "|---|---:|",
        *(f"| signals.{name} | {seconds:.2f} |" for name, seconds in found["seconds"].items()),
        f"| **all** | **{sum(found['seconds'].values()):.2f}** |",
        f"| statsmodels `proportion_confint` (beta, wilson), row by row | {peer:.2f} |",
        f"| **signals.risk over that** | **{ours / peer:.2f}** |",
        "",
        f"The peer's time is that of {SAMPLE} rows, times the number of rows; it gives two plain",
        "intervals a row and knows no clusters.",
        "",
    ]
    return "\n".join(lines)
