"""The records say what the truth says: a slow reading of the rendered files by the window rules.

Written with the standard library alone, from docs and not from the simulator or the pipeline. Where
the rules leave room (does a normal reading end a fever?) both readings must give the truth.
"""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import zoneinfo
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.simulate import NAMED_NIGHTS, NAMED_PATIENTS, NAMED_SEED, simulate

Row = dict[str, str]
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
SYMPTOMS = {
    "myalgia": ("M79.10", "M79.18", "M89.8X9", "R52"),
    "chills": ("R68.83",),
    "headache": ("R51.9",),
    "nausea": ("R11.0", "R11.10", "R11.2"),
}
CUTS = {
    "17861-6": (8.0, 7.0, 6.0),
    "2000-8": (2.0, 1.75, 1.5),
    "2777-1": (2.5, 2.0, 1.0),
    "14879-1": (0.8, 0.6, 0.3),
}
INDICATIONS = ("Q78.0", "G71.01", "G12.0", "G12.1", "G80.0", "G80.3", "T38.0X5A", "Z79.52")
HEART = ((0, 205), (3, 190), (24, 140), (120, 100))
BREATH = ((0, 60), (12, 40), (48, 34), (72, 30), (156, 16))


def read(path: Path) -> list[Row]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def utc(text: str) -> dt.datetime:
    local = dt.datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
    return local.astimezone(dt.UTC)


def load(folder: Path) -> dict[str, dict[str, list[Row]]]:
    """Return file -> patient -> current rows, without what the truth says is not accepted."""
    dropped = {
        (int(f["night"]), f["file"], int(f["row"]))
        for f in read(folder / "truth" / "fate.csv")
        if f["fate"] != "accepted"
    }
    current: dict[str, dict[str, Row]] = defaultdict(dict)
    for night_folder in sorted((folder / "deliveries").iterdir()):
        night = int(night_folder.name.removeprefix("night-"))
        for path in sorted(night_folder.glob("*.csv")):
            for number, row in enumerate(read(path), start=1):
                if (night, path.name, number) in dropped:
                    continue
                rows = current[path.stem]
                if row["id"] not in rows or int(rows[row["id"]]["version"]) < int(row["version"]):
                    rows[row["id"]] = row
    by_patient: dict[str, dict[str, list[Row]]] = {}
    for file, rows in current.items():
        by_patient[file] = defaultdict(list)
        for row in rows.values():
            by_patient[file][row["patient_id"]].append(row)
    return by_patient


class Unit:
    def __init__(self, drug: str, start: dt.datetime, end: dt.datetime, has_end: bool) -> None:
        self.drug, self.start, self.end, self.has_end = drug, start, end, has_end
        self.cut = dt.datetime.max.replace(tzinfo=dt.UTC)

    def until(self, hours: int = 72) -> dt.datetime:
        return min(self.end + hours * HOUR, self.cut)


def units_of(rows: list[Row]) -> list[Unit]:
    given = [
        Unit(r["code"], utc(r["start"]), utc(r["end"] or r["start"]), bool(r["end"]))
        for r in rows
        if r["category"] == "infusion"
        and r["status"] == "completed"
        and r["record_state"] == "active"
        and r["code"] in ("77655", "11473")
    ]
    made: list[Unit] = []
    for one in sorted(given, key=lambda u: (u.start, u.end)):
        last = next((u for u in reversed(made) if u.drug == one.drug), None)
        if last is not None:
            gap = one.start - last.end
            is_bag = last.has_end and one.has_end and gap <= 2 * HOUR
            if gap < 0 * HOUR or is_bag or (one.drug == "11473" and gap <= 96 * HOUR):
                last.end = max(last.end, one.end)
                continue
        made.append(one)
    for earlier, later in itertools.pairwise(made):
        earlier.cut = later.start
    return made


Evidence = tuple[dt.datetime, int]


def emerges(unit: Unit, evidence: list[Evidence], ends: list[dt.datetime]) -> bool:
    """Tell whether an episode begins in the window, or one from before gets worse in it."""
    episodes: list[list[Evidence]] = []
    for at, grade in sorted(evidence):
        last = episodes[-1][-1][0] if episodes else None
        is_new = last is None or at - last > 72 * HOUR or any(last < e < at for e in ends)
        if is_new:
            episodes.append([])
        episodes[-1].append((at, grade))
    for episode in episodes:
        inside = [g for at, g in episode if unit.start <= at < unit.until()]
        before = [g for at, g in episode if at < unit.start]
        if inside and (not before or max(inside) > max(before)):
            return True
    return False


