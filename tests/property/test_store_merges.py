"""Patients that were merged, against a model that walks from each patient on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.store_kit import store_of
from tests.unit.store_batches import event, make_batch, night
from warehouse.batch import Batch
from warehouse.merges import aliases, follow

PATIENTS = "abcde"
DAY_0 = datetime(2026, 1, 1)  # noqa: DTZ001 - columns are naive UTC


class Registration(NamedTuple):
    """A version of a patient's registration: `a` and `a2` are records of two sources."""

    patient: str
    version: int = 1
    into: str | None = None
    took: tuple[str, ...] = ()
    operation: str = "upsert"
    record: int = 1

    @property
    def changed(self) -> datetime:
        """When the source changed it."""
        return DAY_0 + timedelta(days=self.version)

    def row(self) -> dict[str, Any]:
        """The event."""
        return event(
            "PatientRegistered",
            f"{self.patient}{self.record}",
            version=self.version,
            patient_key=self.patient,
            recorded_at=self.changed,
            replaced_by_key=self.into,
            replaces_keys=sorted(self.took) or None,
            operation=self.operation,
            sex=f"of {self.patient}{self.record}",
        )


def batch_of(name: str, told: Iterable[Registration]) -> Batch:
    rows: dict[str, dict[str, Any]] = {}
    for one in sorted(told, key=lambda one: one.version):
        rows[one.row()["record_key"]] = one.row()
    return make_batch(name, {"PatientRegistered": list(rows.values())})


def labs() -> Batch:
    """A result of each patient, under the number that it was drawn for."""
    rows = [event("LabResulted", f"lab {who}", patient_key=who) for who in PATIENTS]
    return make_batch("labs", {"LabResulted": rows}, exported_at=night(1))


class Seen(NamedTuple):
    """Whose each patient's result is, and the registrations that speak for each survivor."""

    owner: dict[str, str]
    spokesmen: set[tuple[str, str]]


def seen(batches: Sequence[Batch]) -> Seen:
    with store_of(batches) as con:
        owners = con.execute("SELECT record_key, patient_key FROM current.LabResulted").fetchall()
        told = con.execute("SELECT patient_key, sex FROM current.PatientRegistered").fetchall()
    return Seen({lab.removeprefix("lab "): who for lab, who in owners}, set(told))


def expected(told: Sequence[Registration]) -> Seen:
    """Walk from each patient: link after link, until there is none or the way is a circle."""
    newest: dict[str, dict[str, Any]] = {}
    for one in told:
        row = one.row()
        known = newest.get(row["record_key"], row)
        newest[row["record_key"]] = max(row, known, key=lambda r: (r["version"], r["content_hash"]))
    rows = [row for row in newest.values() if row["operation"] == "upsert"]

    def rank(row: dict[str, Any], is_own: bool) -> tuple[Any, ...]:
        return (is_own, row["recorded_at"], row["version"], row["content_hash"])

    def link(who: str) -> tuple[tuple[Any, ...], str] | None:
        own = [(rank(r, True), r["replaced_by_key"]) for r in rows if r["patient_key"] == who]
        by = [(rank(r, False), r["patient_key"]) for r in rows if who in (r["replaces_keys"] or ())]
        told = [(place, other) for place, other in (*own, *by) if other not in (None, who)]
        return max(told, key=lambda one: one[0]) if told else None

    def walk(who: str) -> list[str]:
        way = [who]
        while (found := link(way[-1])) and found[1] not in way:
            way.append(found[1])
        if found:
            circle = way[way.index(found[1]) :]
            links = [link(one) for one in circle]
            survivor = max((one for one in links if one), key=lambda one: one[0])[1]
            if who in circle:
                at = circle.index(survivor)
                way = [*circle[circle.index(who) :], *circle][
                    : (at - circle.index(who)) % len(circle) + 1
                ]
            else:
                before = way[: way.index(found[1])]
                way = [*before, *circle[: circle.index(survivor) + 1]]
        return way

    ways = {who: walk(who) for who in PATIENTS}
    registered = {row["patient_key"] for row in rows}
    spokesmen = set()
    for survivor in {way[-1] for way in ways.values()}:
        far = {who: len(way) for who, way in ways.items() if way[-1] == survivor}
        least = min((far[who] for who in far if who in registered), default=0)
        spokesmen |= {
            (survivor, row["sex"]) for row in rows if far.get(row["patient_key"]) == least
        }
    return Seen({who: way[-1] for who, way in ways.items()}, spokesmen)


