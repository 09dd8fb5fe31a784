"""De-identified rows: whom they would single out, what is in no cell of them, whose numbers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from flows.closing import remark_on_withheld
from flows.console import SilentConsole
from flows.context import RunContext
from flows.cookbook import PAGE, questions
from pipelines.base.duck import connect
from pipelines.base.site import Site
from pipelines.base.sitekey import SiteKey
from tests.canary_kit import UNIQUE_VALUE, canaries, forms
from tests.results_kit import parquet
from tests.unit.store_batches import make_site
from warehouse.deidentified import QUASI_IDENTIFIERS, judge, numbered, rows_sql
from warehouse.models import load_models, model
from warehouse.publish import publish, publish_if_needed
from warehouse.query import run_query
from warehouse.store import Store

Row = dict[str, Any]
KEY = SiteKey(b"k" * 32)
ROWS = ("infusion", "course", "unit_outcome", "evidence")
#: A day and a time that nothing else of the file has.
DAY = date(2019, 3, 7)
AT = datetime(2019, 3, 7, 13, 37, 11)  # noqa: DTZ001 - the store's instants are naive UTC


@dataclass
class World:
    """Rows of linkage of a few invented patients, as the store holds them."""

    course: list[Row] = field(default_factory=list)
    infusion: list[Row] = field(default_factory=list)
    unit_outcome: list[Row] = field(default_factory=list)
    evidence: list[Row] = field(default_factory=list)

    def unit(
        self,
        unit: str,
        patient: str,
        *,
        days: Sequence[int] = (0,),
        open_windows: Sequence[str] = (),
        **course: Any,
    ) -> None:
        """Add a unit with an administration on each day since the patient's first."""
        head = {"study_id": "s", "site_id": "north", "unit_id": unit, "run_id": None}
        told = {"drug": "a", "age_band": "2-5 y", "sex": "female", "is_eligible": True}
        told |= {"n_infusions": len(days), "day_in_record": days[0], "ordinal_in_record": 1}
        told |= {"started_at": AT, "index_date": DAY, "age_months": 47, "flags": ["dst-gap"]}
        self.course.append(head | {"patient_key": patient} | told | course)
        for number, day in enumerate(days):
            own = {"infusion_key": f"{unit}-{number}", "started_at": AT, "dose_value": UNIQUE_VALUE}
            own |= {"drug": "a", "day_in_record": day, "record_keys": [patient], "status": "free"}
            self.infusion.append(head | {"patient_key": patient} | own)
        for outcome, window in (("fever", "risk"), ("fever", "late"), ("secret", "risk")):
            at = {"outcome": outcome, "window_name": window}
            is_closed = window not in open_windows
            value = {"worst_value": UNIQUE_VALUE, "onset_at": AT, "onset_hours": UNIQUE_VALUE}
            value |= {"status": "event", "grade": 2, "is_closed": is_closed, "onset_day": 1}
            self.unit_outcome.append(head | {"patient_key": patient} | at | value)
            record = {"record_key": patient, "source_file_sha": patient, "source_row": 987654321}
            record |= {"role": "event", "rule": "code", "occurred_at": AT, "is_counted": True}
            self.evidence.append(head | at | record)

    def tables(self) -> dict[str, list[Row]]:
        """By `schema.table`, only with columns that it has."""
        return {
            f"linkage.{name}": [
                {k: v for k, v in row.items() if k in model(f"linkage.{name}").content_columns}
                for row in getattr(self, name)
            ]
            for name in ROWS
        }


def site_with(root: Path, *columns: str, k: int) -> Site:
    site = make_site(root, row_level="deidentified")
    told = {"row_columns": list(columns), "min_cell": k}
    return site.model_copy(update={"privacy": site.privacy.model_copy(update=told)})


# Whom they would single out ------------------------------------------------------------------

DOMAINS: dict[str, list[Any]] = {
    "drug": ["a", "b"],
    "age_band": ["2-5 y", "6-11 y"],
    "sex": ["female", "male"],
    "setting": ["home", None],
    "indication_type": ["primary", "other"],
    "premedicated": [True, False],
}