def placed(row: Row, unit: Unit) -> dt.datetime | None:
    """Return a day-precision code's time: the infusion's own day counts as after the start."""
    begin = utc(row["diagnosed"] + " 00:00")
    local = unit.start.astimezone(NEW_YORK).date().isoformat()
    return unit.start if row["diagnosed"] == local else begin


def celsius(row: Row) -> float:
    value = float(row["value"])
    return round((value - 32) / 1.8 if row["unit"] == "[degF]" else value, 1)


def fever(unit: Unit, rows: dict[str, list[Row]], resolves: bool) -> bool:
    readings = [(utc(r["measured"]), celsius(r)) for r in rows["vitals"] if r["code"] == "8310-5"]
    evidence = [(at, 1 + (t > 39.0) + (t > 40.0)) for at, t in readings if t >= 38.0]
    for row in rows["diagnoses"]:
        at = placed(row, unit)
        if row["code"] == "R50.9" and at:
            evidence.append((at, 0))
    return emerges(unit, evidence, [at for at, t in readings if t < 38.0] if resolves else [])


def fast(unit: Unit, rows: dict[str, list[Row]], code: str, limit: float) -> bool:
    readings = sorted(
        (utc(r["measured"]), float(r["value"])) for r in rows["vitals"] if r["code"] == code
    )
    before = [v for at, v in readings if at < unit.start]
    least = 1.2 * before[-1] if before else 0.0
    high = [
        at
        for at, v in readings
        if v > limit and v >= least and unit.start + HOUR <= at < unit.until()
    ]
    return bool(high) and high[-1] - high[0] >= HOUR / 2


def symptom(unit: Unit, rows: dict[str, list[Row]], codes: tuple[str, ...]) -> bool:
    evidence = [
        (utc(r["onset"]), int(r["grade"])) for r in rows["adverse_events"] if r["code"] in codes
    ]
    evidence += [
        (at, 0)
        for r in rows["diagnoses"]
        if r["code"] in codes and (at := placed(r, unit)) is not None
    ]
    return emerges(unit, evidence, [])


def lab(unit: Unit, rows: dict[str, list[Row]], codes: tuple[str, str], hours: int) -> bool | None:
    """Return event, no event, or None where nothing was tested."""

    def grade(row: Row) -> int:
        value = float(row["value"])
        if row["low"] and value >= float(row["low"]):
            return 0
        below = sum(value < cut for cut in CUTS[row["code"]])
        return below + 1 if below else 1 if row["low"] else 0

    known = sorted(
        (
            (utc(r["collected"]), grade(r))
            for r in rows["labs"]
            if r["code"] in codes
            and r["status"] != "cancelled"
            and r["specimen"] != "haemolysed"
            and r["value"].replace(".", "", 1).isdigit()
            and r["unit"] in ("mg/dL", "mmol/L")
        ),
        key=lambda one: one[0],
    )
    grace = unit.start + HOUR / 2
    before = [g for at, g in known if unit.start - 90 * DAY <= at <= grace]
    after = [g for at, g in known if grace < at < unit.until(hours)]
    baseline = before[-1] if before else 0
    return max(after) >= 2 and max(after) > baseline if after else None


def observed(unit: Unit, rows: dict[str, list[Row]]) -> bool:
    times = [utc(r["measured"]) for r in rows["vitals"]]
    times += [utc(r["onset"]) for r in rows["adverse_events"]]
    times += [utc(r["start"]) for r in rows["encounters"]]
    return any(unit.end + 6 * HOUR <= at < unit.until() for at in times)


def months(birth: dt.date, at: dt.datetime) -> int:
    day = at.astimezone(NEW_YORK).date()
    return 12 * (day.year - birth.year) + day.month - birth.month - (day.day < birth.day)


def limit_of(table: tuple[tuple[int, int], ...], age: int) -> float:
    return [limit for edge, limit in table if edge <= age][-1]


