"""Events around the rules of restarts, calcium, missing starts and remedies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.reference.edges import BESIDE, DRUGS, HOUR, LABS, REACTIONS, SECOND, SHIFTS
from tests.reference.timed import Timed, text


class Rarer(Timed):
    """What is told of few patients, and decides much."""

    def restart(self) -> None:
        """An infusion stopped and begun again, sometimes under an order with a dose."""
        order = self.random.choice((None, "order", "prescribed", "prescribed"))
        told: dict[str, Any] = {
            "dose_value": 10.0,
            "dose_unit": self.random.choice(("mg", "mg", "ug")),
        }
        code, start = self.random.choice(DRUGS), self.near(lo=-25, hi=100)
        if self.chance(0.7):
            doses = {"order_key": "prescribed"} | told
            self.patient.infusion(
                text(start - HOUR), code=code, evidence="ordered",
                status=self.random.choice(("active", "active", "cancelled")), **doses,
            )  # fmt: skip
        by_day = self.chance(0.2)
        for _ in range(self.random.choice((2, 2, 3))):
            end = start + self.random.choice((0, 0.5, 1)) * HOUR
            self.patient.infusion(
                text(start)[:10] if by_day else text(start),
                None if by_day or end == start else text(end),
                code=code, order_key=self.random.choice((order, order, None)),
                status=self.random.choice(("stopped", "stopped", "completed", "in-progress")),
                dose_value=self.random.choice((None, 4.0, 5.0, 6.0)), dose_unit="mg",
            )  # fmt: skip
            self.anchors += [start, end]
            start = end + self.random.choice((2, 2.5, 3, 24, 24, 30)) * HOUR
            start += self.random.choice((timedelta(), SECOND))

    def specimen(self) -> None:
        """Total calcium with ionised calcium or albumin of the same draw, or near it."""
        moment, by_day = self.near(lo=-100, hi=100), self.chance(0.1)
        code, unit, values, limits = self.random.choice(LABS[:2])
        total = self.random.choice(values), self.random.choice(limits)
        at = text(moment)[: 10 if by_day else None]
        self.patient.lab(at, code, total[0], unit, low_limit=total[1])
        code, unit, numbers = self.random.choice(BESIDE)
        for _ in range(self.random.choice((1, 1, 2))):
            hours = self.random.choice((0, 0, 0.5, 1, 1, -1, 24, -24, 25))
            other = text(moment + hours * HOUR + self.random.choice(SHIFTS))
            at = other[:10] if self.chance(0.1) else other
            fields = {"status": "cancelled"} if self.chance(0.05) else {}
            self.patient.lab(at, code, self.random.choice(numbers), unit, **fields)

    def undated(self) -> None:
        """A report or code without a start, sometimes with an end."""
        fields: dict[str, Any] = {"occurred_at": None, "time_precision": None}
        if self.chance(0.6):
            fields["ended_at"] = self.near(lo=-25, hi=360)
        if self.chance(0.4):
            fields["grade"] = self.random.randint(1, 4)
        code = self.random.choice(REACTIONS)
        add = self.patient.report if "grade" in fields or self.chance(0.5) else None
        (add or self.patient.diagnosis)("2024-01-01 10:00", code, **fields)

    def remedy(self) -> None:
        """Something against an event, begun, raised or going on."""
        first = self.near(lo=-25, hi=100)
        hours = self.random.choice((0, 1, 24, 24, 25, 72))
        moments = (first, first + hours * HOUR + self.random.choice(SHIFTS))
        for moment in moments[: self.random.choice((1, 2, 2))]:
            at = text(moment)[: 10 if self.chance(0.15) else None]
            dose: dict[str, Any] = {
                "dose_value": self.random.choice((None, 10.0, 10.0, 15.0)),
                "dose_unit": self.random.choice(("mg", "mg", "mL")),
            }
            if self.chance(0.3) and len(at) > len("2024-03-01"):
                dose["ended_at"] = moment + self.random.choice((1, 24, 48)) * HOUR
            if self.chance(0.5):
                status = self.random.choice(("completed", "completed", "unknown", "not-done"))
                drug = {"code": "161", "code_system": "rxnorm", "status": status}
                self.patient.add("MedicationGiven", at, **drug, **dose)
                continue
            evidence, status = self.random.choice(
                (("administered", "completed"), ("administered", "stopped"), ("ordered", "active"),
                 ("ordered", "cancelled"), ("administered", "not-done"), ("dispensed", "completed"))
            )  # fmt: skip
            self.patient.infusion(at, code="1908", evidence=evidence, status=status, **dose)
