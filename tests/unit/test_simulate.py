"""The synthetic hospital: its promises about counts, bytes and fates."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
import zoneinfo
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import pipelines.simulate
from pipelines.simulate import (
    NAMED_NIGHTS,
    NAMED_PATIENTS,
    NAMED_SEED,
    SimulateError,
    SimulationSummary,
    Traits,
    clock,
    simulate,
)
from pipelines.simulate.edges import Style, Trap
from pipelines.simulate.handworked import expected_statuses, write_handworked
from pipelines.simulate.hospital import plant

Row = dict[str, str]
TIME_NAMES = ("start", "collected", "measured", "diagnosed", "onset")
STRATA = ("drug", "indication_type", "ordinal", "setting", "sex", "premedicated")


def read(path: Path) -> list[Row]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationSummary]:
    out = tmp_path_factory.mktemp("named")
    return out, simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.05, out)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationSummary]:
    out = tmp_path_factory.mktemp("other")
    return out, simulate(300, "other", 2, 0.02, out)


def test_the_named_hospital_holds_the_counts_of_the_paper(
    named: tuple[Path, SimulationSummary],
) -> None:
    out, summary = named
    any_rows = [
        r for r in read(out / "truth" / "unit_outcome.csv") if r["outcome"] == "any_side_effect"
    ]
    events = [r for r in any_rows if r["status"] == "event"]
    assert len({r["patient_id"] for r in any_rows}) == 123
    assert len(any_rows) == 942
    assert len(events) == 66
    assert sum(r["unit_ordinal"] == "1" for r in events) == 33
    assert sum(r["unit_ordinal"] == "1" for r in any_rows) == 123
    assert (summary.n_patients, summary.n_units, summary.n_any) == (123, 942, 66)
    assert (summary.n_first_units, summary.n_first_any) == (123, 33)


def test_every_named_unit_is_closed_eligible_at_risk_and_uncensored_in_every_window(
    named: tuple[Path, SimulationSummary],
) -> None:
    statuses = Counter(r["status"] for r in read(named[0] / "truth" / "unit_outcome.csv"))
    assert set(statuses) == {"event", "no_event", "unobserved", "untested", "undetermined"}
    assert sum(statuses.values()) == 942 * 8


@pytest.mark.parametrize("nights", [1, 2, 7, 200])
def test_the_named_counts_do_not_hang_on_the_nights(nights: int, tmp_path: Path) -> None:
    summary = simulate(NAMED_PATIENTS, NAMED_SEED, nights, 0.0, tmp_path / "out")
    assert (summary.n_units, summary.n_any, summary.n_first_any) == (942, 66, 33)
    assert len(list((tmp_path / "out" / "deliveries").iterdir())) == nights


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    simulate(20, "twice", 2, 0.1, tmp_path / "a")
    simulate(20, "twice", 2, 0.1, tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_another_seed_is_another_hospital(tmp_path: Path) -> None:
    simulate(20, "one", 2, 0.0, tmp_path / "a")
    simulate(20, "two", 2, 0.0, tmp_path / "b")
    first, second = digest(tmp_path / "a"), digest(tmp_path / "b")
    assert all(first[name] != second[name] for name in first if name.endswith("labs.csv"))


def test_other_seeds_vary_around_the_published_rates(tmp_path: Path) -> None:
    made = [simulate(400, f"rate-{n}", 1, 0.0, tmp_path / str(n)) for n in range(6)]
    first = sum(s.n_first_any for s in made) / sum(s.n_first_units for s in made)
    later = sum(s.n_any - s.n_first_any for s in made) / sum(
        s.n_units - s.n_first_units for s in made
    )
    # 2,400 children and 16,000 later units: four standard errors are 0.036 and 0.006, and
    # children differ in frailty; publication: 26.8 % and 4.0 %.
    assert first == pytest.approx(33 / 123, abs=0.045)
    assert later == pytest.approx(33 / 819, abs=0.012)
    assert len({s.n_any for s in made}) > 1
    assert 6.6 < np.mean([s.n_units / s.n_patients for s in made]) < 8.4


@pytest.mark.parametrize(("share", "unit"), [(0.0, "mg/dL"), (1.0, "mmol/L")])
def test_a_laboratory_has_the_units_of_its_hospital(
    share: float, unit: str, tmp_path: Path
) -> None:
    simulate(3, "units", 1, 0.0, tmp_path / "out", traits=Traits(si_share=share))
    labs = read(tmp_path / "out" / "deliveries" / "night-001" / "labs.csv")
    assert {row["unit"] for row in labs if row["name"] in ("Calcium", "Phosphate")} == {unit}


def test_a_hospital_has_the_risk_that_it_is_given(tmp_path: Path) -> None:
    made = [
        simulate(1000, "risk", 1, 0.0, tmp_path / f"{k}", traits=Traits(risk_factor=k))
        for k in (0.5, 1.5)
    ]
    # Of later units: a first one's chance of a frail child has its end at 0.9.
    later = [(s.n_any - s.n_first_any) / (s.n_units - s.n_first_units) for s in made]
    # 6,700 units and about 130 and 400 events: four standard errors of the ratio's logarithm.
    assert np.log(later[1] / later[0]) == pytest.approx(np.log(3), abs=0.45)


def test_dirt_changes_no_truth_and_no_clean_row(tmp_path: Path) -> None:
    simulate(60, "dirt", 2, 0.0, tmp_path / "clean")
    simulate(60, "dirt", 2, 0.2, tmp_path / "dirty")
    for name in ("unit.csv", "unit_outcome.csv", "risk.csv"):
        clean, dirty = (tmp_path / kind / "truth" / name for kind in ("clean", "dirty"))
        assert clean.read_bytes() == dirty.read_bytes()
    marked = {(f["night"], f["file"], int(f["row"])) for f in fates(tmp_path / "dirty")}
    for path in sorted((tmp_path / "clean" / "deliveries").rglob("*.csv")):
        twin = tmp_path / "dirty" / path.relative_to(tmp_path / "clean")
        night = str(int(path.parent.name.removeprefix("night-")))
        kept = [
            line
            for number, line in enumerate(twin.read_text().splitlines())
            if (night, path.name, number) not in marked
        ]
        assert kept == path.read_text().splitlines()


def fates(out: Path) -> list[Row]:
    return read(out / "truth" / "fate.csv")


def test_every_fate_names_a_row_that_is_dirty_in_that_way(
    named: tuple[Path, SimulationSummary],
) -> None:
    out, summary = named
    seen: Counter[str] = Counter()
    for fate in fates(out):
        lines = lines_of(out / "deliveries" / f"night-{int(fate['night']):03d}" / fate["file"])
        assert shows(fate["kind"], lines, int(fate["row"])), fate
        seen[fate["kind"]] += 1
    assert len(seen) == 13
    assert sum(seen.values()) == summary.n_dirty
    # Records with too many fields are rows too.
    delivered = (out / "deliveries").rglob("*.csv")
    assert sum(len(lines_of(path)) - 1 for path in delivered) == summary.n_rows


@cache
def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def shows(kind: str, lines: list[str], number: int) -> bool:
    """Tell whether a record is dirty in the way that its fate says."""
    header, cells = csv.reader([lines[0], lines[number]])
    row = dict(zip(header, cells, strict=False))
    if kind == "broken_record":
        return len(cells) > len(header)
    if kind == "exact_duplicate":
        return lines[number] in lines[1:number]
    if kind == "older_version":
        newer = f"{row['id']},{int(row['version']) + 1},"
        return any(line.startswith(newer) for line in lines)
    if kind == "end_before_start":
        return row["end"] < row["start"]
    column, values = {
        "missing_id": ("id", [""]),
        "missing_code": ("code", [""]),
        "impossible_value": ("value", ["3810", "900", "9999"]),
        "foreign_code": ("code", ["2345-7", "8480-6", "J45.909", "L30.9", "723"]),
        "unknown_unit": ("unit", ["furlong"]),
        "no_number": ("value", ["QNS"]),
        "unknown_category": ("category", ["contrast"]),
    }.get(kind, ("", []))
    if values:
        return row[column] in values
    wanted = "2017-02-31 10:00" if kind == "unreadable_time" else "2031-01-01 10:00"
    return any(row.get(name) == wanted for name in TIME_NAMES)


def test_a_clean_hospital_has_no_fates_and_unique_records(tmp_path: Path) -> None:
    summary = simulate(60, "clean", 3, 0.0, tmp_path)
    assert summary.n_dirty == 0
    assert fates(tmp_path) == []
    seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for path in (tmp_path / "deliveries").rglob("*.csv"):
        for row in read(path):
            version = (row["id"], row["version"])
            assert row["id"]
            assert version not in seen[path.name]
            seen[path.name].add(version)


def test_risks_recount_slowly_from_the_units(other: tuple[Path, SimulationSummary]) -> None:
    out, _ = other
    units = {
        (r["patient_id"], r["unit_ordinal"]): {**r, "all": "all"}
        for r in read(out / "truth" / "unit.csv")
    }
    rows = read(out / "truth" / "unit_outcome.csv")
    n_checked = 0
    for risk in read(out / "truth" / "risk.csv"):
        mine = [
            r
            for r in rows
            if (r["outcome"], r["window"]) == (risk["outcome"], risk["window"])
            and units[r["patient_id"], r["unit_ordinal"]][risk["stratum"]] == risk["stratum_value"]
        ]
        counted = [r for r in mine if r["status"] not in ("ineligible", "open", "open_event")]
        free = [r for r in counted if r["status"] != "censored"]
        assert int(risk["n_units"]) == len(counted)
        assert int(risk["n_patients"]) == len({r["patient_id"] for r in counted})
        assert int(risk["n_events"]) == sum(r["status"] == "event" for r in counted)
        assert int(risk["n_censored"]) == len(counted) - len(free)
        assert int(risk["n_open"]) == sum(r["status"].startswith("open") for r in mine)
        assert int(risk["n_ineligible"]) == sum(r["status"] == "ineligible" for r in mine)
        for name in ("observed", "tested"):
            if risk[f"n_{name}"]:
                assert int(risk[f"n_{name}"]) == sum(r[f"is_{name}"] == "true" for r in free)
        if risk["n_determined"]:
            n_known = sum(r["status"] in ("event", "no_event") for r in free)
            assert int(risk["n_determined"]) == n_known
        told = [risk[f"n_{name}"] != "" for name in ("observed", "tested", "determined")]
        assert sum(told) == 1
        n_checked += 1
    assert n_checked > 8 * len(STRATA)


def test_other_hospitals_hold_what_the_named_one_lacks(
    other: tuple[Path, SimulationSummary],
) -> None:
    statuses = Counter(r["status"] for r in read(other[0] / "truth" / "unit_outcome.csv"))
    assert min(statuses[s] for s in ("open", "censored", "ineligible")) > 0


def test_every_trap_and_every_edge_is_planted_in_the_named_hospital() -> None:
    _, units, plan = plant(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS)
    assert set(plan.trap) == set(Trap)
    styles = set(plan.fever_style[plan.has[:, 0]])
    assert {Style.AT_START, Style.LAST_MINUTE, Style.ROUNDS_UP, Style.WORSENED} <= styles
    assert Style.BEFORE_CLOCK_CHANGE_ENDS in styles
    assert {60, -60} <= set(units.shift)
    assert units.is_split.any()
    assert units.has_no_end.any()


def test_units_keep_a_distance_that_leaves_baselines_clear() -> None:
    _, units, _ = plant(400, "distance", 3)
    same = (units.patient[1:] == units.patient[:-1]) & ~units.is_restart[1:]
    gap_days = (units.start[1:] - units.end[:-1])[same] / clock.DAY
    assert gap_days.min() > 90 + 16 + 1
    assert (units.ordinal[1:][same] == units.ordinal[:-1][same] + 1).all()


def test_children_differ_in_how_readily_they_react() -> None:
    people, units, plan = plant(3000, "frailty", 1)
    reacts = plan.has.any(axis=1) & (units.ordinal > 1)
    per_child = np.bincount(units.patient, weights=reacts, minlength=people.n)
    n = np.bincount(units.patient[units.ordinal > 1], minlength=people.n)
    expected = n * reacts.sum() / n.sum()
    assert ((per_child - expected) ** 2).sum() > 1.1 * expected.sum()  # Poisson would give 1


def test_nights_arrive_late_and_never_before_they_can_be_known(
    other: tuple[Path, SimulationSummary],
) -> None:
    folder = other[0] / "deliveries" / "night-001"
    through = re.search(r"default = (\S+)Z", (folder / "delivery.toml").read_text())
    assert through
    limit = datetime.fromisoformat(through.group(1)).replace(tzinfo=UTC)
    new_york = zoneinfo.ZoneInfo("America/New_York")
    dirty = {(f["file"], int(f["row"])) for f in fates(other[0]) if f["night"] == "1"}
    for file, column in (("labs.csv", "collected"), ("vitals.csv", "measured")):
        times = [
            datetime.fromisoformat(row[column]).replace(tzinfo=new_york)
            for number, row in enumerate(read(folder / file), start=1)
            if (file, number) not in dirty
        ]
        assert max(times).astimezone(UTC) <= limit
    assert len(read(folder.parent / "night-002" / "labs.csv")) > 0


@pytest.mark.parametrize("wall", clock.CLOCKS.values(), ids=list(clock.CLOCKS))
def test_a_hospital_clock_agrees_with_zoneinfo(wall: clock.WallClock) -> None:
    zone = zoneinfo.ZoneInfo(wall.zone)
    begin = datetime(2012, 1, 1)  # noqa: DTZ001 - a wall clock
    local = [begin + timedelta(minutes=1009 * n) for n in range(4_000)]
    springs, changes = wall.springs(), [*wall.springs(), *wall.autumns()]
    near = [int(one) + 7 * n for one in changes for n in range(-30, 30)]
    around = [datetime(1970, 1, 1) + timedelta(minutes=n) for n in near]  # noqa: DTZ001
    local += [one for one in around if one > begin]  # St John's had an hour of its own until 2011
    minutes = np.array([int((t - datetime(1970, 1, 1)).total_seconds() // 60) for t in local])  # noqa: DTZ001
    ours = wall.to_utc(minutes)
    checked = 0
    for t, minute, utc in zip(local, minutes, ours, strict=True):
        if np.any((springs <= minute) & (minute < springs + clock.HOUR)):
            continue  # the missing hour is never planted
        theirs = t.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        assert datetime(1970, 1, 1) + timedelta(minutes=int(utc)) == theirs  # noqa: DTZ001
        checked += 1
    assert checked > 3_990


def test_birthdays_complete_years() -> None:
    days = np.array([clock.day_number(datetime(2000, 2, 29).date())])  # noqa: DTZ001
    assert clock.years_after(days, 21)[0] == clock.day_number(datetime(2021, 3, 1).date())  # noqa: DTZ001
    assert clock.years_after(days, 20)[0] == clock.day_number(datetime(2020, 2, 29).date())  # noqa: DTZ001


@pytest.mark.parametrize(
    ("patients", "nights", "dirt"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.5), (1, 1, -0.1)]
)
def test_impossible_arguments_are_refused(
    patients: int, nights: int, dirt: float, tmp_path: Path
) -> None:
    with pytest.raises(SimulateError):
        simulate(patients, "x", nights, dirt, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_deliveries_is_refused(tmp_path: Path) -> None:
    simulate(1, "x", 1, 0.0, tmp_path)
    with pytest.raises(SimulateError, match="already holds"):
        simulate(1, "x", 1, 0.0, tmp_path)


@pytest.mark.parametrize(
    "patients", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3)), 5]
)
def test_a_tiny_hospital_can_be_made(patients: int, tmp_path: Path) -> None:
    for seed in range(8):
        out = tmp_path / str(seed)
        summary = simulate(patients, str(seed), 3, 0.3, out)
        assert summary.n_patients == patients
        told = json.loads((out / "truth" / "summary.json").read_text())
        assert told["n_rows"] == summary.n_rows


def test_the_simulator_imports_nothing_that_decides() -> None:
    allowed = ("pipelines.simulate", "pipelines.base")
    ours = ("pipelines", "studies", "schemas", "warehouse", "expectations", "flows", "tests")
    for path in Path(pipelines.simulate.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.split(".")[0] in ours:
                    assert name.startswith(allowed), f"{path.name} imports {name}"


def test_the_handworked_page_and_its_answers_agree() -> None:
    page = Path(pipelines.simulate.__file__).parent / "handworked" / "README.md"
    words = "no_event event censored unobserved untested undetermined open open_event ineligible"
    letters = dict(zip("nEcut?oOi", words.split(), strict=True))
    shown = {}
    for line in page.read_text().splitlines():
        if line.startswith("| HW"):
            unit, fever, fast, calcium, phosphate, apr, any_one, _ = (
                cell.strip() for cell in line.strip("|").split("|")
            )
            patient, ordinal = unit.split("-")
            cells = [fever, fast, *calcium.split("/"), *phosphate.split("/"), apr, any_one]
            shown[patient, int(ordinal)] = [letters[cell] for cell in cells]
    expected: dict[tuple[str, int], list[str]] = defaultdict(list)
    for (patient, number, _, _), status in expected_statuses().items():
        expected[patient, number].append(status)
    assert shown == expected
    assert len(shown) == 22


def test_the_handworked_deliveries_can_be_copied(tmp_path: Path) -> None:
    write_handworked(tmp_path)
    nights = sorted(path.name for path in (tmp_path / "deliveries").iterdir())
    assert nights == ["night-001", "night-002"]
    assert len(read(tmp_path / "deliveries" / "night-001" / "patients.csv")) == 14
    assert (tmp_path / "mapping.toml").read_text().startswith("# How the synthetic")
