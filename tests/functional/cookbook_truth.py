"""The cookbook's answers, counted again from what was planted: plain loops over the truth's files.

Two things are not in the truth and are read from the deliveries: birthdays, and when calcium was
drawn and given. Which column a number belongs to is all that this shares with the statements.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from tests.functional.planted import Planted

Rows = list[dict[str, Any]]

HERE = ZoneInfo("America/New_York")
UTC = ZoneInfo("UTC")
#: Statuses that the headline denominator counts: all that are closed, less the censored.
COMPLETE = {"event", "no_event", "untested", "unobserved", "undetermined"}
CALCIUM_TABLET = "1895"
MG_DL = {"mg/dL": 1.0, "mmol/L": 4.008}


def units(made: Planted) -> Rows:
    """Every unit with its strata, in the order of its index."""
    return sorted(made.truth("unit"), key=lambda row: row["index_start_utc"])


def index_date(row: dict[str, str]) -> date:
    return instant(row["index_start_utc"]).astimezone(HERE).date()


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def told(made: Planted, outcome: str, window: str = "risk") -> Iterator[dict[str, str]]:
    """Units of the headline denominator with their status."""
    about = {(row["patient_id"], row["unit_ordinal"]): row for row in made.truth("unit")}
    for row in made.truth("unit_outcome"):
        is_asked = (row["outcome"], row["window"]) == (outcome, window)
        if is_asked and row["status"] in COMPLETE:
            yield about[row["patient_id"], row["unit_ordinal"]] | row


def counted(rows: Iterator[dict[str, str]], *names: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """Events and units by some strata."""
    n_events, n_units = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for row in rows:
        key = tuple(row[name] for name in names)
        n_units[key] += 1
        n_events[key] += row["status"] == "event"
    return {key: (n_events[key], n_units[key]) for key in sorted(n_units)}


def delivered(made: Planted, name: str) -> Iterator[dict[str, str]]:
    """The newest version of each row of a file, over all nights, without the spoilt ones."""
    spoilt = {
        (f"night-{int(row['night']):03d}", row["file"], int(row["row"]))
        for row in made.truth("fate")
        if row["fate"] == "quarantined"
    }
    newest: dict[str, dict[str, str]] = {}
    for path in sorted((made.hospital / "deliveries").glob(f"*/{name}.csv")):
        with path.open(newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream), start=1):
                if (path.parent.name, path.name, number) in spoilt:
                    continue
                before = newest.get(row["id"])
                if before is None or int(before["version"]) <= int(row["version"]):
                    newest[row["id"]] = row
    yield from newest.values()


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=HERE).astimezone(UTC)


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:  # "QNS"
        return False


def exposure(made: Planted) -> Rows:
    n_units, days = Counter[str](), defaultdict[str, list[int]](list)
    last: dict[tuple[str, str], date] = {}
    patients = defaultdict[str, set[str]](set)
    for row in units(made):
        who = row["patient_id"], row["drug"]
        if who in last:
            days[row["drug"]].append((index_date(row) - last[who]).days)
        last[who] = index_date(row)
        n_units[row["drug"]] += 1
        patients[row["drug"]].add(row["patient_id"])
    return [
        {"drug": drug, "n_units": n, "n_patients": len(patients[drug])}
        | {"median_days_apart": round(median(days[drug]))}
        for drug, n in sorted(n_units.items())
    ]


def first_and_later(made: Planted) -> Rows:
    rows = list(told(made, "any_side_effect"))
    sides = {"all": rows} | {
        side: [row for row in rows if row["ordinal"] == side] for side in ("first", "later")
    }
    return [
        {"units": name, "n_events": sum(row["status"] == "event" for row in side)}
        | {"n_units": len(side), "n_patients": len({row["patient_id"] for row in side})}
        for name, side in sides.items()
    ]


def fever_by_age(made: Planted) -> Rows:
    births = {
        row["patient_id"]: date.fromisoformat(row["birth_date"])
        for row in delivered(made, "patients")
    }
    n_events, n_units = Counter[str](), Counter[str]()
    for row in told(made, "fever"):
        if (row["drug"], row["ordinal"]) != ("zoledronic acid", "first"):
            continue
        day, birth = index_date(row), births[row["patient_id"]]
        years = day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))
        band = next(name for until, name in BANDS.items() if years < until)
        n_units[band] += 1
        n_events[band] += row["status"] == "event"
    return [
        {"age_band": band, "n_events": n_events[band], "n_units": n_units[band]}
        for band in BANDS.values()
    ]


BANDS = {2: "0-1 y", 6: "2-5 y", 12: "6-11 y", 21: "12-20 y"}


def not_looked_at(made: Planted) -> Rows:
    n_units, n_not = Counter[str](), Counter[str]()
    for row in told(made, "fever"):
        n_units[row["setting"]] += 1
        n_not[row["setting"]] += row["is_observed"] == "false"
    return [
        {"setting": place, "n_units": n, "n_not_looked_at": n_not[place]}
        for place, n in sorted(n_units.items())
    ]


def premedication(made: Planted) -> Rows:
    found = counted(told(made, "acute_phase_reaction"), "ordinal", "premedicated")
    return [
        {"ordinal": ordinal, "premedicated": given, "n_events": n_events, "n_units": n_units}
        for (ordinal, given), (n_events, n_units) in found.items()
    ]


def first_v_later(made: Planted) -> Rows:
    found = counted(told(made, "any_side_effect"), "ordinal")
    (e1, n1), (e2, n2) = found["first",], found["later",]
    ratio = round((e1 / n1) / (e2 / n2), 2)
    return [
        {"n_events": e1, "n_units": n1, "other_n_events": e2, "other_n_units": n2, "ratio": ratio}
    ]


def by_quarter(made: Planted) -> Rows:
    rows = [
        row | {"quarter": f"{day.year}-Q{(day.month + 2) // 3}"}
        for row in told(made, "any_side_effect")
        for day in [index_date(row)]
    ]
    return [
        {"calendar_quarter": quarter, "n_events": n_events, "n_units": n_units}
        for (quarter,), (n_events, n_units) in counted(iter(rows), "quarter").items()
    ][-6:]


def by_window(made: Planted) -> Rows:
    found = []
    for outcome in ("hypocalcaemia", "hypophosphataemia"):
        for window in ("risk", "extended"):
            n_events, n_units = counted(told(made, outcome, window), "outcome")[outcome,]
            found.append({"outcome": outcome, "window_name": window, "n_events": n_events})
            found[-1]["n_units"] = n_units
    return found


def without_supplement(made: Planted) -> Rows:
    """From the rows as delivered: the first result below 8 mg/dL, and tablets in the day after."""
    tablets = defaultdict[str, list[datetime]](list)
    for row in delivered(made, "medications"):
        if row["code"] == CALCIUM_TABLET and row["category"] == "oral":
            tablets[row["patient_id"]].append(local(row["start"]))
    drawn = defaultdict[str, list[tuple[datetime, float, dict[str, str]]]](list)
    for row in delivered(made, "labs"):
        if row["name"] == "Calcium" and row["unit"] in MG_DL and is_number(row["value"]):
            value = float(row["value"]) * MG_DL[row["unit"]]
            drawn[row["patient_id"]].append((local(row["collected"]), value, row))
    found = []
    for unit in sorted(told(made, "hypocalcaemia"), key=lambda row: row["index_start_utc"]):
        if unit["status"] != "event":
            continue
        opens = instant(unit["index_start_utc"]) + timedelta(minutes=30)
        inside = [
            one
            for one in sorted(drawn[unit["patient_id"]], key=lambda one: one[0])
            if opens < one[0] < instant(unit["window_end_utc"])
        ]
        low = [one for one in inside if one[1] < 8]
        day = timedelta(hours=24)
        given = [at - low[0][0] for at in tablets[unit["patient_id"]] if at >= low[0][0]]
        if not any(after <= day for after in given):
            worst = min(low, key=lambda one: one[1])[2]
            found.append(
                {"index_date": index_date(unit), "drug": unit["drug"]}
                | {"nth": int(unit["unit_ordinal"]), "worst_value": float(worst["value"])}
                | {"worst_unit": worst["unit"]}
            )
    return found


def per_child(made: Planted) -> Rows:
    n = Counter[str]()
    for row in told(made, "any_side_effect"):
        n[row["patient_id"]] += row["status"] == "event"
    return [{"n_with_event": k, "n_patients": m} for k, m in sorted(Counter(n.values()).items())]


def again(made: Planted) -> Rows:
    seen = {
        (row["patient_id"], int(row["unit_ordinal"])): row["status"] == "event"
        for row in told(made, "any_side_effect")
    }
    both = [(seen[who, 1], seen[who, 2]) for who, n in seen if n == 1 and (who, 2) in seen]
    return [
        {"is_first_event": side, "n_second_events": sum(b for a, b in both if a is side)}
        | {"n_patients": sum(a is side for a, _ in both)}
        for side in (False, True)
    ]


def quarantined(made: Planted) -> Rows:
    n = sum(row["fate"] == "quarantined" for row in made.truth("fate"))
    read = (made.hospital / "deliveries").glob("*/*.csv")
    n_read = sum(len(list(csv.reader(io.StringIO(path.read_text("utf-8"))))) - 1 for path in read)
    return [{"event_type": "all", "n_read": n_read, "n_quarantined": n}]


#: Questions of whose answer some rows are not in the truth.
IN_PART = {2, 5, 20}
#: What is known of the answer to each question, by its number; of 14, 18 and 19 nothing is.
TRUTH: dict[int, Callable[[Planted], Rows]] = {
    1: exposure,
    2: lambda made: [{"step": "eligible units", "n": len(units(made))}],
    3: lambda made: first_and_later(made)[:2],
    4: fever_by_age,
    5: lambda made: [
        {"denominator": name, "n_units": int(row[column]), "n_events": int(row["n_events"])}
        for row in made.truth("risk")
        if (row["outcome"], row["window"], row["stratum"]) == ("hypocalcaemia", "risk", "all")
        for name, column in (("all", "n_units"), ("tested", "n_tested"))
    ],
    6: not_looked_at,
    7: premedication,
    8: first_v_later,
    9: lambda made: [
        {"units": row["units"], "n_events": row["n_events"], "n_units": row["n_units"]}
        for row in first_and_later(made)
    ],
    10: lambda made: [
        {"ordinal": ordinal, "n_events": n_events}
        for (ordinal,), (n_events, _) in counted(told(made, "fever"), "ordinal").items()
    ],
    11: lambda made: [
        {"drug": drug, "n_first_events": n_events}
        for (drug,), (n_events, _) in counted(told(made, "fever"), "drug").items()
    ],
    12: by_quarter,
    13: by_window,
    15: without_supplement,
    16: per_child,
    17: again,
    20: quarantined,
}
