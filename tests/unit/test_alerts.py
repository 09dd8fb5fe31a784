"""Alerts: a serious event is a case at once, and each change is told once to each channel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.store_batches import make_site
from warehouse.alerts import TABLE, stage_alerts
from warehouse.guard import transaction
from warehouse.models import model
from warehouse.results import ARROW_TYPES, replace_content
from warehouse.store import Store

UNITS = "linkage.unit_outcome"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_site(tmp_path)) as opened:
        opened.load_reference(
            {
                "outcome": [
                    {
                        "study_id": "s",
                        "outcome": "fever",
                        "label": "Fever",
                        "kind": "symptom",
                        "is_published": True,
                        "definition": "",
                        "in_words": "",
                    }
                ]
            }
        )
        yield opened


def unit(
    status: str,
    *,
    is_serious: bool | None = None,
    window: str = "risk",
    outcome: str = "fever",
    is_published: bool = True,
) -> dict[str, Any]:
    return {
        "study_id": "s",
        "site_id": "north",
        "patient_key": "of a patient",
        "outcome": outcome,
        "window_name": window,
        "is_published": is_published,
        "status": status,
        "is_serious": is_serious,
    }


def night(store: Store, run: str, *units: dict[str, Any], to: tuple[str, ...] = ("post",)) -> None:
    """Link these units, and no others, in a night of its own."""
    columns = [(c.name, ARROW_TYPES[c.type]) for c in model(UNITS).columns if c.name != "run_id"]
    empty = {name: None for name, _ in columns}
    rows = [{**empty, **one, "unit_id": str(number)} for number, one in enumerate(units)]
    path = store.path.with_name(f"{run}.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), path)
    store.load_linkage({UNITS: [path]}, run)
    settle(store, run, to)


def settle(
    store: Store, run: str, to: tuple[str, ...] = ("post",), *reviews: dict[str, Any]
) -> None:
    """Bring the alerts up to date, as the stage `look` does."""
    with transaction(store.con):
        stage_alerts(store.con, store.site, run, to, reviews)
        replace_content(store.con, model(TABLE), run)


def alerts(store: Store) -> list[tuple[Any, ...]]:
    return store.con.execute(
        "SELECT alert_key, state, n_serious, n_serious_open FROM signals.alert ORDER BY ALL"
    ).fetchall()


def told(store: Store, channel: str = "post") -> list[str]:
    rows = store.con.execute(
        "SELECT body FROM ops.outbox WHERE channel = ? ORDER BY message_number", [channel]
    ).fetchall()
    bodies = [json.loads(body) for (body,) in rows]
    return [f"{one['previous_state']} > {one['state']} ({one['run_id']})" for one in bodies]


SERIOUS = unit("event", is_serious=True)
SERIOUS_OPEN = unit("open_event", is_serious=True)
HARMLESS = unit("event", is_serious=False)


def test_a_serious_event_is_a_case_in_an_open_window_too(store: Store) -> None:
    night(store, "r1", HARMLESS, unit("open", window="extended"))
    assert alerts(store) == [("s/fever/extended", "none", 0, 0), ("s/fever/risk", "none", 0, 0)]
    night(store, "r2", HARMLESS, SERIOUS_OPEN, SERIOUS)
    assert alerts(store) == [("s/fever/risk", "case", 2, 1)]


def test_no_alert_comes_of_a_control_window_or_of_what_is_not_published(store: Store) -> None:
    night(
        store,
        "r1",
        unit("event", is_serious=True, window="control"),
        unit("event", is_serious=True, outcome="part", is_published=False),
        unit("not_at_risk", is_serious=True),
    )
    assert alerts(store) == [("s/fever/risk", "none", 0, 0)]
    assert told(store) == []


def test_each_change_is_told_once_and_a_state_that_comes_back_again(store: Store) -> None:
    night(store, "r1", HARMLESS)
    night(store, "r2", SERIOUS)
    night(store, "r3", SERIOUS, SERIOUS_OPEN)
    assert told(store) == ["none > case (r2)"]
    night(store, "r4", HARMLESS)
    night(store, "r5", SERIOUS)
    assert told(store) == ["none > case (r2)", "case > none (r4)", "none > case (r5)"]


def test_a_message_names_no_patient_and_no_count(store: Store) -> None:
    night(store, "r1", *[SERIOUS] * 7)
    [row] = store.con.execute("SELECT subject, body FROM ops.outbox").fetchall()
    assert row[0] == "north: Fever: case"
    text = " ".join(row)
    assert "of a patient" not in text
    assert "7" not in text.replace(json.loads(row[1])["key"], "")


def test_every_channel_is_told_and_a_new_one_learns_what_stands(store: Store) -> None:
    night(store, "r1", SERIOUS, to=())
    assert told(store) == []
    night(store, "r2", SERIOUS, to=("post",))
    night(store, "r3", SERIOUS, to=("post", "mail"))
    assert told(store) == ["none > case (r2)"]
    assert told(store, "mail") == ["none > case (r3)"]


def test_a_night_that_fails_tells_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    night(store, "r1", HARMLESS)
    with monkeypatch.context() as patch:
        patch.setattr("tests.unit.test_alerts.replace_content", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            night(store, "r2", SERIOUS)
    assert told(store) == []
    assert alerts(store) == [("s/fever/risk", "none", 0, 0)]


def test_a_store_that_is_made_anew_tells_nothing_twice(store: Store) -> None:
    from warehouse import outbox

    night(store, "r1", SERIOUS)
    with transaction(store.con):
        outbox.synchronise(store.con, store.site)
    store.rebuild()
    night(store, "r2", SERIOUS)
    night(store, "r3", HARMLESS)
    assert told(store) == ["none > case (r1)", "case > none (r3)"]


def look(
    store: Store,
    decision: str,
    *,
    study_hash: str = "h",
    pair_hash: str | None = None,
    watched: str = "all",
) -> None:
    """A look as the log's records have it, in the store."""
    told = {
        "study_id": "s",
        "study_hash": study_hash,
        "pair_hash": pair_hash,
        "site_id": "north",
        "outcome": "fever",
        "window_name": "risk",
        "watched": watched,
        "look_number": 1,
        "decision": decision,
    }
    columns = ", ".join(told)
    marks = ", ".join(f"${name}" for name in told)
    store.con.execute(f"INSERT INTO ops.look ({columns}) VALUES ({marks})", told)


