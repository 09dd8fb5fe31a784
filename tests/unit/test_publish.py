"""The published warehouse: what it holds, what it leaves out, how it takes its place."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import warehouse.publish as publishing
from pipelines.base.duck import connect, literal
from pipelines.base.errors import QueryError, StorageError
from pipelines.base.site import Site
from tests.results_kit import parquet
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.models import load_models, model
from warehouse.publish import publish, publish_if_needed, published_state
from warehouse.query import run_query
from warehouse.store import RunRecord, Store


def outcome_row(outcome: str) -> dict[str, Any]:
    head = {"study_id": "s", "site_id": "north", "outcome": outcome, "window_name": "risk"}
    return head | {"unit_id": "u", "status": "event", "record_key": "k", "role": "event"}


def only(table: str, row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in model(table).column_names}


def fill(store: Store, folder: Path) -> None:
    """A store with one published and one unpublished outcome, a batch and a run."""
    store.record_run(RunRecord("r1", "north", night(0), "0.1.0", "in_process"))
    lab = event("LabResulted", "l", value=1.0, occurred_at=night(-1).replace(tzinfo=None))
    bad = [{"event_type": "LabResulted", "record_key": "bad"}]
    store.apply([make_batch("b1", {"LabResulted": [lab]}, quarantined=bad)], "r1")
    store.load_reference(
        {
            "outcome": [
                {
                    "study_id": "s",
                    "outcome": name,
                    "label": name.title(),
                    "kind": "fever",
                    "is_published": is_published,
                    "definition": "d",
                    "in_words": "w",
                }
                for name, is_published in (("fever", True), ("chills", False))
            ]
        }
    )
    rows = [outcome_row("fever"), outcome_row("chills")]
    risk = {"stratum": "all", "stratum_value": "all", "denominator": "complete"} | {
        "is_headline": True,
        "n_units": 4,
        "n_events": 1,
        "risk": 0.25,
    }
    tables = {
        "linkage.infusion": [{"study_id": "s", "site_id": "north", "infusion_key": "i"}],
        "linkage.course": [{"study_id": "s", "site_id": "north", "unit_id": "u"}],
        "linkage.unit_outcome": [only("linkage.unit_outcome", row) for row in rows],
        "linkage.evidence": [only("linkage.evidence", row) for row in rows],
        "linkage.attrition": [
            {"study_id": "s", "site_id": "north", "step_number": 1, "step": "x", "n": 1}
        ],
        "signals.counts": [only("signals.counts", row | risk) for row in rows],
        "signals.risk": [only("signals.risk", row | risk) for row in rows],
    }
    store.load_linkage({name: parquet(folder, name, rows) for name, rows in tables.items()}, "r1")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def published(site: Site, folder: Path) -> Path:
    with Store(site) as store:
        fill(store, folder)
        publish(store, site, "r1")
    return site.warehouse


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that has published, for tests that only read."""
    folder = tmp_path_factory.mktemp("published-once")
    site = make_site(folder)
    published(site, folder)
    return site


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    return list(run_query(path, sql).rows)


def test_every_table_is_there_and_every_table_and_column_says_what_it_is(once: Site) -> None:
    path = once.warehouse
    tables = ask(
        path,
        """SELECT schema_name, table_name, comment FROM duckdb_tables()
        WHERE database_name = 'warehouse'
        UNION ALL SELECT schema_name, view_name, comment FROM duckdb_views()
        WHERE database_name = 'warehouse' AND NOT internal""",
    )
    assert {f"{schema}.{name}" for schema, name, _ in tables} == {
        found.full_name for found in load_models()
    }
    for schema, name, comment in tables:
        assert comment, f"{schema}.{name} has no comment"
        assert comment.endswith(model(f"{schema}.{name}").grain)
    columns = ask(
        path,
        """SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns()
        WHERE database_name = 'warehouse' AND NOT internal""",
    )
    assert {(f"{s}.{t}", name, kind) for s, t, name, kind, _ in columns} == {
        (found.full_name, column.name, column.type)
        for found in load_models()
        for column in found.columns
    }
    assert [row for row in columns if not row[-1]] == []


def test_the_dictionary_in_the_file_says_what_the_comments_say(once: Site) -> None:
    path = once.warehouse
    differing = ask(
        path,
        """SELECT d.* FROM reference.dictionary AS d
        LEFT JOIN duckdb_columns() AS c
            ON c.database_name = 'warehouse' AND c.schema_name = d.schema_name
            AND c.table_name = d.table_name AND c.column_name = d.column_name
        WHERE d.column_name IS NOT NULL
            AND (c.comment IS DISTINCT FROM d.description OR c.data_type <> d.data_type)""",
    )
    assert differing == []