patients = st.sampled_from(PATIENTS)
registrations = st.builds(
    Registration,
    patients,
    st.integers(1, 3),
    st.one_of(st.none(), patients, patients, patients),
    st.lists(patients, max_size=2, unique=True).map(tuple),
    st.sampled_from(["upsert", "upsert", "upsert", "retract"]),
    st.integers(1, 2),
)


@settings(max_examples=examples(6), deadline=None)
@given(st.lists(registrations, min_size=1, max_size=9), st.data())
def test_whose_a_result_is_follows_from_all_registrations_in_any_order(
    told: list[Registration], data: st.DataObject
) -> None:
    groups = [batch_of(f"b{number}", told[number::2]) for number in range(2)]
    # a batch holds each record once: of two versions the newer, as sources settle it
    kept = [one for number in range(2) for one in newest_of(told[number::2])]
    order = data.draw(st.permutations([*groups, labs()]))
    assert seen(order) == expected(kept)


def newest_of(told: Sequence[Registration]) -> list[Registration]:
    found: dict[str, Registration] = {}
    for one in sorted(told, key=lambda one: one.version):
        found[f"{one.patient}{one.record}"] = one
    return list(found.values())


# --- by hand --------------------------------------------------------------------------------------


def owners(*links: str) -> dict[str, str]:
    """Who counts instead of each patient, from links such as `ab` in the order that counts."""
    return {who: survivor for who, (survivor, _) in follow(links).items()}


def test_chains_are_followed_to_their_end() -> None:
    assert owners("ab", "bc") == owners("bc", "ab") == {"a": "c", "b": "c"}
    assert owners("ab", "cb") == {"a": "b", "c": "b"}
    assert follow(["ab", "bc", "cd"]) == {"a": ("d", 3), "b": ("d", 2), "c": ("d", 1)}


def test_the_first_link_of_a_patient_counts_and_none_to_itself() -> None:
    assert owners("ab", "ac") == {"a": "b"}
    assert owners("aa", "ac") == {"a": "c"}
    assert owners("aa") == {}


def test_of_a_circle_the_patient_whom_its_first_link_names_is_left() -> None:
    assert owners("ba", "ab") == {"b": "a"}
    assert owners("bc", "ca", "ab", "da") == {"a": "c", "b": "c", "d": "c"}


def test_the_survivors_own_registration_says_who_it_is_if_there_is_one() -> None:
    chain = follow(["ab", "bc"])
    assert set(aliases(chain, {"a", "b", "c"})) == {("a", "c", False), ("b", "c", False)}
    assert set(aliases(chain, {"a", "b"})) == {("a", "c", False), ("b", "c", True)}
    assert set(aliases(chain, {"a"})) == {("a", "c", True), ("b", "c", False)}


def test_a_registration_of_its_own_outranks_what_others_say_and_a_link_can_go_again() -> None:
    own, others = Registration("a", 1, "b"), Registration("c", 3, took=("a", "d"))
    batches = [labs(), batch_of("x", [own, others])]
    assert seen(batches).owner == {"a": "b", "b": "b", "c": "c", "d": "c", "e": "e"}
    batches.append(batch_of("y", [Registration("a", 2), Registration("c", 4, operation="retract")]))
    assert seen(batches).owner == {who: who for who in PATIENTS}
