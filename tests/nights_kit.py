"""An invented site night by night, with all tables of counts, and somebody who keeps what is told.

The site is counted unit by unit, the slow way. Who keeps what is told knows of some numbers that
one holds the other, whatever happens at the site: events among units, firsts among all, complete
ones among those that were lost as well. He knows, too, on which nights a number is what it says.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pyarrow as pa

from pipelines.disclosure.nested import Nested
from pipelines.disclosure.release import Release
from pipelines.disclosure.tables import mask_counts
from pipelines.disclosure.watched import COLUMNS as WATCHED_COLUMNS
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.signals.counts import (
    COUNT_TABLES,
    COUNTS,
    ONSET,
    PAIRED,
    SELF_CONTROLLED,
    SHARED,
)

Row = dict[str, Any]
Tables = Mapping[str, pa.Table]
Name = tuple[Any, ...]
DENOMINATORS = ("complete", "all")
OUTCOMES = ("any", "severe")
#: Outcome and window of every column.
PLACES = (("any", "risk"), ("severe", "risk"), ("any", "peak"), ("any", "control"))
NESTED: Nested = frozenset(
    frozenset({a, b}) for a, b in product(PLACES, PLACES) if a != b and "control" not in a + b
) | {frozenset({("any", "risk"), ("any", "control")})}
_PEAK, _LAST = 1, 5
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Unit:
    """An infusion and what followed: the day of an event, if it was severe, one in the control."""

    patient: int
    is_first: bool
    day: int | None
    is_severe: bool
    has_control: bool
    is_lost: bool
    is_observed: bool
    is_open: bool = False

    def has(self, outcome: str, window: str) -> bool:
        """Whether it had the outcome in a window."""
        if window == "control":
            return self.has_control
        is_there = self.day is not None and (window == "risk" or self.day <= _PEAK)
        return is_there and (outcome == "any" or self.is_severe)


class Site:
    """Children and their infusions: some come, return, are lost or taken back each night."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self._risk = luck.choice((0.08, 0.2, 0.45))
        self._severe = luck.choice((0.2, 0.5, 1.0))
        self._lost = luck.choice((0.0, 0.05, 0.2))
        self._again = luck.choice((0.3, 0.8))
        self.units: list[Unit] = []
        self._n_patients = 0
        self._add(luck.choice((60, 150, 400)))

    def night(self) -> None:
        """Let a night, or a quarter, pass."""
        luck = self._luck
        kind = luck.choice(("none", "one", "few", "many", "year", "late", "retracted", "mended"))
        sizes = {"one": (1, 1), "few": (2, 9), "many": (15, 70), "year": (100, 400)}
        n = luck.randint(*sizes.get(kind, (0, 0)))
        self.units = [replace(one, is_open=False) for one in self.units]
        self._add(n)
        if kind == "retracted":
            gone = luck.choice((1, 2, 13))
            self.units = self.units[: len(self.units) - gone]
        places = luck.sample(range(len(self.units)), k=luck.choice((0, 1, 3, 14)))
        for place in places if kind in {"late", "mended"} else ():
            one = self.units[place]
            if kind == "late" and one.day is None:
                self.units[place] = replace(one, day=luck.randint(0, _LAST), is_lost=False)
            elif kind == "mended":
                self.units[place] = replace(one, is_lost=False, is_observed=True)

    def _add(self, n: int) -> None:
        luck = self._luck
        for _ in range(n):
            is_first = not self._n_patients or luck.random() > self._again
            self._n_patients += is_first
            has_event = luck.random() < self._risk
            is_lost = not has_event and luck.random() < self._lost
            self.units.append(
                Unit(
                    self._n_patients if is_first else luck.randint(1, self._n_patients),
                    is_first,
                    luck.choice((0, 0, 0, 1, 3)) if has_event else None,
                    luck.random() < self._severe,
                    luck.random() < self._risk / 2,
                    is_lost,
                    not is_lost and luck.random() < 0.9,
                    luck.random() < 0.1,
                )
            )

    # Counted -----------------------------------------------------------------------------------

    def tables(self) -> dict[str, pa.Table]:
        """Return all tables of counts, and what is watched."""
        closed = [one for one in self.units if not one.is_open]
        found: dict[str, list[Row]] = {name: [] for name in COUNT_TABLES}
        for outcome, window in PLACES:
            about = {"study_id": "s", "site_id": "h", "outcome": outcome, "window_name": window}
            for d in DENOMINATORS if window == "risk" else ("all",):
                some = [one for one in closed if d == "all" or not one.is_lost]
                mine = {**about, "denominator": d}
                found[COUNTS.name] += self._counts(mine, some)
                if window == "risk":
                    found[PAIRED.name].append(_paired(mine, some))
                    found[SHARED.name] += _shared(mine, some)
            if window == "risk":
                found[ONSET.name] += _onset(about, closed)
        found[SELF_CONTROLLED.name].append(_self_controlled(closed))
        tables = {
            name: pa.Table.from_pylist(rows, schema=COUNT_TABLES[name].schema)
            for name, rows in found.items()
        }
        watched = [_watched(outcome, closed) for outcome in OUTCOMES]
        kinds = [(n, pa.int64() if n.startswith("n_") else pa.string()) for n in WATCHED_COLUMNS]
        return {**tables, WATCHED: pa.Table.from_pylist(watched, pa.schema(kinds))}

    def _counts(self, about: Row, units: Sequence[Unit]) -> Iterator[Row]:
        every = self.units
        closed = [one for one in every if not one.is_open]
        status = {
            "n_closed_units": len(closed),
            "n_open": len(every) - len(closed),
            "n_open_event": sum(one.is_open and one.has(*_place(about)) for one in every),
            "n_censored": sum(one.is_lost for one in closed),
            "n_not_at_risk": 0,
            "n_ineligible": 0,
            "n_observed": sum(one.is_observed for one in closed),
            "n_rows": len(every),
        }
        for stratum, value, some in (
            ("all", "all", units),
            ("ordinal", "first", [one for one in units if one.is_first]),
            ("ordinal", "later", [one for one in units if not one.is_first]),
        ):
            e, n = _by_patient(about, some)
            yield {
                **about,
                "stratum": stratum,
                "stratum_value": value,
                "n_units": len(some),
                "n_events": sum(e.values()),
                "n_patients": len(n),
                "sum_e2": sum(e[p] ** 2 for p in n),
                "sum_en": sum(e[p] * n[p] for p in n),
                "sum_n2": sum(n[p] ** 2 for p in n),
                "person_us": _DAY_US * len(some),
                **status,
            }