@pytest.mark.parametrize("found", load_models(), ids=lambda found: found.full_name)
def test_no_two_rows_share_the_key_of_their_table(found: Any, once: Site) -> None:
    keys = ", ".join(found.key)
    repeated = ask(
        once.warehouse, f"SELECT {keys} FROM {found.full_name} GROUP BY ALL HAVING count(*) > 1"
    )
    assert repeated == []


def test_outcomes_that_the_study_only_reads_stay_in_the_store(once: Site) -> None:
    path = once.warehouse
    for table in ("linkage.unit_outcome", "linkage.evidence", "signals.counts", "signals.risk"):
        assert ask(path, f"SELECT outcome FROM {table}") == [("fever",)]
    with Store(once) as store:
        stored = store.con.execute("SELECT count(*) FROM linkage.unit_outcome").fetchone()
        assert stored == (2,)


def test_without_row_level_no_row_of_a_patient_is_published(tmp_path: Path) -> None:
    path = published(make_site(tmp_path, row_level="none"), tmp_path)
    of_patients = [found for found in load_models() if found.holds_patients]
    linkage = {found.full_name for found in load_models() if found.schema == "linkage"}
    views = {"analysis.unit", "analysis.unit_outcome"}
    assert {found.full_name for found in of_patients} - {"quality.quarantine"} == (
        (linkage - {"linkage.attrition"}) | views
    )
    # Counts of the flow of exclusion are no rows of patients.
    assert len(ask(path, "SELECT * FROM linkage.attrition")) == 1
    for found in of_patients:
        assert ask(path, f"SELECT * FROM {found.full_name}") == []
        assert len(run_query(path, f"SELECT * FROM {found.full_name}").columns) == len(
            found.columns
        )
    assert ask(path, "SELECT n_events, n_units FROM signals.risk") == [(1, 4)]


def test_with_internal_rows_of_patients_are_published(once: Site) -> None:
    path = once.warehouse
    for table in ("infusion", "course", "unit_outcome", "evidence", "attrition"):
        assert len(ask(path, f"SELECT * FROM linkage.{table}")) == 1


def test_views_answer(once: Site) -> None:
    path = once.warehouse
    assert ask(path, "SELECT outcome, label, risk_percent FROM analysis.headline_risk") == [
        ("fever", "Fever", 25.0)
    ]
    assert ask(path, "FROM analysis.data_through") == [
        ("north", "LabResulted", *[night(0).replace(tzinfo=None)] * 2, 1, "ehr", 1, 0, None)
    ]
    assert ask(path, "FROM analysis.failed_checks") == []
    assert ask(path, "SELECT in_words IS NULL, cautions FROM analysis.risk") == [
        (True, []),  # no interval was written here, nor how many patients there were
    ]
    assert ask(path, "SELECT site_id, is_synthetic, n_feeds, stale_feeds FROM analysis.freshness")


def test_views_answer_when_the_file_is_attached_under_another_name(once: Site) -> None:
    path = once.warehouse
    with connect() as con:
        con.execute(f"ATTACH {literal(str(path))} AS elsewhere (READ_ONLY)")
        rows = con.execute("SELECT outcome FROM elsewhere.analysis.headline_risk").fetchall()
    assert rows == [("fever",)]


def test_the_file_names_its_state_and_its_run(once: Site) -> None:
    path = once.warehouse
    facts = dict(ask(path, "FROM ops.state"))
    assert facts["published_by_run"] == "r1"
    assert facts["row_level"] == "internal"
    assert facts["is_synthetic"] == "false"
    assert ask(path, "SELECT run_id, status, state_hash FROM ops.run") == [
        ("r1", "running", facts["state_hash"])
    ]
    with Store(once) as store:
        assert store.state_hash() == facts["state_hash"] == published_state(path)


def test_nothing_new_is_not_published(site: Site, tmp_path: Path) -> None:
    path = published(site, tmp_path)
    inode = path.stat().st_ino
    with Store(site) as store:
        assert publish_if_needed(store, site, "r2") is None
        assert path.stat().st_ino == inode
        store.apply([make_batch("b2", {"LabResulted": []})], "r2")
        assert publish_if_needed(store, site, "r2") is not None
        assert publish_if_needed(store, site, "r2") is None
    assert path.stat().st_ino != inode
    assert ask(path, "SELECT batch_id FROM ops.batch ORDER BY ALL") == [("b1",), ("b2",)]


