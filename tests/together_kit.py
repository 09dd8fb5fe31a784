"""Hospitals of invented units in one store of linked rows, as `pool-logs` fills it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base.site import Site
from pipelines.signals.counts import COUNT_TABLES
from studies.load import load_study
from tests.pack_kit import STUDY, Unit, counted
from tests.results_kit import parquet
from tests.unit.store_batches import make_site
from warehouse.store import Store
from warehouse.together import ALL_SITES, add_site, add_up


def named_site(root: Path, name: str) -> Site:
    """A site of a name with folders of its own."""
    site = make_site(root / name)
    return site.model_copy(update={"site": site.site.model_copy(update={"id": name})})


def linked_site(root: Path, name: str, units: Iterable[Unit], patients: Sequence[str]) -> Site:
    """A site whose store holds these units' counts, and a course of each of these patients."""
    site, folder = named_site(root, name), root / name
    folder.mkdir()
    head = {"study_id": STUDY, "site_id": name}
    tables: dict[str, list[dict[str, Any]]] = {
        table: rows.to_pylist() for table, rows in counted(name, units).items()
    }
    tables["linkage.course"] = [head | {"unit_id": p, "patient_key": p} for p in patients]
    steps = {"step_number": 6, "step": "units", "n": len(patients)}
    tables["linkage.attrition"] = [head | steps]
    with Store(site) as store:
        store.load_linkage({t: parquet(folder, t, rows) for t, rows in tables.items()}, name)
    return site


def together(root: Path, sites: Iterable[Site]) -> Site:
    """The site whose store holds all of these, each and added up."""
    whole = named_site(root, ALL_SITES)
    with Store(whole) as store:
        for site in sites:
            add_site(store, site.store_path)
        add_up(store, [load_study(STUDY)], "r")
    return whole


def counts_of(con: duckdb.DuckDBPyConnection, name: str) -> Mapping[str, pa.Table]:
    """The tables of counts of a site, as linkage makes them."""
    return {
        table: con.execute(
            f"SELECT {', '.join(form.schema.names)} FROM {table} WHERE site_id = ? ORDER BY ALL",
            [name],
        )
        .to_arrow_table()
        .cast(form.schema)
        for table, form in COUNT_TABLES.items()
    }
