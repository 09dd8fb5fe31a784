"""Invented hospitals for packs: units, counted the slow way, and a warehouse of the counts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from flows.init import site_toml, write_new
from pipelines.base.duck import connect, quote
from pipelines.base.files import make_private
from pipelines.base.site import Site, load_site
from pipelines.disclosure.watched import COLUMNS as WATCHED_COLUMNS
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.signals.counts import COUNT_TABLES, COUNTS, SHARED
from studies.load import load_study

STUDY = "iv_bisphosphonate"
DAY_US = 86_400_000_000
Row = dict[str, Any]


class Unit(NamedTuple):
    """An infusion, and what followed it in the risk window."""

    patient: int
    sex: str
    ordinal: str
    event: bool
    censored: bool


def units_of(seed: int, n_patients: int, risk: float, again: float = 0.8) -> list[Unit]:
    """Draw a hospital: children with one or more infusions, and fever after some of them."""
    luck = random.Random(seed)  # noqa: S311 - invented children
    found = []
    for patient in range(n_patients):
        sex = luck.choice(("female", "male"))
        n = 1 + sum(luck.random() < again for _ in range(4))
        for number in range(n):
            event = luck.random() < risk * (1.5 if number == 0 else 0.8)
            ordinal = "first" if number == 0 else "later"
            found.append(Unit(patient, sex, ordinal, event, not event and luck.random() < 0.1))
    return found


def counted(site_id: str, units: Iterable[Unit], never: str = "") -> dict[str, pa.Table]:
    """Count a hospital unit by unit: fever, risk window, three strata and one crossed.

    `never` is an outcome that nobody had: its counts tell how many units there are.
    """
    rows, shared = [], []
    every = list(units)
    for denominator in ("all", "complete"):
        inside = [one for one in every if denominator == "all" or not one.censored]
        for stratum, value, some in _strata(inside):
            rows.append(_row(site_id, stratum, value, denominator, some, every))
        shared += _shared(site_id, denominator, inside)
    if never:
        none = {"outcome": never, "n_events": 0, "sum_e2": 0, "sum_en": 0}
        rows += [row | none for row in rows]
        none = {"outcome": never, **dict.fromkeys(("sum_ee", "sum_en", "sum_ne"), 0)}
        shared += [row | none for row in shared]
    tables = {name: form.schema.empty_table() for name, form in COUNT_TABLES.items()}
    tables[COUNTS.name] = pa.Table.from_pylist(rows, schema=COUNTS.schema)
    tables[SHARED.name] = pa.Table.from_pylist(shared, schema=SHARED.schema)
    return tables


def _strata(units: list[Unit]) -> Iterator[tuple[str, str, list[Unit]]]:
    yield "all", "all", units
    for sex in ("female", "male"):
        yield "sex", sex, [one for one in units if one.sex == sex]
    for ordinal in ("first", "later"):
        yield "ordinal", ordinal, [one for one in units if one.ordinal == ordinal]
        for sex in ("female", "male"):
            some = [one for one in units if (one.sex, one.ordinal) == (sex, ordinal)]
            yield "sex x ordinal", f"{sex} x {ordinal}", some


def _row(
    site_id: str, stratum: str, value: str, d: str, units: list[Unit], every: list[Unit]
) -> Row:
    e, n = _by_patient(units)
    return {
        "study_id": STUDY,
        "site_id": site_id,
        "outcome": "fever",
        "window_name": "risk",
        "stratum": stratum,
        "stratum_value": value,
        "denominator": d,
        "n_units": len(units),
        "n_events": sum(one.event for one in units),
        "n_patients": len(n),
        "sum_e2": sum(e[p] ** 2 for p in n),
        "sum_en": sum(e[p] * n[p] for p in n),
        "sum_n2": sum(n[p] ** 2 for p in n),
        "person_us": 3 * DAY_US * len(units),
        "n_closed_units": len(every),
        "n_censored": sum(one.censored for one in every),
        **dict.fromkeys(("n_open", "n_open_event", "n_not_at_risk", "n_ineligible"), 0),
        "n_observed": len(every) - sum(one.censored for one in every),
        "n_rows": len(every),
    }


def _by_patient(units: Iterable[Unit]) -> tuple[dict[int, int], dict[int, int]]:
    e: dict[int, int] = defaultdict(int)
    n: dict[int, int] = defaultdict(int)
    for one in units:
        e[one.patient] += one.event
        n[one.patient] += 1
    return e, n


def _shared(site_id: str, denominator: str, units: list[Unit]) -> list[Row]:
    sides = {o: _by_patient(u for u in units if u.ordinal == o) for o in ("first", "later")}
    found = []
    for value, other in (("first", "later"), ("later", "first")):
        (e, n), (oe, on) = sides[value], sides[other]
        both = [p for p in n if p in on]
        found.append(
            {
                "study_id": STUDY,
                "site_id": site_id,
                "outcome": "fever",
                "window_name": "risk",
                "stratum": "ordinal",
                "stratum_value": value,
                "contrast": "rest",
                "other_value": "rest",
                "denominator": denominator,
                "n_patients": len(both),
                "n_again": len(both) if value == "later" else 0,
                "sum_ee": sum(e[p] * oe[p] for p in both),
                "sum_en": sum(e[p] * on[p] for p in both),
                "sum_ne": sum(n[p] * oe[p] for p in both),
                "sum_nn": sum(n[p] * on[p] for p in both),
            }
        )
    return found


def make_site(
    root: Path, site_id: str, units: Iterable[Unit], min_cell: int = 11, never: str = ""
) -> Site:
    """Make a site whose warehouse holds these units' counts, as if it had been refreshed."""
    make_private(root / "restricted")
    values: dict[str, Mapping[str, Any]] = {
        "site": {"id": site_id, "zone": "Europe/Berlin", "studies": [STUDY], "synthetic": True},
        "privacy": {"min_cell": min_cell},
    }
    write_new(root / "site.toml", site_toml(values), 0o644)
    site = load_site(root)
    publish(site, counted(site_id, units, never))
    return site