def _place(about: Row) -> tuple[str, str]:
    return about["outcome"], about["window_name"]


def _by_patient(about: Row, units: Sequence[Unit]) -> tuple[dict[int, int], dict[int, int]]:
    e: dict[int, int] = defaultdict(int)
    n: dict[int, int] = defaultdict(int)
    for one in units:
        e[one.patient] += one.has(*_place(about))
        n[one.patient] += 1
    return e, n


def _paired(about: Row, units: Sequence[Unit]) -> Row:
    place, second = _place(about), dict[int, Unit]()
    for one in units:
        if not one.is_first:
            second.setdefault(one.patient, one)
    found: dict[str, int] = defaultdict(int)
    for one in units:
        if one.is_first:
            had, then = one.has(*place), second.get(one.patient)
            found["n_first"] += 1
            found["n_event"] += had
            if then is not None:
                found["n_event_again" if had else "n_none_again"] += 1
                also = then.has(*place)
                names = {(1, 1): "both", (1, 0): "first_only", (0, 1): "second_only"}
                found["n_" + names.get((had, also), "neither")] += 1
    return {**about, "drug_class": "drug", **{name: found[name] for name in PAIRED.sums}}


def _shared(about: Row, units: Sequence[Unit]) -> Iterator[Row]:
    sides = {
        value: _by_patient(about, [one for one in units if one.is_first == (value == "first")])
        for value in ("first", "later")
    }
    for value, other in (("first", "later"), ("later", "first")):
        (e, n), (oe, on) = sides[value], sides[other]
        both = [p for p in n if p in on]
        if both:
            yield {
                **about,
                "stratum": "ordinal",
                "stratum_value": value,
                "contrast": "rest",
                "other_value": "rest",
                "n_patients": len(both),
                "n_again": len(both) if value == "later" else 0,
                "sum_ee": sum(e[p] * oe[p] for p in both),
                "sum_en": sum(e[p] * on[p] for p in both),
                "sum_ne": sum(n[p] * oe[p] for p in both),
                "sum_nn": sum(n[p] * on[p] for p in both),
            }


