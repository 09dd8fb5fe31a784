"""Section 2: an infusion that was stopped and begun again is one."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from studies.load import Study
from tests.reference.doses import Administration, drug_of, is_in_force
from tests.reference.events import Event


def last_part(dose: Administration) -> Administration:
    """What was begun last, of one that was stopped and begun again."""
    return Administration(dose.parts[-1]) if dose.parts else dose


def is_stopped(dose: Administration) -> bool:
    """Whether the record that ends last says so; of equal ends, any; of a restart, its own."""
    records = last_part(dose).records
    last = max(one.end for one in records)
    return any(one.end == last and one.status == "stopped" for one in records)


def is_soon_after(dose: Administration, stopped: Administration, hours: float) -> bool:
    """After its end and at most so much later; by dates where one is a day."""
    earlier = last_part(stopped)
    if dose.is_day or earlier.is_day:
        return 0 <= (dose.first - earlier.last).days <= ceil(hours / 24)
    return timedelta() < dose.start - earlier.end <= timedelta(hours=hours)


def prescribed(
    study: Study, events: list[Event], two: list[Administration]
) -> tuple[Fraction, str] | None:
    """Dose and unit of the one order that either names."""
    named = {order for one in two for order in one.orders}
    orders = []
    for event in events:
        drug, row = drug_of(study, event), event.row
        is_order = drug is not None and row["evidence"] == "ordered" and is_in_force(event)
        if is_order and drug == two[0].drug and row.get("order_key") in named:
            orders.append(row)
    if len(orders) != 1 or orders[0].get("dose_value") is None:
        return None
    return Fraction(str(orders[0]["dose_value"])), str(orders[0].get("dose_unit"))


def given(two: list[Administration], unit: str) -> Fraction | None:
    """What all records of two administrations gave, where one source told all of it."""
    records = [record for one in two for record in one.records]
    if len({one.source for one in records}) > 1:
        return None
    if any(one.dose is None or one.dose_unit != unit for one in records):
        return None
    return sum((Fraction(str(one.dose)) for one in records), Fraction(0))


def is_within_order(study: Study, events: list[Event], two: list[Administration]) -> bool:
    """Whether two may be one infusion: under one order, or no more than prescribed, or unknown."""
    if two[0].orders & two[1].orders:
        return True
    order = prescribed(study, events, two)
    if order is None:
        return True
    dose, unit = order
    total = given(two, unit)
    return total is None or total <= dose


def start_next(doses: list[Administration], stopped: Administration) -> Administration | None:
    """What starts next after a stopped dose ended; by dates, what is beside it or later."""
    earlier = last_part(stopped)
    later = [
        one
        for one in doses
        if one is not stopped
        and (
            (one.first >= earlier.last and order(one) > order(earlier))
            if one.is_day or earlier.is_day
            else one.start > earlier.end
        )
    ]
    return min(later, key=order, default=None)


def order(dose: Administration) -> tuple[datetime, bool, datetime, str]:
    """By start; a day begins at its midnight, and of equal starts a stopped one comes first."""
    return dose.start, not is_stopped(dose), dose.end, dose.key


def joined(study: Study, events: list[Event], doses: list[Administration]) -> list[Administration]:
    """Doses of one drug, with every restart put to what it goes on from."""
    hours = study.model.administration.restart_hours
    found: list[Administration] = []
    waiting = sorted(doses, key=order)
    while waiting:
        dose = waiting.pop(0)
        goes_on = [
            one
            for one in found
            if is_stopped(one)
            and start_next([*found, dose, *waiting], one) is dose
            and is_soon_after(dose, one, hours)
            and is_within_order(study, events, [one, dose])
        ]
        if goes_on:
            earlier = max(goes_on, key=lambda one: (one.end, one.start, one.key))
            earlier.parts.append(list(dose.records))
            earlier.records += dose.records
        else:
            found.append(dose)
    return found