def study_of(store: Store, study_hash: str) -> None:
    settings = '{"drug": [{"name": "some drug", "concept": "some_drug"}]}'
    told = {"study_id": "s", "title": "", "version": "", "settings_json": settings}
    store.load_reference({"study": [{**told, "study_hash": study_hash}]})


def review(
    state: str,
    judged: str,
    n_serious: int = 0,
    key: str = "s/fever/risk",
    reasons: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {
        "alert_key": key,
        "state": state,
        "reviewer": "safety officer",
        "judged_state": judged,
        "judged_n_serious": n_serious,
        "judged_reasons": list(reasons),
        "recorded_at": datetime(2026, 1, 9),  # noqa: DTZ001 - naive UTC, as recorded
    }


def states(store: Store) -> dict[str, str]:
    rows = store.con.execute("SELECT alert_key, state FROM signals.alert").fetchall()
    return dict(rows)


def test_only_a_crossed_boundary_is_a_signal_and_a_revision_of_the_study_starts_anew(
    store: Store,
) -> None:
    study_of(store, "h")
    look(store, "continue")
    look(store, "signal", watched="pamidronate")
    night(store, "r1", SERIOUS)
    assert states(store) == {"s/fever/risk": "case", "s/fever/risk/pamidronate": "signal"}
    study_of(store, "revised")
    settle(store, "r2")
    assert states(store) == {"s/fever/risk": "case"}


def screen(store: Store, name: str, **told: Any) -> None:
    """One row of a table of screening."""
    told = {"study_id": "s", "site_id": "north", "outcome": "fever", "window_name": "risk"} | told
    marks = ", ".join(f"${column}" for column in told)
    store.con.execute(f"INSERT INTO signals.{name} ({', '.join(told)}) VALUES ({marks})", told)


def reasons(store: Store) -> dict[str, tuple[str, list[str]]]:
    rows = store.con.execute("SELECT alert_key, evidence, reasons FROM signals.alert").fetchall()
    return {key: (evidence, why) for key, evidence, why in rows}


DRUG = {"drug": "some drug", "n_events": 3}


@pytest.mark.parametrize(
    ("name", "told", "why"),
    [
        ("disproportionality", DRUG | {"eb05": 2.0, "ic025": None}, ["eb05"]),
        ("disproportionality", DRUG | {"eb05": 2.0, "ic025": 0.01}, ["eb05", "ic025"]),
        ("disproportionality", DRUG | {"eb05": 1.99, "ic025": 0.0}, []),
        ("disproportionality", DRUG | {"eb05": 9.0, "ic025": 3.0, "n_events": 2}, []),
        ("disproportionality", DRUG | {"eb05": None, "ic025": None}, []),
        ("disproportionality", DRUG | {"eb05": 9.0, "window_name": "control"}, []),
        ("disproportionality", DRUG | {"eb05": 9.0, "outcome": "part"}, []),
        ("benchmark", {"ci_low": 0.08, "published_high": 0.075}, ["above_published"]),
        ("benchmark", {"ci_low": 0.075, "published_high": 0.075}, []),
        ("benchmark", {"ci_low": 0.9, "published_high": None}, []),
    ],
)
def test_screening_reaches_watch_by_its_rules_and_says_which(
    store: Store, name: str, told: dict[str, Any], why: list[str]
) -> None:
    study_of(store, "h")
    screen(store, name, **told)
    night(store, "r1", HARMLESS)
    key = "s/fever/risk" + ("/some_drug" if name == "disproportionality" else "")
    found = reasons(store)
    assert found.pop("s/fever/risk" if why and key.endswith("drug") else "", None) in (
        None,
        ("none", []),
    )
    assert found == ({key: ("watch", why)} if why else {"s/fever/risk": ("none", [])})
    bodies = [
        json.loads(body) for (body,) in store.con.execute("SELECT body FROM ops.outbox").fetchall()
    ]
    assert [(one["state"], one["reasons"]) for one in bodies] == ([("watch", why)] if why else [])
    assert all("`watch`, because " in one["text"] for one in bodies)


@pytest.mark.parametrize(
    ("sides", "is_shifted", "expected"),
    [
        (["below", "above"], True, "watch"),
        (["below", "above", "on", None], True, "watch"),
        (["above", "below"], True, "none"),
        (["above", "above"], False, "none"),
        (["above", "above"], None, "none"),
    ],
)
def test_a_risk_that_has_shifted_is_watched_while_it_lies_above_its_median(
    store: Store,
    sides: list[str | None],
    is_shifted: bool | None,
    expected: str,
) -> None:
    for number, side in enumerate(sides, start=1):
        quarter = {"calendar_quarter": f"2025-Q{number}", "side": side, "is_shifted": is_shifted}
        screen(store, "trend", **quarter)
    night(store, "r1", HARMLESS)
    assert states(store) == {"s/fever/risk": expected}


def test_screening_adds_its_reasons_to_a_case_and_makes_no_signal_of_it(store: Store) -> None:
    screen(store, "benchmark", stratum="ordinal", stratum_value="first", ci_low=0.4,
           published_high=0.3)  # fmt: skip
    night(store, "r1", SERIOUS)
    assert reasons(store) == {"s/fever/risk": ("case", ["serious_event", "above_published"])}


def test_a_watch_that_was_refuted_stands_again_by_another_rule(store: Store) -> None:
    screen(store, "benchmark", ci_low=0.08, published_high=0.075)
    refuted = review("refuted", "watch", reasons=("above_published",))
    night(store, "r1", HARMLESS)
    settle(store, "r2", ("post",), refuted)
    assert states(store) == {"s/fever/risk": "refuted"}
    screen(store, "trend", calendar_quarter="2025-Q1", side="above", is_shifted=True)
    settle(store, "r3", ("post",), refuted)
    assert states(store) == {"s/fever/risk": "watch"}
    assert told(store) == ["none > watch (r1)", "watch > refuted (r2)", "refuted > watch (r3)"]


def test_a_signal_stands_while_its_pair_is_in_force_whatever_else_was_revised(store: Store) -> None:
    study_of(store, "revised")
    look(store, "signal", study_hash="h", pair_hash="of the pair")
    night(store, "r1", HARMLESS)
    for pairs, state in ((["of the pair"], "signal"), (["of another"], "none"), ([], "none")):
        with transaction(store.con):
            stage_alerts(store.con, store.site, "r2", (), pair_hashes=pairs)
            replace_content(store.con, model(TABLE), "r2")
        assert states(store) == {"s/fever/risk": state}


def test_a_review_stands_until_the_evidence_is_more_than_was_judged(store: Store) -> None:
    night(store, "r1", SERIOUS)
    settle(store, "r2", ("post",), review("under_review", "case", 1), review("refuted", "case", 1))
    assert states(store) == {"s/fever/risk": "refuted"}
    refuted = review("refuted", "case", 1)
    study_of(store, "h")
    look(store, "signal")
    settle(store, "r3", ("post",), refuted)
    assert states(store) == {"s/fever/risk": "signal"}
    store.con.execute("DELETE FROM ops.look")
    night(store, "r4", SERIOUS, SERIOUS_OPEN)
    settle(store, "r5", ("post",), refuted)
    assert states(store) == {"s/fever/risk": "case"}
    row = store.con.execute(
        "SELECT evidence, reviewed_state, reviewed_by, reviewed_at FROM signals.alert"
    ).fetchone()
    assert row == ("case", "refuted", "safety officer", refuted["recorded_at"])
    assert told(store)[:3] == ["none > case (r1)", "case > refuted (r2)", "refuted > signal (r3)"]
