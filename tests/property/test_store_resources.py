"""Nested records in the store against a model that sees all batches at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.base.duck import quote
from tests.examples import examples
from tests.store_kit import store_of
from tests.unit.store_batches import event, make_batch, night
from warehouse.batch import Batch

TYPES = ("LabResulted", "VitalSignMeasured")
Current = set[tuple[str, int, str]]


class Part(NamedTuple):
    """A part of a resource as one version tells it."""

    event_type: str
    number: int
    code: str = "x"
    operation: str = "upsert"
    is_wrong: bool = False


class Telling(NamedTuple):
    """What a delivery says of a resource: parts of a version, or why there are none."""

    resource: str
    version: int
    parts: tuple[Part, ...] = ()
    instead: str = ""  # deleted | out_of_scope | wrong


class Delivery(NamedTuple):
    kind: str
    night: int
    tellings: tuple[Telling, ...]


def changed_at(version: int) -> datetime:
    """When the source changed a record to a version; nights are exported at two o'clock."""
    return (night(version) - timedelta(hours=1)).replace(tzinfo=None)


def key_of(telling: Telling, part: Part) -> str:
    return f"{telling.resource}/{part.event_type}/{part.number}"


def batch_of(name: str, delivery: Delivery) -> Batch:
    """The batch of a delivery: of a record in two versions the newer, as sources settle it."""
    at = night(delivery.night)
    events: dict[str, dict[str, Any]] = {name: {} for name in TYPES}
    withdrawn: dict[str, Any] = {}
    bad = []
    for telling in sorted(delivery.tellings, key=lambda one: one.version):
        if telling.instead == "wrong":
            bad.append({"event_type": None, "record_key": telling.resource})
        elif telling.instead:
            is_deleted = telling.instead == "deleted"
            key = f"{telling.resource}:{telling.instead}"
            withdrawn[key] = event(
                "RecordWithdrawn",
                key,
                version=int(at.timestamp()) if is_deleted else telling.version,
                recorded_at=at.replace(tzinfo=None) if is_deleted else changed_at(telling.version),
                resource_key=telling.resource,
                reason=telling.instead,
                operation="retract",
            )
        for part in telling.parts:
            key, version = key_of(telling, part), telling.version
            if part.is_wrong:
                told = {"resource_key": telling.resource, "version": version}
                row = {"event_type": part.event_type, "record_key": key}
                bad.append({**row, "event_json": json.dumps(told)})
                continue
            events[part.event_type][key] = event(
                part.event_type,
                key,
                version=version,
                code=part.code,
                operation=part.operation,
                recorded_at=changed_at(version),
                resource_key=telling.resource,
                source_part=part.number,
            )
    told_types: dict[str, list[Any]] = {t: list(rows.values()) for t, rows in events.items()}
    if withdrawn:
        told_types["RecordWithdrawn"] = list(withdrawn.values())
    return make_batch(name, told_types, kind=delivery.kind, exported_at=at, quarantined=bad)


def batches_of(deliveries: Iterable[Delivery]) -> list[Batch]:
    return [batch_of(f"b{number}", one) for number, one in enumerate(deliveries)]


def current(batches: Sequence[Batch]) -> Current:
    """Key, version and code of every event that stands in the store."""
    with store_of(batches) as con:
        found: Current = set()
        for event_type in TYPES:
            found |= set(
                con.execute(
                    f"SELECT record_key, version, code FROM current.{quote(event_type)}"
                ).fetchall()
            )
    return found


class Said(NamedTuple):
    """Everything that batches say, with the export that says it."""

    good: list[tuple[datetime, Any]]
    gone: list[Any]
    wrong: list[tuple[datetime, str, str, int]]  # resource, record, version


