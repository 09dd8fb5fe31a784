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
ALONE = ("risk", "rate", "trend", "disproportionality", "benchmark")
WATCHED = ("onset", "self_controlled")
#: From counts over patients too: by value of what is compared, and of the strata that are watched.
OF_PATIENTS = {"comparison": "setting", "risk_gee": "drug"}
FIXED = {"study_id": "iv_bisphosphonate", "site_id": "bench"}
#: Onset and self-controlled windows are told by drug: as many drugs as there are strata.
N_WATCHED, N_UNITS, N_EVENTS, N_HOURS = 1000, 200, 14, 72


def _counts() -> Any:  # noqa: ANN401 - pa.Table
    import numpy as np

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
    columns["window_name"] = ["risk"] * len(keys)
    return _table(COUNTS.schema, columns, len(keys))


def _table(schema: Any, columns: dict[str, Any], n_rows: int) -> Any:  # noqa: ANN401 - pa.Table
    import pyarrow as pa

    told = {name: [text] * n_rows for name, text in FIXED.items()} | columns
    return pa.table({field.name: told[field.name] for field in schema}, schema)


def _watched() -> dict[str, Any]:
    """Return counts of 1,000 drugs: who leaves in which hour, risk and control windows."""
    import numpy as np

    from pipelines.signals.counts import COUNTS, ONSET, SELF_CONTROLLED

    rng = np.random.default_rng(12)
    n_curves = N_OUTCOMES * N_WATCHED

    def about(curve: Any) -> dict[str, Any]:  # noqa: ANN401 - an array
        named = {"stratum": "drug", "window_name": "risk", "denominator": "all", "scale": "hour"}
        return {name: [text] * len(curve) for name, text in named.items()} | {
            "outcome": [f"outcome{number:02d}" for number in curve // N_WATCHED],
            "stratum_value": [f"drug{number:03d}" for number in curve % N_WATCHED],
        }

    every = np.arange(n_curves)
    hour = rng.integers(0, N_HOURS, (n_curves, N_EVENTS))
    at, events = np.unique(every[:, None] * (N_HOURS + 1) + hour, return_counts=True)
    # All others complete the window, in the hour after all events.
    at = np.concatenate([at, every * (N_HOURS + 1) + N_HOURS])
    nobody = np.zeros(len(at), np.int64)
    completed = np.concatenate([0 * events, np.full(n_curves, N_UNITS - N_EVENTS)])
    leaving = dict.fromkeys(ONSET.sums, nobody) | {"bin": at % (N_HOURS + 1)}
    leaving |= {"n_events": np.concatenate([events, 0 * every]), "n_completed": completed}
    leaving["n_left"] = leaving["n_events"] + completed
    n = rng.integers(1, 40, n_curves)
    windows = dict.fromkeys(SELF_CONTROLLED.sums, n) | {"n_risk_events": rng.binomial(n, 0.4)}
    windows["n_control_events"] = n - windows["n_risk_events"]
    units = dict.fromkeys(COUNTS.sums, np.full(n_curves, N_UNITS))
    return {
        ONSET.name: _table(ONSET.schema, leaving | about(at // (N_HOURS + 1)), len(at)),
        SELF_CONTROLLED.name: _table(SELF_CONTROLLED.schema, windows | about(every), n_curves),
        COUNTS.name: _table(COUNTS.schema, units | about(every), n_curves),
    }


def _of_patients(stratum: str) -> dict[str, Any]:
    """Return counts of 1,000 values whose patients have one to eight units; some in other values.

    Compared is each value with the rest: 1,000 drugs would make half a million pairs of them.
    """
    import numpy as np

    from pipelines.signals.counts import COUNT_TABLES, COUNTS, PATIENT, SHARED

    rng = np.random.default_rng(13)
    every = np.arange(N_OUTCOMES * N_WATCHED)
    n = rng.integers(1, 9, (len(every), N_EVENTS))
    e = rng.binomial(n, 0.07)

    def about(row: Any) -> dict[str, Any]:  # noqa: ANN401 - an array
        named = {"stratum": stratum, "window_name": "risk", "denominator": "complete"}
        named |= {"contrast": "rest", "other_value": "rest"}
        return {name: [text] * len(row) for name, text in named.items()} | {
            "outcome": [f"outcome{number:02d}" for number in row // N_WATCHED],
            "stratum_value": [f"value{number:03d}" for number in row % N_WATCHED],
        }

    sums = {"n_events": e, "n_units": n, "sum_e2": e * e, "sum_en": e * n, "sum_n2": n * n}
    rows = dict.fromkeys(COUNTS.sums, n.sum(1)) | {name: x.sum(1) for name, x in sums.items()}
    rows["n_patients"] = np.full(len(every), N_EVENTS)
    # One patient of each value has a unit without event in another one, too.
    both = dict.fromkeys(SHARED.sums, 0 * every) | {"n_patients": 0 * every + 1}
    both |= {"sum_en": e[:, 0], "sum_nn": n[:, 0]}
    pairs = {"n_units": n.ravel(), "n_events": e.ravel(), "n_patients": 0 * n.ravel() + 1}
    given = {
        COUNTS: (rows, every),
        SHARED: (both, every),
        PATIENT: (pairs, np.repeat(every, N_EVENTS)),
    }
    return {name: form.schema.empty_table() for name, form in COUNT_TABLES.items()} | {
        form.name: _table(form.schema, columns | about(of), len(of))
        for form, (columns, of) in given.items()
    }


def _study() -> Any:  # noqa: ANN401 - studies.load.Study
    """Return the shipped study with the drugs and outcomes of the counts, a class a drug."""
    from dataclasses import replace

    from studies.load import load_study
    from studies.model import DrugTable
    from studies.outcomes import SymptomOutcome, WindowTable

    names = [f"drug{value:03d}" for value in range(N_VALUES)]
    drugs = [
        DrugTable(name=name, concept=name, drug_class=name, course_gap_hours=0) for name in names
    ]
    outcome = SymptomOutcome(
        kind="symptom",
        name="outcome",
        label="Outcome",
        ascertainment="independent",
        window=[WindowTable(), WindowTable(name="control", start_offset_hours=336)],
    )
    outcomes = [
        outcome.model_copy(update={"name": f"outcome{number:02d}"}) for number in range(N_OUTCOMES)
    ]
    shipped = load_study("iv_bisphosphonate")
    changes = {"drug": drugs, "outcome": outcomes}
    return replace(shipped, model=shipped.model.model_copy(update=changes))


def run(folder: Path) -> dict[str, Any]:
    """Make each table that follows from counts alone; then one of them row by row."""
    del folder  # every measurement is given one; this one needs no files
    from statsmodels.stats.proportion import proportion_confint

    from pipelines.signals.tables import MAKERS

    counts, studies = _counts(), [_study()]
    watched = _watched()
    seconds: dict[str, float] = {}
    n_made: dict[str, int] = {}
    for name in (*ALONE, *WATCHED):
        given = watched if name in WATCHED else {"signals.counts": counts}
        began = time.process_time()
        n_made[name] = MAKERS[f"signals.{name}"](given, studies).num_rows
        seconds[name] = time.process_time() - began
    for name, stratum in OF_PATIENTS.items():
        given = _of_patients(stratum)
        began = time.process_time()
        n_made[name] = MAKERS[f"signals.{name}"](given, studies).num_rows
        seconds[name] = time.process_time() - began
    rows = counts.slice(0, SAMPLE).select(["n_events", "n_units"]).to_pylist()
    began = time.process_time()
    for row in rows:
        for method in ("beta", "wilson"):
            proportion_confint(row["n_events"], row["n_units"], method=method)
    peer = (time.process_time() - began) / len(rows) * counts.num_rows
    return {"seconds": seconds, "peer": peer, "n_rows": counts.num_rows, "n_made": n_made}


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
        f"Onset (by the hour: {found['n_made']['onset']:,} rows) and self-controlled windows are "
        "counted in",
        f"tables of their own: {N_WATCHED:,} drugs x {N_OUTCOMES} outcomes. So are patients, for",
        f"comparisons of {N_WATCHED:,} values with the rest and for estimating equations: one",
        f"denominator, {N_EVENTS} patients of one to eight units a value.",
        "",
        "| table | CPU seconds |",
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