@pytest.mark.parametrize("spoil", ["absent", "garbage", "foreign"])
def test_a_missing_or_foreign_file_is_published_over(
    site: Site, tmp_path: Path, spoil: str
) -> None:
    path = published(site, tmp_path)
    path.unlink()
    if spoil == "garbage":
        path.write_bytes(b"this is no database" * 999)
    if spoil == "foreign":
        with connect(path) as con:
            con.execute("CREATE TABLE t AS SELECT 1 AS a")
    with Store(site) as store:
        assert publish_if_needed(store, site, "r2") is not None
    assert ask(path, "SELECT n_events FROM signals.risk") == [(1,)]


def test_the_file_is_readable_by_owner_and_group_and_stands_alone(
    site: Site, tmp_path: Path
) -> None:
    previous = os.umask(0o077)
    try:
        path = published(site, tmp_path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in path.parent.iterdir() if entry.is_dir()] == ["restricted"]
    assert not list(path.parent.glob("*.wal"))


def test_what_a_killed_publication_left_is_removed(site: Site, tmp_path: Path) -> None:
    left = site.warehouse.parent / ".dripwatch-publish-killed"
    left.mkdir()
    (left / "warehouse.duckdb").write_bytes(b"half")
    published(site, tmp_path)
    assert not left.exists()


def test_a_publication_that_fails_leaves_the_old_file_and_a_store_that_works(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = published(site, tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(
        publishing,
        "_run_models",
        lambda con, _site: con.execute("USE published; SELECT 'SECRET'::INTEGER"),
    )
    with Store(site) as store:
        store.apply([make_batch("b2", {"LabResulted": []})], "r2")
        with pytest.raises(StorageError) as caught:
            publish(store, site, "r2")
        assert "SECRET" not in str(caught.value)
        assert path.read_bytes() == before
        assert list(path.parent.glob(".dripwatch-publish-*")) == []
        monkeypatch.undo()
        assert publish_if_needed(store, site, "r2") is not None
    assert ask(path, "SELECT count(*) FROM ops.batch") == [(2,)]


def test_one_store_gives_one_digest_whoever_publishes_it(site: Site, tmp_path: Path) -> None:
    from warehouse.digest import HISTORY_TABLES, digest

    first = digest(published(site, tmp_path))
    with Store(site) as store:
        publish(store, site, "r9")
    assert digest(site.warehouse) == first
    assert set(first.tables) == {
        found.full_name
        for found in load_models()
        if found.schema in ("linkage", "signals") and found.full_name not in HISTORY_TABLES
    }


class TestQuery:
    """`dripwatch sql`: the analyst's statement, and nothing beside the file."""

    def test_answers_with_names_types_and_rows(self, once: Site) -> None:
        result = run_query(once.warehouse, "SELECT n_units, risk FROM signals.risk")
        assert result.columns == ("n_units", "risk")
        assert result.types == ("BIGINT", "DOUBLE")
        assert result.rows == ((4, 0.25),)

    @pytest.mark.parametrize(
        "sql",
        [
            "SELEC 1",
            "SELECT nothing FROM signals.risk",
            "DELETE FROM signals.risk",
            "CREATE TABLE signals.t (a INTEGER)",
            "COPY signals.risk TO '/tmp/leak.csv'",
            "ATTACH '/tmp/other.duckdb'",
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM read_text('/etc/passwd')",
            "INSTALL httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '1TB'",
        ],
    )
    def test_refuses_what_is_wrong_or_reaches_out(self, sql: str, once: Site) -> None:
        with pytest.raises(QueryError, match="remedy"):
            run_query(once.warehouse, sql)

    def test_says_where_there_is_no_warehouse(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="no warehouse here"):
            run_query(tmp_path / "none.duckdb", "SELECT 1")
        (tmp_path / "text.duckdb").write_text("this is no database" * 999)
        with pytest.raises(StorageError):
            run_query(tmp_path / "text.duckdb", "SELECT 1")


def test_the_hash_of_a_state_is_plain_text(site: Site) -> None:
    with Store(site) as store:
        assert len(store.state_hash()) == 64
        assert json.dumps(store.state_hash())