def random_world(source: random.Random) -> World:
    """Patients who often are alike, with one to three units each, some open or not eligible."""
    world = World()
    n_domains = source.randrange(3)
    for patient in range(source.randrange(1, 11)):
        of_patient = {n: source.choice(d[:n_domains] or d[:1]) for n, d in DOMAINS.items()}
        day = 0
        for number in range(source.choice([1, 1, 2])):
            days = [day + one for one in range(source.choice([1, 1, 2]))]
            day += source.choice([90, 91])
            world.unit(
                f"u{patient}-{number}",
                f"p{patient}",
                days=days,
                open_windows=[w for w in ("risk", "late") if source.random() < 0.03],
                ordinal_in_record=number + 1,
                is_eligible=source.random() > 0.05,
                **of_patient,
            )
    return world


def in_memory() -> duckdb.DuckDBPyConnection:
    """An empty store, of what `judge` reads."""
    con = connect()
    con.execute("ATTACH ':memory:' AS store; CREATE SCHEMA store.linkage")
    con.execute("CREATE SCHEMA store.reference; USE store")
    for name in ("reference.outcome", *(f"linkage.{one}" for one in ROWS[:3])):
        con.execute(model(name).create_sql("store"))
    con.execute(
        """INSERT INTO reference.outcome BY NAME SELECT 's' AS study_id, outcome, is_published
        FROM (VALUES ('fever', true), ('secret', false)) AS t(outcome, is_published)"""
    )
    return con


def fill(con: duckdb.DuckDBPyConnection, world: World) -> duckdb.DuckDBPyConnection:
    """Put a world in place of what is there."""
    for name in ROWS[:3]:
        rows = world.tables()[f"linkage.{name}"]
        con.register("given", pa.Table.from_pylist(rows))
        con.execute(f"DELETE FROM linkage.{name}; INSERT INTO linkage.{name} BY NAME FROM given")
    return con


def holders_by_hand(world: World, columns: Sequence[str]) -> tuple[int, dict[Any, set[str]]]:
    """Units that may be told, and who shows each combination, by loops over the rows."""
    published = [row for row in world.unit_outcome if row["outcome"] == "fever"]
    closing = {row["window_name"] for row in published if row["is_closed"]}
    shown: dict[Any, list[Any]] = defaultdict(list)
    whose: dict[Any, str] = {}
    n_units = 0
    for unit in world.course:
        windows = [row for row in published if row["unit_id"] == unit["unit_id"]]
        waits = any(not r["is_closed"] and r["window_name"] in closing for r in windows)
        if waits or not unit["is_eligible"]:
            continue
        n_units += 1
        told = [(name, unit[name]) for name in columns if name != "patient"]
        if "n_infusions" in columns:
            given = [row for row in world.infusion if row["unit_id"] == unit["unit_id"]]
            days = [row["day_in_record"] for row in given] if "day_in_record" in columns else []
            told.append(("given", (len(given), tuple(sorted(days)))))
        holder = unit["patient_key"] if "patient" in columns else unit["unit_id"]
        shown[holder].append(tuple(told))
        whose[holder] = unit["patient_key"]
    held = defaultdict(set)
    for holder, units in shown.items():
        held[tuple(sorted(units, key=repr))].add(whose[holder])
    return n_units, held


def test_rows_are_told_exactly_where_enough_patients_hold_each_combination(tmp_path: Path) -> None:
    con, verdicts = in_memory(), set()
    for seed in range(30):
        source = random.Random(seed)  # noqa: S311 - no secret
        world, k = random_world(source), source.randrange(1, 5)
        columns = source.sample(QUASI_IDENTIFIERS, source.randrange(len(QUASI_IDENTIFIERS) + 1))
        told = judge(fill(con, world), site_with(tmp_path, *columns, k=k))
        n_units, held = holders_by_hand(world, columns)
        n_small = sum(len(patients) < k for patients in held.values())
        assert (told.n_units, told.n_combinations) == (n_units, len(held)), seed
        assert told.n_small_combinations == n_small, seed
        assert told.is_told is (n_units > 0 and n_small == 0), seed
        verdicts.add((told.is_told, "patient" in columns))
    assert len(verdicts) == 4  # the test has seen both answers for linked and unlinked units