def statuses(
    unit: Unit, rows: dict[str, list[Row]], birth: dt.date, resolves: bool
) -> dict[str, str]:
    age = months(birth, unit.start)
    seen = observed(unit, rows)
    is_cut = unit.cut < unit.end + 72 * HOUR
    vital = {
        "fever": fever(unit, rows, resolves),
        "tachycardia": fast(unit, rows, "8867-4", limit_of(HEART, age)),
    }
    breath = fast(unit, rows, "9279-1", limit_of(BREATH, age))
    told = {name: symptom(unit, rows, codes) for name, codes in SYMPTOMS.items()}
    groups = sum(told.values()) + (vital["tachycardia"] or breath)
    calcium = lab(unit, rows, ("17861-6", "2000-8"), 72)
    phosphate = lab(unit, rows, ("2777-1", "14879-1"), 72)
    any_event = breath or any(told.values()) or any(vital.values()) or calcium or phosphate
    all_known = seen and calcium is not None and phosphate is not None

    def judge(event: bool | None, is_known: bool, unknown: str) -> str:
        if event:
            return "event"
        return "censored" if is_cut else "no_event" if is_known else unknown

    made = {f"{name}/risk": judge(one, seen, "unobserved") for name, one in vital.items()}
    for name, codes in (
        ("hypocalcaemia", ("17861-6", "2000-8")),
        ("hypophosphataemia", ("2777-1", "14879-1")),
    ):
        for window, hours in (("risk", 72), ("extended", 336)):
            one = lab(unit, rows, codes, hours)
            made[f"{name}/{window}"] = judge(one, one is not None, "untested")
    made["acute_phase_reaction/risk"] = judge(vital["fever"] or groups >= 2, seen, "undetermined")
    made["any_side_effect/risk"] = judge(bool(any_event), all_known, "undetermined")
    return made


def differences(folder: Path, resolves: bool) -> tuple[list[str], int]:
    """Return where the records, read slowly, do not say what the truth says."""
    files = load(folder)
    truth: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in read(folder / "truth" / "unit_outcome.csv"):
        unit_key = (row["patient_id"], row["index_start_utc"])
        truth[unit_key][f"{row['outcome']}/{row['window']}"] = row["status"]
    found, n_units = [], 0
    for patient, (row,) in files["patients"].items():
        rows = {file: files[file].get(patient, []) for file in files}
        born = dt.date.fromisoformat(row["birth_date"])
        left = utc(row["observation_end"]) if row["observation_end"] else None
        for number, unit in enumerate(units_of(rows["medications"]), start=1):
            n_units += 1
            if left and left < unit.end + 72 * HOUR:
                unit.cut = min(unit.cut, left)
            expected = truth[(patient, unit.start.strftime("%Y-%m-%dT%H:%M:%SZ"))]
            age_21 = born.replace(year=born.year + 21, day=min(born.day, 28))
            is_old = unit.start.astimezone(NEW_YORK).date() >= age_21
            told = statuses(unit, rows, born, resolves)
            for name, status in told.items():
                wanted = expected.get(name, "no such unit")
                if is_old or not any(r["code"] in INDICATIONS for r in rows["diagnoses"]):
                    status = "ineligible"
                if wanted not in (status, "open") and (wanted, status) != ("open_event", "event"):
                    found.append(f"{patient} unit {number} {name}: {status}, truth {wanted}")
    return found, n_units


CASES: dict[str, Callable[[Path], object]] = {
    "named, clean": lambda out: simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.0, out),
    "named, dirty": lambda out: simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.03, out),
}
MORE: dict[str, Callable[[Path], object]] = {
    "another, clean": lambda out: simulate(150, "another", 4, 0.0, out),
    "a third, dirty": lambda out: simulate(150, "third", 1, 0.02, out),
}


@pytest.mark.no_cover  # the slow reading of the records is what would be traced
@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)]
)
def test_the_records_say_what_the_truth_says(case: str, tmp_path: Path) -> None:
    out = tmp_path / "hospital"
    {**CASES, **MORE}[case](out)
    rows_of_truth = read(out / "truth" / "unit.csv")
    for resolves in (True, False):
        found, n_units = differences(out, resolves)
        assert found == []
        assert n_units == len(rows_of_truth)