def publish(site: Site, tables: Mapping[str, pa.Table]) -> None:
    """Replace the warehouse by one of these counts."""
    site.warehouse.unlink(missing_ok=True)
    with connect(site.warehouse) as con:
        for schema in ("signals", "reference", "quality"):
            con.execute(f"CREATE SCHEMA {schema}")
        watched = pa.schema([(name, _kind(name)) for name in WATCHED_COLUMNS]).empty_table()
        for name, table in {WATCHED: watched, **tables}.items():
            _create(con, name, table)
        told = [STUDY, load_study(STUDY).study_hash]
        con.execute("CREATE TABLE reference.study AS SELECT ? AS study_id, ? AS study_hash", told)
        con.execute(
            "CREATE TABLE reference.freshness AS SELECT ? AS site_id, 'ehr' AS source, "
            "'LabResulted' AS event_type, ?::TIMESTAMP AS complete_through_at, "
            "NULL::TIMESTAMP AS stale_since_at",
            [site.site.id, datetime(2026, 5, 17, 3, 30)],  # noqa: DTZ001 - as DuckDB keeps it
        )
        con.execute(
            "CREATE TABLE quality.reconciliation AS SELECT ? AS site_id, "
            "'LabResulted' AS event_type, 4000 AS n_read, 92 AS n_quarantined",
            [site.site.id],
        )


def _kind(name: str) -> pa.DataType:
    return pa.int64() if name.startswith("n_") else pa.string()


def _create(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    con.register("rows_of_test", table)
    schema, short = name.split(".")
    con.execute(f"CREATE TABLE {schema}.{quote(short)} AS FROM rows_of_test")
    con.unregister("rows_of_test")
