"""Section 2: administered, else dispensed, else ordered: which doses count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from studies.load import Study
from tests.reference.doses import (
    IN_FORCE,
    Administration,
    doses_of_drug,
    drug_of,
    is_in_force,
    records_of,
)
from tests.reference.events import Event
from tests.reference.restarts import joined


def distance(one: Administration, other: Administration) -> timedelta:
    if one.is_day or other.is_day:
        return abs(one.first - other.first)
    return abs(one.start - other.start)


def pairs(
    seekers: list[Administration], targets: list[Administration], reach: timedelta
) -> list[tuple[Administration, Administration]]:
    """The closest two, then the closest of those left, and so on."""
    found: list[tuple[Administration, Administration]] = []
    seekers, targets = list(seekers), list(targets)
    while True:
        near = [
            (distance(s, t), s.start, t.start, s.key, t.key, s, t)
            for s in seekers
            for t in targets
            if s.drug.name == t.drug.name and distance(s, t) <= reach
        ]
        if not near:
            return found
        *_, seeker, target = min(near, key=lambda it: it[:5])
        seekers = [one for one in seekers if one is not seeker]
        targets = [one for one in targets if one is not target]
        found.append((seeker, target))


@dataclass
class Requests:
    """What is told under the requests of a patient."""

    given: set[str]
    refused: set[str]
    undated: set[str]


def requests_of(study: Study, events: list[Event]) -> Requests:
    told = [
        (event, event.row["evidence"], event.row.get("order_key"))
        for event in events
        if drug_of(study, event) is not None and event.row.get("order_key") is not None
    ]
    return Requests(
        {str(o) for event, kind, o in told if kind == "administered" and is_in_force(event)},
        {
            str(o)
            for event, kind, o in told
            if kind == "administered" and event.row["status"] == "not-done"
        },
        {
            str(o)
            for event, kind, o in told
            if kind == "dispensed" and is_in_force(event) and event.when is None
        },
    )


def all_doses(study: Study, events: list[Event]) -> tuple[list[Administration], list[str]]:
    """Doses that nothing better covers, of any evidence; and the keys of records covered."""
    records = records_of(study, events)
    requests = requests_of(study, events)
    by_kind: dict[str, list[Administration]] = {
        kind: [
            dose
            for drug in study.model.drug
            for dose in doses_of_drug(
                study,
                [one for one in records if (one.drug.name, one.evidence) == (drug.name, kind)],
            )
        ]
        for kind in IN_FORCE
    }
    by_kind["administered"] = [
        dose
        for drug in study.model.drug
        for dose in joined(
            study, events, [one for one in by_kind["administered"] if one.drug == drug]
        )
    ]
    given, dispensed, ordered = (by_kind[k] for k in ("administered", "dispensed", "ordered"))
    reach = timedelta(days=study.model.administration.cover_days)
    named_by_dispense = {order for one in dispensed for order in one.orders}
    named_by_order = {order for one in ordered for order in one.orders}

    settled = requests.given | requests.refused
    open_dispenses = [one for one in dispensed if not one.orders & settled]
    answered = pairs(
        open_dispenses, [one for one in given if not one.orders & named_by_dispense], reach
    )
    # An administration that answers the dispense of an order answers the order.
    taken = [target for seeker, target in answered if seeker.orders & named_by_order]
    settled |= named_by_dispense
    open_orders = [one for one in ordered if not one.orders & settled]
    free = [
        one
        for one in given
        if not one.orders & named_by_order and not any(one is other for other in taken)
    ]
    orders_answered = pairs(open_orders, free, reach)
    left_dispenses = without(open_dispenses, answered)
    left_orders = without(open_orders, orders_answered)
    supplied = pairs(
        left_orders, [one for one in left_dispenses if not one.orders & named_by_order], reach
    )
    left = [*given, *left_dispenses, *without(left_orders, supplied)]
    for one in left:
        one.is_dispensed_undated = one.evidence == "ordered" and bool(one.orders & requests.undated)
    covered = [one for one in dispensed + ordered if not any(one is other for other in left)]
    return left, [record.key for one in covered for record in one.records]


def without(
    doses: list[Administration], matched: list[tuple[Administration, Administration]]
) -> list[Administration]:
    return [one for one in doses if not any(one is seeker for seeker, _ in matched)]


def administrations_of(study: Study, events: list[Event]) -> list[Administration]:
    """The doses that the study counts, in order."""
    doses, _ = all_doses(study, events)
    counted = [one for one in doses if one.evidence in study.model.study.evidence]
    return sorted(counted, key=lambda one: (one.start, one.end, one.key))


def supplied(study: Study, events: list[Event]) -> list[Event]:
    """What tells that a study drug was given, dispensed or taken, by any road; no order does."""
    _, covered = all_doses(study, events)
    return [
        event
        for event in events
        if drug_of(study, event) is not None
        and is_in_force(event)
        and event.row["evidence"] != "ordered"
        and event.row["record_key"] not in covered
    ]