def test_a_unit_with_an_open_window_waits_unless_the_window_never_closes_for_anybody(
    tmp_path: Path,
) -> None:
    world = World()
    world.unit("u1", "p1", open_windows=["late"])
    world.unit("u2", "p2", open_windows=["late", "risk"])
    told = judge(fill(in_memory(), world), site_with(tmp_path, k=1))
    assert (told.n_units, told.is_told) == (1, True)


# What is in no cell ----------------------------------------------------------------------------


def alike(n: int, *, names: Callable[[int], str] = str) -> World:
    """Patients who are all alike, each with two units and all that rows can hold of them."""
    world = World()
    for number in range(n):
        for unit in range(2):
            world.unit(
                names(2 * number + unit + n),
                names(number),
                days=(90 * unit,),
                ordinal_in_record=unit + 1,
            )
    return world


def published(site: Site, world: World) -> Path:
    """Publish a world; the file's path."""
    outcomes = [
        {"study_id": "s", "outcome": name, "label": name, "kind": "fever", "definition": "d"}
        | {"in_words": "w", "is_published": name == "fever"}
        for name in ("fever", "secret")
    ]
    site.config_path.parent.mkdir(exist_ok=True)
    risk = {"study_id": "s", "site_id": "north", "outcome": "fever", "window_name": "risk"}
    risk |= {"stratum": "all", "stratum_value": "all", "denominator": "complete"}
    tables = world.tables() | {"signals.risk": [risk | {"n_units": 4, "n_events": 1}]}
    with Store(site) as store:
        store.load_reference({"outcome": outcomes})
        folder = site.config_path.parent
        store.load_linkage(
            {n: parquet(folder, n, rows) for n, rows in tables.items()},
            "r1",
        )
        publish(store, site, "r1", key=KEY)
    return site.warehouse


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    return list(run_query(path, sql).rows)


