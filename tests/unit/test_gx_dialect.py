"""Great Expectations' way to a DuckDB connection of this process."""

from __future__ import annotations

import duckdb
import pytest
from sqlalchemy import inspect, text

from expectations.dialect import SharedConnection, engine
from pipelines.base.duck import connect


def test_rows_outlive_the_connection_that_fetched_them() -> None:
    cursor = SharedConnection(connect()).cursor()
    cursor.execute("SELECT * FROM range(5)")
    assert cursor.description is not None
    cursor.connection.close()
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert cursor.fetchmany() == [(3,)]
    assert cursor.fetchall() == [(4,)]
    assert cursor.fetchone() is None


def test_two_cursors_keep_their_own_rows() -> None:
    shared = SharedConnection(connect())
    first, second = shared.cursor(), shared.cursor()
    first.execute("SELECT 1")
    second.execute("SELECT 2")
    assert (first.fetchall(), second.fetchall()) == ([(1,)], [(2,)])


def test_the_owner_keeps_its_connection_and_its_transaction() -> None:
    con = connect()
    con.execute("CREATE TABLE t (i INTEGER)")
    con.execute("BEGIN")
    con.execute("INSERT INTO t VALUES (1)")
    with engine(con).connect() as used:
        assert used.execute(text("SELECT count(*) FROM t")).scalar() == 1
        used.commit()
    engine(con).dispose()
    con.execute("ROLLBACK")
    assert con.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_an_error_of_duckdb_is_passed_on_without_the_value_that_it_quotes() -> None:
    with pytest.raises(duckdb.Error) as caught:
        SharedConnection(connect()).cursor().execute("SELECT CAST('Jane Doe' AS INTEGER)")
    assert "Jane" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_columns_of_tables_and_views_are_read_in_order_with_their_types() -> None:
    con = connect()
    con.execute(
        "CREATE SCHEMA s; CREATE TABLE s.t (b BIGINT, a VARCHAR, t TIMESTAMP, flags VARCHAR[]);"
        "CREATE TABLE t (other INTEGER); CREATE VIEW s.v AS SELECT a FROM s.t"
    )
    found = inspect(engine(con))
    assert [(one["name"], str(one["type"])) for one in found.get_columns("t", "s")] == [
        ("b", "BIGINT"),
        ("a", "VARCHAR"),
        ("t", "TIMESTAMP"),
        ("flags", "VARCHAR"),
    ]
    assert [one["name"] for one in found.get_columns("v", "s")] == ["a"]
    assert found.has_table("v", "s")
    assert not found.has_table("v")
    assert found.get_pk_constraint("t", "s")["constrained_columns"] == []
