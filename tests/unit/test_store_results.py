"""Loading linkage into the store: content is replaced, unchanged rows keep their run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import StorageError
from tests.results_kit import parquet
from tests.unit.store_batches import make_batch, make_site
from warehouse.models import in_schemas, model
from warehouse.store import Store

STEP = "linkage.attrition"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_site(tmp_path)) as opened:
        yield opened


def step(number: int, n: int | None) -> dict[str, Any]:
    return {"study_id": "s", "site_id": "north", "step_number": number, "step": "x", "n": n}


def load(store: Store, folder: Path, run: str, rows: list[dict[str, Any]]) -> tuple[int, int, int]:
    [loaded] = store.load_linkage({STEP: parquet(folder, STEP, rows)}, run)
    return loaded.n_rows, loaded.n_added, loaded.n_removed


def runs(store: Store) -> dict[int, tuple[int | None, str]]:
    rows = store.con.execute("SELECT step_number, n, run_id FROM linkage.attrition").fetchall()
    return {number: (n, run) for number, n, run in rows}


def test_rows_that_stay_keep_their_run_and_changed_ones_get_the_new(
    store: Store, tmp_path: Path
) -> None:
    assert load(store, tmp_path, "r1", [step(1, 10), step(2, 5), step(3, None)]) == (3, 3, 0)
    assert load(store, tmp_path, "r2", [step(3, None), step(1, 10), step(2, 4)]) == (3, 1, 1)
    assert runs(store) == {1: (10, "r1"), 2: (4, "r2"), 3: (None, "r1")}


def test_the_same_rows_again_change_nothing(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, "r1", [step(1, 10), step(2, None)])
    before = store.state_hash(), store.state_digests()
    assert load(store, tmp_path, "r2", [step(2, None), step(1, 10)]) == (2, 0, 0)
    assert (store.state_hash(), store.state_digests()) == before


def test_a_changed_row_changes_the_state(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, "r1", [step(1, 10)])
    before = store.state_hash()
    load(store, tmp_path, "r2", [step(1, 11)])
    assert store.state_hash() != before
    load(store, tmp_path, "r3", [step(1, 10)])
    assert store.state_hash() == before


def test_no_file_empties_a_table_and_an_unnamed_table_stays(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, "r1", [step(1, 10)])
    store.load_linkage({"linkage.course": []}, "r2")
    assert set(runs(store)) == {1}
    store.load_linkage({STEP: []}, "r3")
    assert runs(store) == {}


def test_every_table_of_linkage_and_signals_can_be_loaded(store: Store, tmp_path: Path) -> None:
    tables = {
        m.full_name: parquet(tmp_path, m.full_name, []) for m in in_schemas("linkage", "signals")
    }
    assert [loaded.name for loaded in store.load_linkage(tables, "r1")] == sorted(tables)


def test_a_load_that_fails_leaves_all_tables_as_they_were(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, "r1", [step(1, 10)])
    tables = {
        STEP: parquet(tmp_path, STEP, [step(1, 11)]),
        "signals.risk": [tmp_path / "absent.parquet"],
    }
    with pytest.raises(StorageError):
        store.load_linkage(tables, "r2")
    assert runs(store) == {1: (10, "r1")}


def test_two_rows_of_one_key_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 keys have more than one row; One row per site"):
        load(store, tmp_path, "r1", [step(1, 10), step(1, 11)])
    assert runs(store) == {}


def test_columns_that_do_not_fit_are_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"study_id": ["s"], "odd": ["SECRET"]}), path)
    with pytest.raises(ValueError, match=r"columns missing: n, site_id.*columns unknown: odd") as c:
        store.load_linkage({STEP: [path]}, "r1")
    assert "SECRET" not in str(c.value)


def test_a_value_that_does_not_fit_is_not_told(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    rows = {name: ["SECRET"] for name in model(STEP).content_columns}
    pq.write_table(pa.table(rows), path)
    with pytest.raises(StorageError) as caught:
        store.load_linkage({STEP: [path]}, "r1")
    assert "SECRET" not in f"{caught.value} {caught.value.__cause__}"


def test_studies_are_replaced_and_noticed(store: Store) -> None:
    row = {"study_id": "s", "title": "T", "version": "1", "study_hash": "h", "settings_json": "{}"}
    before = store.state_hash()
    store.load_reference({"study": [row]})
    after = store.state_hash()
    assert after != before
    assert not store.load_reference({"reference.study": [row]})[0].has_changed
    assert store.state_hash() == after
    [loaded] = store.load_reference({"study": [row | {"title": "U"}]})
    assert (loaded.n_rows, loaded.n_added, loaded.n_removed) == (1, 1, 1)
    with pytest.raises(ValueError, match="columns missing: title"):
        store.load_reference({"study": [{k: v for k, v in row.items() if k != "title"}]})


def test_the_state_knows_each_batch_but_not_their_order(tmp_path: Path) -> None:
    batches = [make_batch(name, {"LabResulted": []}) for name in "abc"]
    hashes = []
    for number, order in enumerate([batches, batches[::-1], batches[:2]]):
        with Store(make_site(tmp_path / str(number))) as store:
            store.apply(order)
            hashes.append(store.state_hash())
    assert hashes[0] == hashes[1] != hashes[2]
