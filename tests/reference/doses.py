"""Section 2: which records tell of one dose, and which doses count."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from studies.load import Study
from studies.model import DrugTable
from tests.reference.clock import When
from tests.reference.events import Event

IN_FORCE = {
    "administered": {"completed", "stopped", "in-progress"},
    "dispensed": {"completed", "stopped", "in-progress", "unknown"},
    "ordered": {"active", "on-hold", "completed", "stopped", "unknown"},
}
#: What is said to have been taken: no dose of its own, and a sign of exposure in these states.
STATED = {"active", "on-hold", "completed", "stopped", "in-progress", "unknown"}


@dataclass(frozen=True)
class Record:
    """One record of a study drug, in force and by a studied route."""

    key: str
    source: str
    drug: DrugTable
    evidence: str
    when: When
    ended_at: datetime | None
    order: str | None
    status: str
    dose: float | None = None
    dose_unit: str | None = None

    @property
    def has_duration(self) -> bool:
        return self.end > self.when.at

    @property
    def end(self) -> datetime:
        """Missing end: the start. (A day's 24:00 is not the end of an infusion.)"""
        return self.ended_at or self.when.at

    @property
    def last(self) -> date:
        return self.when.last


@dataclass
class Administration:
    """Records that are one dose; `parts` are what was begun again after a stop."""

    records: list[Record]
    is_dispensed_undated: bool = False
    parts: list[list[Record]] = field(default_factory=list)

    @property
    def is_interrupted(self) -> bool:
        """Begun again after a stop, or a bag that follows a stopped one."""
        bags = [one for one in self.records if one.has_duration]
        return bool(self.parts) or any(
            one.status == "stopped" and later.when.at >= one.end for one in bags for later in bags
        )

    @property
    def key(self) -> str:
        return min(self.records, key=lambda one: (one.when.at, one.key)).key

    @property
    def drug(self) -> DrugTable:
        return self.records[0].drug

    @property
    def evidence(self) -> str:
        return self.records[0].evidence

    @property
    def orders(self) -> set[str]:
        return {one.order for one in self.records if one.order is not None}

    @property
    def sources(self) -> set[str]:
        return {one.source for one in self.records}

    @property
    def start(self) -> datetime:
        return min(one.when.at for one in self.records)

    @property
    def end(self) -> datetime:
        return max(one.end for one in self.records)

    @property
    def first(self) -> date:
        return min(one.when.first for one in self.records)

    @property
    def last(self) -> date:
        return max(one.last for one in self.records)

    @property
    def is_day(self) -> bool:
        return any(one.when.is_day for one in self.records)

    @property
    def is_running(self) -> bool:
        """In progress, and nobody tells an end: of what was begun again, too."""
        later = [record for part in self.parts for record in part]
        first = [one for one in self.records if one not in later]
        return self.evidence == "administered" and any(
            all(one.ended_at is None for one in part)
            and any(one.status == "in-progress" for one in part)
            for part in [first, *self.parts]
        )


def is_in_force(event: Event) -> bool:
    states = IN_FORCE | {"stated": STATED}
    return event.row["status"] in states.get(event.row["evidence"], set())


def drug_of(study: Study, event: Event) -> DrugTable | None:
    if event.type != "InfusionRecorded":
        return None
    return next((one for one in study.model.drug if event.means([one.concept])), None)


def records_of(study: Study, events: list[Event]) -> list[Record]:
    found = []
    for event in events:
        drug, row = drug_of(study, event), event.row
        if drug is None or event.when is None or not is_in_force(event):
            continue
        if row["evidence"] not in IN_FORCE:
            continue
        if row["route"] not in study.model.study.routes:
            continue
        # Nobody infuses a prescription: only what was administered lasts.
        is_given = row["evidence"] == "administered"
        ended_at = row.get("ended_at") if is_given else None
        if ended_at is not None and ended_at < event.when.at:
            continue  # quarantined
        when = event.span if is_given and event.span is not None else event.when
        found.append(
            Record(
                row["record_key"],
                row["source"],
                drug,
                row["evidence"],
                when,
                ended_at,
                row.get("order_key"),
                row["status"],
                row.get("dose_value"),
                row.get("dose_unit"),
            )
        )
    return sorted(found, key=lambda one: (one.when.at, one.key))


def runs_of(study: Study, records: list[Record]) -> list[Administration]:
    """Join records with a duration until none are left that belong to another group too."""
    gap = timedelta(hours=study.model.administration.bag_gap_hours)
    groups: list[list[Record]] = []
    for record in records:
        same = [
            group
            for group in groups
            if any(
                one.when.at <= record.end + gap and record.when.at <= one.end + gap for one in group
            )
        ]
        groups = [group for group in groups if group not in same]
        groups.append([one for group in same for one in group] + [record])
    return [Administration(group) for group in groups]


def points_of(records: list[Record]) -> list[Administration]:
    """Point doses: at each moment the nth that one source tells is the nth that another tells."""
    found = []
    for moment in {(one.when.at, one.when.is_day) for one in records}:
        here = [one for one in records if (one.when.at, one.when.is_day) == moment]
        told = [
            doses_told([one for one in here if one.source == source])
            for source in {one.source for one in here}
        ]
        for place in range(max(len(doses) for doses in told)):
            same = [record for doses in told for record in doses[place : place + 1]]
            found.append(Administration([one for group in same for one in group]))
    return found


def doses_told(records: list[Record]) -> list[list[Record]]:
    """The doses of one source and one moment: records of one order are one."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        name = f"record {record.key}" if record.order is None else f"order {record.order}"
        groups.setdefault(name, []).append(record)
    return sorted(groups.values(), key=lambda group: min(one.key for one in group))


def holds(record: Record, point: Administration) -> bool:
    return record.has_duration and record.when.at <= point.start <= record.end


def doses_of_drug(study: Study, records: list[Record]) -> list[Administration]:
    """Doses of one drug and one evidence."""
    runs = runs_of(study, [one for one in records if one.has_duration])
    alone = []
    for point in points_of([one for one in records if not one.has_duration]):
        for run in runs:
            holding = {one.source for one in run.records if holds(one, point)}
            if holding and not holding & point.sources and not point.is_day:
                run.records += point.records
                break
        else:
            alone.append(point)
    return runs + alone
