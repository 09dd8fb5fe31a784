"""Whether the rows of a signed pack can be counts of patients: what no hospital can have counted.

A site's own fault is refused like a forger's: a number that can't be one would pass through every
estimator into a pooled one, and a text that is none into a terminal, a page and a spreadsheet.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipelines.disclosure import FEW, PATIENTS, SMALL
from pipelines.disclosure.tables import REASON
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.disclosure.watched import SCHEMA as WATCHED_SCHEMA
from pipelines.pooling.table_files import parts
from pipelines.signals.counts import COUNT_TABLES, COUNTS, MOMENT_COLUMNS, SHARED
from pipelines.signals.risk import RISK_SCHEMA

#: Site-level estimates: the risks of the rows that are told.
RISK = "signals.risk"
#: Every table of a pack, with its columns.
TABLES: dict[str, pa.Schema] = {
    **{
        name: form.schema.append(pa.field(REASON, pa.string()))
        for name, form in COUNT_TABLES.items()
    },
    RISK: RISK_SCHEMA,
    WATCHED: WATCHED_SCHEMA,
}
#: Of units: more than all the hospitals of a continent give. Squares of it are exact in 64 bits.
LARGEST = 10**8
LONGEST = 200
_REASONS = {None, PATIENTS, SMALL, FEW}
#: What a spreadsheet would take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")

Row = Mapping[str, Any]


def is_text(value: object) -> bool:
    """Whether something is a text that can be shown anywhere: of one line, without control codes.

    Marks that turn the direction of writing are control codes here: what they show isn't there.
    """
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        return False
    kinds = {unicodedata.category(one) for one in value}
    return not value.startswith(_FORMULA) and not any(
        k[0] == "C" or k in {"Zl", "Zp"} for k in kinds
    )


def mistake_of_rows(facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> str | None:
    """Return the first thing that is wrong with the tables of a pack; None where nothing is."""
    for name, schema in TABLES.items():
        if name not in tables or tables[name].schema != schema:
            return f"The table {name} is missing, or has other columns."
    studies = {study["study_id"] for study in facts["studies"]}
    for name, table in tables.items():
        seen: set[tuple[object, ...]] = set()
        for row in _rows(table):
            about = tuple(row[key] for key in _KEYS[name])
            if about in seen or row["site_id"] != facts["site_id"]:
                return f"A row of {name} is there twice, or is of another site."
            seen.add(about)
            if row["study_id"] not in studies:
                return f"A row of {name} is of a study that the manifest does not name."
            if mistake := _mistake(name, row, facts["threshold"]):
                return mistake
    return _without_whole(tables[COUNTS.name])


_KEYS = {
    **{name: form.keys for name, form in COUNT_TABLES.items()},
    RISK: COUNTS.keys,
    WATCHED: ("study_id", "site_id", "outcome", "window_name", "watched"),
}


def _rows(table: pa.Table) -> Iterator[Row]:
    return (row for part in parts(table) for row in part)


def _mistake(name: str, row: Row, threshold: int) -> str | None:
    keys = _KEYS[name]
    texts = [value for key, value in row.items() if isinstance(value, str) or key in keys]
    if not all(is_text(value) for value in texts if not isinstance(value, int)):
        return f"A row of {name} has no key, or holds something that is no text of one line."
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
    if not all(_is_number(key, value) for key, value in numbers.items()):
        return f"A row of {name} holds a number that can't be a count or an estimate."
    if name == COUNTS.name:
        return _mistake_of_counts(row, threshold)
    if name == SHARED.name and not _is_shared(row):
        return f"A row of {name} counts what can't be."
    if name == WATCHED and not _is_watched(row):
        return "A row of what is watched is told by half, or holds what can't be."
    return None


def _is_watched(row: Row) -> bool:
    """Whether units and events of a pair, or their range, can be of one ward."""
    units = (row["n_units_first"], row["n_units_later"])
    events, ends = row["n_events"], (row["n_events_low"], row["n_events_high"])
    reason = SMALL if ends == (None, None) else FEW if events is None else None
    if row[REASON] != reason or re.fullmatch(r"[0-9a-f]{64}", row["pair_hash"] or "") is None:
        return False
    if units == (None, None) or ends == (None, None):
        return (None in units) == (units == (None, None)) and (*ends, events) == (None,) * 3
    if None in (*units, *ends):
        return False
    low, high = ends
    return low <= high <= sum(units) <= LARGEST and (events is None or low == events == high)


def _is_number(key: str, value: float) -> bool:
    if isinstance(value, int):
        if key.endswith("_us"):
            return 0 <= value <= 2**62
        # Squares and products of units; the bin before all others is -1.
        return -1 <= value <= LARGEST if key == "bin" else 0 <= value <= LARGEST**2
    return math.isfinite(value)


def _mistake_of_counts(row: Row, threshold: int) -> str | None:
    reason, e, n = row[REASON], row["n_events"], row["n_units"]
    if reason not in _REASONS or (e is None) != (reason in {SMALL, FEW}):
        return "A row of counts is masked without a reason, or has a reason and is not masked."
    if e is None:
        told = [v for key, v in row.items() if v is not None and key in COUNTS.sums]
        # A row of few events tells its units, and of those there are more than few.
        if told != ([] if n is None else [n]) or (n is not None and not threshold <= n <= LARGEST):
            return "A masked row of counts tells a count."
        return None
    if any(row[name] is None for name in MOMENT_COLUMNS if name != "n_patients"):
        return "A row of counts lacks its sums."
    return None if _can_be(row) else "A row of counts holds numbers that can't be of one ward."


def _can_be(row: Row) -> bool:
    """Whether events e and units n of patients can have these sums: e <= n in each of them."""
    e, n, g = (row[name] for name in ("n_events", "n_units", "n_patients"))
    e2, en, n2 = (row[name] for name in ("sum_e2", "sum_en", "sum_n2"))
    return (
        e <= n <= LARGEST
        and n <= n2 <= n * n
        and e <= e2 <= e * e
        and e2 <= en <= n2
        and en * en <= e2 * n2  # Cauchy and Schwarz
        and (g is None or (min(n, 1) <= g <= n and n * n <= g * n2))
    )


def _is_shared(row: Row) -> bool:
    ee, en, ne, nn = (row[f"sum_{name}"] for name in ("ee", "en", "ne", "nn"))
    if row[REASON] not in {None, PATIENTS} or None in (ee, en, ne, nn):
        return False
    g, again = row["n_patients"], row["n_again"] or 0
    return ee <= min(en, ne) and max(en, ne) <= nn and (g is None or again <= g <= nn)


def _without_whole(counts: pa.Table) -> str | None:
    keys = {tuple(row[name] for name in COUNTS.keys) for row in _rows(counts)}
    wholes = {key[:4] + key[6:] for key in keys if key[4:6] == ("all", "all")}
    if any(key[:4] + key[6:] not in wholes for key in keys):
        return "A row of a stratum has no row of all units."
    return None