def _onset(about: Row, units: Sequence[Unit]) -> Iterator[Row]:
    bins: dict[int, dict[str, int]] = {}
    for one in units:
        had = one.has(*_place(about))
        day = one.day if had and one.day is not None else _LAST
        row = bins.setdefault(day, dict.fromkeys(ONSET.sums, 0))
        row["n_left"] += 1
        row["n_events" if had else "n_censored" if one.is_lost else "n_completed"] += 1
    for day, row in sorted(bins.items()):
        place = {"stratum": "all", "stratum_value": "all", "scale": "day", "bin": day}
        yield {**about, **place, **row}


def _self_controlled(units: Sequence[Unit]) -> Row:
    some = [one for one in units if not one.is_lost]
    e = [one for one in some if one.has("any", "risk")]
    c = [one for one in some if one.has_control]
    return {
        "study_id": "s",
        "site_id": "h",
        "outcome": "any",
        "stratum": "all",
        "stratum_value": "all",
        "n_risk_events": len(e),
        "n_control_events": len(c),
        "risk_us": _DAY_US * len(some),
        "control_us": _DAY_US * len(some),
        "n_cut_by_next": 0,
        "n_cut_by_end": 0,
        "n_patients": len({one.patient for one in (*e, *c)}),
    }


def _watched(outcome: str, units: Sequence[Unit]) -> Row:
    """Complete units up to the first of each patient with the event."""
    reacted: set[int] = set()
    seen: list[Unit] = []
    for one in units:
        if not one.is_lost and one.patient not in reacted:
            seen.append(one)
            if one.has(outcome, "risk"):
                reacted.add(one.patient)
    later = [one for one in seen if not one.is_first]
    return {
        "study_id": "s",
        "site_id": "h",
        "outcome": outcome,
        "window_name": "risk",
        "watched": "all",
        "pair_hash": "a" * 64,
        "n_units_first": len(seen) - len(later),
        "n_units_later": len(later),
        "n_patients_later": len({one.patient for one in later}),
        "n_events": len(reacted),
    }


# What is told, and what he knows -----------------------------------------------------------------


def figures(tables: Tables) -> dict[Name, int]:
    """Return the numbers of some tables by what they are of; those that are null are left out."""
    found: dict[Name, int | None] = {**_of_counts(tables), **_of_days(tables)}
    for row in tables[PAIRED.name].to_pylist():
        about: Name = ("paired", row["outcome"], row["denominator"])
        found |= {(*about, n): row[n] for n in PAIRED.sums}
        found[*about, "seconds"] = row["n_event_again"] + row["n_none_again"]
        found[*about, "pairs"] = sum(row[n] for n in PAIRED.sums[:4])
    for row in tables[SHARED.name].to_pylist():
        about = ("shared", row["outcome"], row["denominator"], row["stratum_value"])
        found |= {(*about, n): row[n] for n in SHARED.sums}
    for row in tables[SELF_CONTROLLED.name].to_pylist():
        found |= {("self", n): row[n] for n in ("n_risk_events", "n_control_events")}
    for row in tables[WATCHED].to_pylist():
        mine = ("watched", row["outcome"])
        found |= {(*mine, n): row[n] for n in ("n_units_first", "n_units_later", "n_events")}
        if row["n_units_first"] is not None:
            found[*mine, "n_units"] = row["n_units_first"] + row["n_units_later"]
    return {name: count for name, count in found.items() if count is not None}