NAMES = canaries(90)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that may be chosen, of thirty patients who are alike."""
    site = site_with(tmp_path_factory.mktemp("whole"), *QUASI_IDENTIFIERS, k=11)
    return published(site, alike(30, names=NAMES.__getitem__))


def test_no_cell_holds_a_key_a_date_a_time_or_a_value(whole: Path) -> None:
    assert [len(ask(whole, f"FROM linkage.{name}")) for name in ROWS] == [60, 60, 120, 120]
    with connect() as con:
        con.execute(f"ATTACH '{whole}' AS warehouse (READ_ONLY); USE warehouse")
        cells = {
            m.full_name: repr(con.sql(f"FROM {m.full_name}").fetchall()) for m in load_models()
        }
    text = "".join(cells.values()).encode()
    assert not any(form in text for one in (*NAMES, str(UNIQUE_VALUE)) for form in forms(one))
    # What a study or the dictionary says in words is nobody's value.
    data = "".join(text for name, text in cells.items() if not name.startswith("reference."))
    assert not any(one in data for one in ("2019", "987654321", "13:37", "dst-gap", "free"))
    for name in ROWS:
        columns = model(f"linkage.{name}").columns
        times = [c.name for c in columns if c.type in ("TIMESTAMP", "DATE", "DOUBLE")]
        for withheld in [*times, "run_id"]:
            assert ask(whole, f"SELECT DISTINCT {withheld} FROM linkage.{name}") == [(None,)]
    assert set(ask(whole, "SELECT outcome, onset_day, grade FROM analysis.unit_outcome")) == {
        ("fever", 1, 2)
    }


# Refused ---------------------------------------------------------------------------------------


def test_where_one_child_is_alone_no_row_is_published_and_every_count_is(tmp_path: Path) -> None:
    world = alike(12)
    world.unit("odd", "odd", sex="male")
    site = site_with(tmp_path, "sex", k=11)
    path = published(site, world)
    of_patients = [found.full_name for found in load_models() if found.holds_patients]
    assert sum(
        ask(path, " UNION ALL ".join(f"SELECT count(*) FROM {n}" for n in of_patients)), ()
    ) == (0,) * len(of_patients)
    assert ask(path, "SELECT n_units, n_events FROM signals.risk") == [(4, 1)]
    [(n_all, n_small, is_told)] = ask(
        path, "SELECT n_combinations, n_small_combinations, is_told FROM quality.published_rows"
    )
    assert (n_all, n_small, is_told) == (2, 1, False)
    context = RunContext(site, "r1", SilentConsole(), datetime.now(UTC))
    with Store(site) as store:
        remark_on_withheld(context, store)
    [remark] = context.remarks
    assert "fewer than 11 of the combinations of sex" in remark
    assert "male" not in remark.replace("female", "")


def test_questions_of_the_cookbook_can_be_asked_of_rows_that_are_de_identified(whole: Path) -> None:
    for question in questions(PAGE.read_text(encoding="utf-8")):
        run_query(whole, question.sql)


# Numbers ---------------------------------------------------------------------------------------


def apart(n: int) -> World:
    world = World()
    for number in range(n):
        world.unit(f"unit-{number:02d}", f"patient-{number:02d}", days=(number,))
    return world


def numbers(site: Site, world: World, key: SiteKey = KEY, state: str = "one") -> list[list[int]]:
    """The numbers of units and of patients, in the order of their keys."""
    con = fill(in_memory(), world)
    con.execute("CREATE SCHEMA ops; CREATE TABLE ops.state (name VARCHAR, value VARCHAR)")
    con.execute("INSERT INTO ops.state VALUES ('digest:linkage.course', ?)", [state])
    told = judge(con, site)
    with numbered(con, told, key):
        query = rows_sql(model("linkage.course"), told)
        rows = con.execute(f"SELECT unit_id, patient_key FROM ({query}) ORDER BY day_in_record")
        columns = zip(*rows.fetchall(), strict=True)
    return [[int(one) for one in column] for column in columns]


def test_numbers_hang_on_what_is_linked_and_on_the_key_and_on_nothing_else(tmp_path: Path) -> None:
    columns = ("patient", "day_in_record")
    site, world = site_with(tmp_path, *columns, k=1), apart(20)
    turned = World(world.course[::-1], world.infusion[::-1], world.unit_outcome[::-1])
    one = numbers(site, world)
    assert one == numbers(site, turned)
    others = [
        numbers(site, world, SiteKey(b"o" * 32)),
        numbers(site, world, state="another"),
        numbers(site_with(tmp_path, *columns, "sex", k=1), world),
    ]
    # Units and patients of each of the four: eight orders, none alike, none that of the keys.
    orders = [tuple(order) for pair in (one, *others) for order in pair]
    assert len({*orders, tuple(range(1, 21))}) == 9
    assert all(sorted(order) == list(range(1, 21)) for order in orders)


def test_another_choice_publishes_again_and_no_row_is_published_without_a_key(
    tmp_path: Path,
) -> None:
    site = site_with(tmp_path, "sex", k=3)
    path = published(site, alike(3))
    names = ("sex", "drug", "age_band", "ordinal", "premedicated", "naive", "patient_key")
    told = ask(path, f"SELECT DISTINCT {', '.join(names)} FROM analysis.unit")
    assert told == [("female", *[None] * 6)]  # what is not chosen is null, no other value
    assert ask(path, "FROM linkage.infusion") == []  # their number is not chosen
    assert len(ask(path, "SELECT DISTINCT unit_id FROM linkage.course")) == 6
    with Store(site) as store:
        assert publish_if_needed(store, site, "r2", key=KEY) is None
    other = site_with(tmp_path, "drug", k=3)
    with Store(other) as store:
        with pytest.raises(ValueError, match="key"):
            publish(store, other, "r3")
        assert publish_if_needed(store, other, "r3", key=KEY) is not None
    assert ask(path, "SELECT DISTINCT sex, drug FROM linkage.course") == [(None, "a")]