def said_by(batches: Sequence[Batch]) -> Said:
    said = Said([], [], [])
    for batch in batches:
        for event_type in {*TYPES, "RecordWithdrawn"} & set(batch.event_types):
            for table in batch.read_events(event_type):
                for row in table.to_pylist():
                    if event_type == "RecordWithdrawn":
                        said.gone.append(row)
                    else:
                        said.good.append((batch.exported_at, row))
        for row in batch.read_quarantined().to_pylist():
            told = json.loads(row["event_json"] or "{}")
            resource = told.get("resource_key", row["record_key"])
            version = told.get("version", -1)
            said.wrong.append((batch.exported_at, resource, row["record_key"], version))
    return said


def expected(batches: Sequence[Batch]) -> Current:
    """Work out what stands, one record after the other, from all that was ever said."""
    said = said_by(batches)
    snapshots = [batch.exported_at for batch in batches if batch.kind == "snapshot"]
    stands: Current = set()
    for record in {row["record_key"] for _, row in said.good}:
        mine = [(at, row) for at, row in said.good if row["record_key"] == record]
        best = max((row for _, row in mine), key=lambda r: (r["version"], r["content_hash"]))
        resource = best["resource_key"]
        newest = max(row["version"] for _, row in said.good if row["resource_key"] == resource)
        told = [best["version"], *(v for _, _, key, v in said.wrong if key == record)]
        seen = [*(at for at, _ in mine), *(at for at, of, _, _ in said.wrong if of == resource)]
        is_gone = any(
            best["recorded_at"] <= one["recorded_at"]
            if one["reason"] == "deleted"
            else best["version"] < one["version"]
            for one in said.gone
            if one["resource_key"] == resource
        )
        is_there = not snapshots or max(seen) >= max(snapshots)
        if max(told) >= newest and not is_gone and is_there and best["operation"] == "upsert":
            stands.add((record, best["version"], best["code"]))
    return stands


parts = st.builds(
    Part,
    st.sampled_from(TYPES),
    st.integers(1, 2),
    st.sampled_from("xy"),
    st.sampled_from(["upsert", "upsert", "upsert", "retract"]),
    st.sampled_from([False, False, False, True]),
)
told_parts = st.lists(parts, min_size=1, max_size=3, unique_by=lambda p: (p.event_type, p.number))
tellings = st.one_of(
    st.builds(Telling, st.sampled_from("ab"), st.integers(1, 3), told_parts.map(tuple)),
    st.builds(Telling, st.sampled_from("ab"), st.integers(1, 3), told_parts.map(tuple)),
    st.builds(
        Telling,
        st.sampled_from("ab"),
        st.integers(1, 3),
        st.just(()),
        st.sampled_from(["deleted", "out_of_scope", "wrong"]),
    ),
)
deliveries = st.builds(
    Delivery,
    st.sampled_from(["snapshot", "delta", "delta"]),
    st.integers(1, 4),
    st.lists(tellings, max_size=3, unique_by=lambda t: (t.resource, t.version)).map(tuple),
)
nights = st.lists(deliveries, min_size=2, max_size=5)


@settings(max_examples=examples(8), deadline=None)
@given(nights)
def test_what_stands_of_a_resource_is_what_all_batches_together_say(told: list[Delivery]) -> None:
    batches = batches_of(told)
    assert current(batches) == expected(batches)


@settings(max_examples=examples(4), deadline=None)
@given(nights, st.data())
def test_resources_are_the_same_in_any_order_of_batches(
    told: list[Delivery], data: st.DataObject
) -> None:
    batches = batches_of(told)
    shuffled = data.draw(st.permutations(batches))
    question = f"FROM event.{quote(TYPES[0])} UNION ALL BY NAME FROM event.{quote(TYPES[1])}"
    found = []
    for order in (batches, shuffled):
        with store_of(order) as con:
            found.append(con.execute(f"SELECT * FROM ({question}) ORDER BY record_key").fetchall())
    assert found[0] == found[1]