def _of_counts(tables: Tables) -> dict[Name, int | None]:
    found: dict[Name, int | None] = {}
    for row in tables[COUNTS.name].to_pylist():
        about = (row["outcome"], row["window_name"], row["denominator"], row["stratum_value"])
        found |= {("counts", *about, n): row[n] for n in ("n_units", "n_events", "n_patients")}
        if row["stratum"] == "all":
            had = {n: row[n] for n in ("n_closed_units", "n_observed", "n_open", "n_open_event")}
            if row["n_closed_units"] is not None:
                had["complete"] = row["n_closed_units"] - row["n_censored"]
            found |= {("status", *about[:2], n): count for n, count in had.items()}
    return found


def _of_days(tables: Tables) -> dict[Name, int | None]:
    days: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in tables[ONSET.name].to_pylist():
        if row["scale"] == "day":
            days[row["outcome"]][row["bin"]] = row
    found: dict[Name, int | None] = {}
    for outcome, rows in days.items():
        found["onset", outcome, "n_left"] = sum(row["n_left"] for row in rows.values())
        for day in range(_LAST + 1):
            until = sum(row["n_events"] for bin_, row in rows.items() if bin_ <= day)
            found["onset", outcome, "by", day] = until
            found["onset", outcome, "on", day] = rows[day]["n_events"] if day in rows else 0
    return found


def held_in() -> Iterator[tuple[Name, Name]]:
    """Yield pairs of numbers of which the first counts all that the second does."""
    yield from _held_of_pairs()
    yield from _held_of_days()
    for window in ("risk", "control"):
        yield ("counts", "any", window, "all", "all", "n_events"), ("self", f"n_{window}_events")
    for o, w in PLACES:
        status = ("status", o, w)
        yield (*status, "n_closed_units"), (*status, "complete")
        yield (*status, "complete"), (*status, "n_observed")
        yield (*status, "n_open"), (*status, "n_open_event")
        yield ("counts", o, w, "all", "all", "n_units"), (*status, "n_observed")
    yield from _held_beside_watched()


def _held_of_pairs() -> Iterator[tuple[Name, Name]]:
    """Yield what pairs and shared patients are among, and what is among them."""
    for o, d in product(OUTCOMES, DENOMINATORS):
        first, mine = ("counts", o, "risk", d, "first"), ("paired", o, d)
        yield (*first, "n_units"), (*mine, "n_first")
        yield (*first, "n_events"), (*mine, "n_event")
        yield (*mine, "n_event"), (*mine, "n_event_again")
        yield (*mine, "n_first"), (*mine, "n_event")
        yield (*mine, "seconds"), (*mine, "pairs")
        for value in ("first", "later"):
            side = ("counts", o, "risk", d, value, "n_patients")
            yield side, ("shared", o, d, value, "n_patients")
    for o, name in product(OUTCOMES, ("n_first", "n_event", "n_event_again", "n_both")):
        yield ("paired", o, "all", name), ("paired", o, "complete", name)
    for d, name in product(DENOMINATORS, ("n_event", "n_event_again", "n_both")):
        yield ("paired", "any", d, name), ("paired", "severe", d, name)
    for o, value in product(OUTCOMES, ("first", "later")):
        for name in ("n_patients", "sum_ee", "sum_nn"):
            yield ("shared", o, "all", value, name), ("shared", o, "complete", value, name)


