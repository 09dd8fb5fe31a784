"""Digests: blind to order and to runs, and to nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.base.duck import connect
from pipelines.base.errors import StorageError
from tests.examples import examples
from tests.unit.store_batches import make_site
from warehouse.digest import HISTORY_TABLES, LEVELS, Digest, combine, digest, table_digest
from warehouse.models import in_schemas
from warehouse.store import Store

#: What a cell can hold, with the pairs that a careless encoding would confuse.
CELLS: dict[str, list[Any]] = {
    "VARCHAR": [None, "", "a", "b", "1:a", "-", "NULL", "a, b", "ä"],
    "BIGINT": [None, 0, 1, 11, -1, 2**62],
    "DOUBLE": [None, 0.0, 0.1, 0.1 + 2**-56, 0.30000000000000004, 0.3, 1e300, float("inf")],
    "BOOLEAN": [None, True, False],
    "VARCHAR[]": [None, [], [""], ["a", "b"], ["a, b"], ["a", None], [None]],
}
COLUMNS = tuple(CELLS)

Row = tuple[Any, ...]
rows_of = st.lists(st.tuples(*(st.sampled_from(cells) for cells in CELLS.values())), max_size=6)


def digest_of(rows: list[Row], run: str = "r", columns: tuple[str, ...] = COLUMNS) -> str:
    with connect() as con:
        con.execute("ATTACH ':memory:' AS w")
        con.execute("CREATE SCHEMA w.linkage")
        listed = ", ".join(f"c{number} {kind}" for number, kind in enumerate(columns))
        con.execute(f"CREATE TABLE w.linkage.t ({listed}, run_id VARCHAR, source_row BIGINT)")
        marks = ", ".join("?" * (len(columns) + 2))
        for number, row in enumerate(rows):
            con.execute(f"INSERT INTO w.linkage.t VALUES ({marks})", [*row, run, number])
        return table_digest(con, "w", "linkage", "t")


@settings(max_examples=examples(10), deadline=None)
@given(rows_of, st.data())
def test_order_and_run_do_not_matter(rows: list[Row], data: st.DataObject) -> None:
    assert digest_of(data.draw(st.permutations(rows)), "other") == digest_of(rows)


@settings(max_examples=examples(20), deadline=None)
@given(rows_of.filter(bool), st.data())
def test_any_changed_cell_changes_it(rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(COLUMNS) - 1))
    old = rows[place][column]
    new = data.draw(
        st.sampled_from([cell for cell in CELLS[COLUMNS[column]] if repr(cell) != repr(old)])
    )
    changed = list(rows)
    changed[place] = (*rows[place][:column], new, *rows[place][column + 1 :])
    assert digest_of(changed) != digest_of(rows)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([("a", "b")], [("ab", "")]),
        ([("a", None)], [(None, "a")]),
        ([("a", "b"), ("a", "b")], [("c", "d"), ("c", "d")]),
        ([("a", "b"), ("a", "b")], [("a", "b")]),
        ([("a", "b"), ("c", "d")], [("a", "d"), ("c", "b")]),
        ([], [(None, None)]),
    ],
)
def test_rows_that_look_alike_differ(left: list[Row], right: list[Row]) -> None:
    kinds = ("VARCHAR", "VARCHAR")
    assert digest_of(left, columns=kinds) != digest_of(right, columns=kinds)


def test_cells_that_sql_calls_equal_are_equal() -> None:
    kinds = ("DOUBLE",)
    assert digest_of([(-0.0,)], columns=kinds) == digest_of([(0.0,)], columns=kinds)


def test_a_column_by_another_name_is_another_table() -> None:
    assert combine({"a.b": "x"}) != combine({"a.c": "x"})


def test_a_store_has_a_digest_for_each_table_of_linkage_and_signals(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        expected = store.state_digests()
    found = digest(site.store_path)
    assert found == Digest("state", combine(expected), expected)
    assert str(found) == found.value
    modelled = {one.full_name for one in in_schemas("linkage", "signals")}
    assert {"linkage.course", "signals.risk"} < set(expected)
    assert set(expected) == modelled - HISTORY_TABLES


def test_looks_and_alerts_are_history_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    tables = ("ops.look", "ops.run", "signals.alert", "signals.risk", "signals.sequential")
    with connect(path) as con:
        con.execute("CREATE SCHEMA ops; CREATE SCHEMA signals")
        for name in tables:
            con.execute(f"CREATE TABLE {name} AS SELECT 1 AS n, 'r' AS run_id")
    before = {level: digest(path, level) for level in LEVELS}
    assert set(before["state"].tables) == {"signals.risk"}
    assert set(before["history"].tables) == {"ops.look", "signals.alert", "signals.sequential"}
    with connect(path) as con:
        con.execute("UPDATE signals.alert SET n = 2")
    assert digest(path).value == before["state"].value
    assert digest(path, "history").value != before["history"].value


def test_a_digest_of_nothing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        digest(tmp_path / "none.duckdb")
    (tmp_path / "text.duckdb").write_text("this is no database" * 999)
    with pytest.raises(StorageError):
        digest(tmp_path / "text.duckdb")