@settings(max_examples=examples(3), deadline=None)
@given(nights)
def test_a_delta_may_be_split_into_its_records(told: list[Delivery]) -> None:
    split: list[Delivery] = []
    for one in told:
        if one.kind == "snapshot":
            split.append(one)
            continue
        for telling in one.tellings:
            for part in telling.parts or (None,):
                few = telling._replace(parts=(part,) if part else ())
                split.append(one._replace(tellings=(few,)))
    assert current(batches_of(split)) == current(batches_of(told))


# --- by hand --------------------------------------------------------------------------------------

LAB, VITAL = TYPES
SYS, DIA = Part(VITAL, 1), Part(VITAL, 2)


def delta(at: int, *told: Telling) -> Delivery:
    return Delivery("delta", at, told)


def snapshot(at: int, *told: Telling) -> Delivery:
    return Delivery("snapshot", at, told)


def standing(*told: Delivery) -> dict[str, int]:
    """Version by key, the same forwards and backwards."""
    found = current(batches_of(told))
    assert found == current(batches_of(told)[::-1])
    return {key.removeprefix("a/"): version for key, version, _ in found}


def test_a_component_that_a_newer_version_lacks_vanishes() -> None:
    both, one = Telling("a", 1, (SYS, DIA)), Telling("a", 2, (SYS,))
    assert standing(delta(1, both), delta(2, one)) == {f"{VITAL}/1": 2}
    assert standing(snapshot(1, both), snapshot(2, one)) == {f"{VITAL}/1": 2}


def test_a_component_that_a_snapshot_lacks_vanishes_though_the_version_is_the_same() -> None:
    both, one = Telling("a", 1, (SYS, DIA)), Telling("a", 1, (SYS,))
    assert standing(snapshot(1, both), snapshot(2, one)) == {f"{VITAL}/1": 1}


def test_a_record_that_changes_its_type_is_not_there_twice() -> None:
    was, now = Telling("a", 1, (Part(LAB, 1),)), Telling("a", 2, (Part(VITAL, 1),))
    assert standing(delta(1, was), delta(2, now)) == {f"{VITAL}/1": 2}


def test_a_deletion_withdraws_whatever_the_type_and_a_later_version_comes_back() -> None:
    was = Telling("a", 1, (Part(LAB, 1), SYS))
    deleted, again = Telling("a", 0, (), "deleted"), Telling("a", 3, (SYS,))
    assert standing(delta(1, was), delta(2, deleted)) == {}
    assert standing(delta(1, was), delta(2, deleted), delta(3, again)) == {f"{VITAL}/1": 3}


def test_a_version_out_of_scope_withdraws_older_ones_and_yields_to_events_of_its_own() -> None:
    was, out = Telling("a", 1, (SYS,)), Telling("a", 2, (), "out_of_scope")
    assert standing(delta(1, was), delta(2, out)) == {}
    assert standing(delta(1, was), delta(2, out), delta(3, Telling("a", 2, (DIA,)))) == {
        f"{VITAL}/2": 2
    }


def test_a_resource_whose_newest_version_is_wrong_keeps_its_last_good_one() -> None:
    good = Telling("a", 1, (SYS, DIA))
    wrong = Telling("a", 2, (SYS._replace(is_wrong=True), DIA._replace(is_wrong=True)))
    whole = Telling("a", 2, (), "wrong")
    half = Telling("a", 2, (SYS._replace(is_wrong=True), DIA))
    for kind in (delta, snapshot):
        first = kind(1, good)
        assert standing(first, kind(2, wrong)) == {f"{VITAL}/1": 1, f"{VITAL}/2": 1}
        assert standing(first, kind(2, whole)) == {f"{VITAL}/1": 1, f"{VITAL}/2": 1}
        assert standing(first, kind(2, half)) == {f"{VITAL}/1": 1, f"{VITAL}/2": 2}
        gone = kind(3, Telling("a", 3, (DIA,)))
        assert standing(first, kind(2, half), gone) == {f"{VITAL}/2": 3}