def _held_of_days() -> Iterator[tuple[Name, Name]]:
    """Yield what days of onset are among, and what is among them."""
    peak = ("counts", "any", "peak", "all", "all", "n_events")
    for day in range(_LAST + 1):
        by_then = ("onset", "any", "by", day)
        yield (peak, by_then) if day <= _PEAK else (by_then, peak)
        yield ("onset", "any", "on", day), ("onset", "severe", "on", day)
    for o in OUTCOMES:
        whole = ("counts", o, "risk", "all", "all")
        yield (*whole, "n_units"), ("onset", o, "n_left")
        for day in range(_LAST + 1):
            yield (*whole, "n_events"), ("onset", o, "by", day)


def _held_beside_watched() -> Iterator[tuple[Name, Name]]:
    """Yield what is watched among all units and events, and of two outcomes."""
    ordinals = (("all", "n_units"), ("first", "n_units_first"), ("later", "n_units_later"))
    for o in OUTCOMES:
        mine = ("watched", o)
        for d, (value, name) in product(DENOMINATORS, ordinals):
            yield ("counts", o, "risk", d, value, "n_units"), (*mine, name)
        for d in DENOMINATORS:
            whole = ("counts", o, "risk", d, "all")
            yield (*whole, "n_events"), (*mine, "n_events")
            yield (*whole, "n_units"), (*mine, "n_events")
        yield (*mine, "n_units"), (*mine, "n_events")
    yield ("watched", "any", "n_events"), ("watched", "severe", "n_events")
    # Who had a severe event had one: units up to the first severe one hold those up to any.
    yield from ((("watched", "severe", name), ("watched", "any", name)) for _, name in ordinals)


class Keeper:
    """Who keeps all that is told, and looks what two numbers together tell of few.

    He compares nights on which both numbers are what they say. It counts where one of them is told
    anew, and both have moved since: where only one has, what lies between changed as that one did,
    which its own rule holds. Of what is watched he looks where it moves itself.
    """

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._told: dict[Name, int] = {}
        self._seen: dict[tuple[Name, Name], list[tuple[int, int]]] = {}
        #: Pairs, and by how much what lies between them changed, wherever that was little.
        self.found: list[tuple[Name, Name, int]] = []
        #: How often two numbers that both had moved were compared, by their tables.
        self.compared: Counter[tuple[str, str]] = Counter()

    def look(self, told: Mapping[Name, int], true: Mapping[Name, int]) -> None:
        """Compare what is told on a night with what was told before."""
        moved = {name for name, count in told.items() if self._told.get(name) != count}
        for pair in held_in():
            if any(name not in told or told[name] != true.get(name, 0) for name in pair):
                continue
            now = told[pair[0]], told[pair[1]]
            seen = self._seen.setdefault(pair, [])
            if moved.isdisjoint(pair):
                seen.append(now)
                continue
            is_watched = "watched" in {name[0] for name in pair}
            if not is_watched or any(name in moved and name[0] == "watched" for name in pair):
                for was in seen:
                    if now[0] != was[0] and now[1] != was[1]:
                        self.compared[pair[0][0], pair[1][0]] += 1
                        step = (now[0] - now[1]) - (was[0] - was[1])
                        if 0 < abs(step) < self._threshold:
                            self.found.append((*pair, step))
            self._seen[pair] = [now]
        self._told = dict(told)


def kept(
    seed: int, n_nights: int, threshold: int = 11, mask: Callable[..., Any] = mask_counts
) -> Keeper:
    """Return who kept all that was told of a site that is drawn."""
    site, keeper = Site(random.Random(seed)), Keeper(threshold)  # noqa: S311 - invented
    last: Release | None = None
    for _ in range(n_nights):
        tables = site.tables()
        masked = mask(tables, threshold, last, nested=NESTED)
        keeper.look(figures(masked.tables), figures(tables))
        last = Release.from_json(masked.release.to_json())
        site.night()
    return keeper
