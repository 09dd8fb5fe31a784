"""Make a synthetic hospital: plant, write the truth, render, deliver night by night."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.simulate import care, casetruth, casework, fhir, flat, labs, symptoms, truth, vitals
from pipelines.simulate.casework import Book
from pipelines.simulate.clock import DAY
from pipelines.simulate.codes import ZONE
from pipelines.simulate.cohort import END, Patients, Units, make_cohort
from pipelines.simulate.deliver import FILES, MINUTE_FORMAT, Night, finish
from pipelines.simulate.dirt import soil
from pipelines.simulate.rows import stack
from pipelines.simulate.scenario import Plan, make_plan
from pipelines.simulate.summary import SimulationSummary, summarise
from pipelines.simulate.traits import Traits

NAMED_SEED = "iv-bisphosphonate-2019"
NAMED_PATIENTS = 123
NAMED_UNITS = 942
NAMED_NIGHTS = 3
#: What the published hospital is taken to have.
PUBLISHED = Traits()
#: Between the longest window (14 d) and the next unit's baseline (90 d), nothing is read.
QUIET_DAYS = 16
Form = Literal["csv", "fhir"]
#: What writes the nights, and the mapping that reads them.
FORMS = {"csv": flat, "fhir": fhir}


class SimulateError(DripwatchError):
    """A synthetic hospital that cannot be made as asked."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Hospital:
    """What was planted, and the nights in which it is delivered."""

    people: Patients
    units: Units
    plan: Plan
    book: Book
    seed: str
    n_nights: int
    silent_days: int
    traits: Traits

    def nights(self) -> list[Night]:
        """Return its nights."""
        return [
            Night(number, self.n_nights, self.silent_days, self.traits.wall)
            for number in range(1, self.n_nights + 1)
        ]


def stream(seed: str, purpose: str) -> np.random.Generator:
    """Return an own random stream per purpose, so that dirt cannot change a scenario."""
    digest = sha256(f"{seed}/{purpose}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32).tolist())


def simulate(
    patients: int,
    seed: str,
    nights: int,
    dirt: float,
    out: Path,
    *,
    form: Form = "csv",
    cases: int = 0,
    silent_days: int = 0,
    traits: Traits = PUBLISHED,
    report: Callable[[str], None] | None = None,
) -> SimulationSummary:
    """Make a hospital's deliveries, its mapping and the truth about it under `out`.

    `NAMED_SEED` with 123 patients holds exactly 942 counted units, 33 of 123 first and 66 of all
    with a side effect (Nasomyont 2019); any other call varies around those rates. The same
    arguments give the same bytes. `dirt` is the share of extra, dirty rows. `form` says whether
    the nights are flat files or FHIR bulk exports; the truth but for `fate.csv` is the same.
    `cases` patients of each worked edge of the window rules come on top. The laboratory's feed has
    been silent for `silent_days`, which a bulk export has no words for. `traits` are what a
    hospital has of its own; the named one has the published risks whatever they say.

    Errors:
        SimulateError: an argument is out of range, or `out` already holds deliveries.
    """
    _check(patients, nights, dirt, out)
    _check_extras(form, cases, silent_days)
    say = report or (lambda _: None)
    is_named = seed == NAMED_SEED and patients == NAMED_PATIENTS
    people, units, plan = plant(patients, seed, nights, silent_days, traits)
    book = casework.open_book(stream(seed, "cases"), people.n, cases, nights)
    people = casework.with_patients(book, people)
    made = Hospital(people, units, plan, book, seed, nights, silent_days, traits)
    say(f"planted {units.n} units of {people.n} patients")
    table, risks = _write_truth(made, out / "truth")
    counts, fates = _deliver(made, dirt, form, out, say)
    fates.write_csv(out / "truth" / "fate.csv")
    name = FORMS[form].MAPPING
    mapping = resources.files("pipelines.simulate").joinpath(name).read_text(encoding="utf-8")
    ours = mapping.replace(f'zone = "{ZONE}"', f'zone = "{traits.zone}"')
    (out / name).write_text(ours, encoding="utf-8", newline="")
    summary = summarise(seed, nights, table, risks, counts, fates, out)
    shown = asdict(summary) | {
        "out": ".",
        "is_named": is_named,
        "dirt": dirt,
        "format": form,
    }
    text = json.dumps(shown, indent=2, sort_keys=True) + "\n"
    (out / "truth" / "summary.json").write_text(text, encoding="utf-8")
    return summary


def _write_truth(made: Hospital, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Write the truth; return its units and risks."""
    people, units, plan, book = made.people, made.units, made.plan, made.book
    wall = made.traits.wall
    table = truth.unit_table(people, units, plan, wall)
    outcomes = {
        resolution: truth.outcome_table(
            people, units, plan, table, by_days=resolution == "day", silent_days=made.silent_days
        )
        for resolution in casetruth.RESOLUTIONS
    }
    if book.n:
        own = casetruth.unit_rows(book, wall)
        table = pl.concat([table, own])
        outcomes = {
            resolution: pl.concat([told, casetruth.outcome_rows(book, own, resolution)])
            for resolution, told in outcomes.items()
        }
    risks = truth.write_truth(folder, table, outcomes["instant"], outcomes["day"])
    if book.n:
        casetruth.case_rows(book).write_csv(folder / "case.csv")
    return table, risks


def plant(
    patients: int, seed: str, nights: int, silent_days: int = 0, traits: Traits = PUBLISHED
) -> tuple[Patients, Units, Plan]:
    """Plant the scenarios of a hospital: who, when, and what happens."""
    is_named = seed == NAMED_SEED and patients == NAMED_PATIENTS
    total = NAMED_UNITS if is_named else None
    rng = stream(seed, "scenario")
    people, units = make_cohort(rng, patients, nights, total, traits, is_named=is_named)
    units, plan = make_plan(
        rng, people, units, nights, traits, is_named=is_named, silent_days=silent_days
    )
    return people, units, plan


def render(made: Hospital) -> dict[str, pl.DataFrame]:
    """Render scenarios into the rows of every file, as text, with the night that delivers each."""
    people, units, plan, seed = made.people, made.units, made.plan, made.seed
    files = {
        "patients": symptoms.render_patients(people),
        "encounters": care.render_encounters(stream(seed, "encounters"), people, units, plan),
        "medications": care.render_medications(
            stream(seed, "medications"), people, units, plan, made.n_nights
        ),
        "labs": labs.render_labs(stream(seed, "labs"), people, units, plan),
        "vitals": vitals.render_vitals(stream(seed, "vitals"), people, units, plan),
        "diagnoses": symptoms.render_diagnoses(stream(seed, "diagnoses"), people, units, plan),
        "adverse_events": symptoms.render_reports(stream(seed, "reports"), units, plan),
        "dxa": symptoms.render_density(stream(seed, "dxa"), units),
    }
    files = {file: stack([rows, casework.rows_of(made.book, file)]) for file, rows in files.items()}
    rng = stream(seed, "delivery")
    return {
        file: finish(rng, file, files[file], people, units, made.n_nights, made.silent_days)
        for file in FILES
    }


def _check(patients: int, nights: int, dirt: float, out: Path) -> None:
    for is_wrong, what in (
        (patients < 1, "At least one patient is needed."),
        (nights < 1, "At least one night is needed."),
        (not 0 <= dirt <= 1, "The share of dirty rows lies between 0 and 1."),
    ):
        if is_wrong:
            raise SimulateError(what, remedy="Mend the argument.")
    if (out / "deliveries").exists():
        raise SimulateError(
            "The folder already holds deliveries.",
            where=str(out),
            remedy="Name a new folder: mixing two hospitals would spoil the truth of both.",
        )


def _check_extras(form: Form, cases: int, silent_days: int) -> None:
    if cases < 0 or silent_days < 0:
        raise SimulateError("There are no fewer than none.", remedy="Mend the argument.")
    if silent_days and form == "fhir":
        raise SimulateError(
            "A bulk export says of all its types at once how far it is complete.",
            remedy="Make flat files of a laboratory that fell silent.",
        )


def _deliver(
    made: Hospital, dirt: float, form: Form, out: Path, say: Callable[[str], None]
) -> tuple[dict[str, int], pl.DataFrame]:
    """Write every night's folder; return rows per file and the fates of dirty rows."""
    rendered = render(made)
    quiet = _quiet_times(made.people, made.units, made.n_nights)
    rng = stream(made.seed, "dirt")
    fates, counts = [], Counter[str]()
    for night in made.nights():
        folder = out / "deliveries" / night.name
        folder.mkdir(parents=True)
        files = {}
        for file, rows in rendered.items():
            clean = rows.filter(pl.col("night") == night.number).drop("night")
            files[file] = soil(rng, file, clean, dirt, quiet)
        n_rows, told = FORMS[form].write_night(folder, night, files)
        counts.update(n_rows)
        fates.append(told.select(pl.lit(night.number).alias("night"), pl.all()))
        say(f"wrote night {night.number} of {night.n_nights}")
    return dict(counts), pl.concat(fates)


def _quiet_times(people: Patients, units: Units, nights: int) -> pl.Series:
    """Return per unit a time after its longest window and before any baseline, or null."""
    moment = units.end + QUIET_DAYS * DAY
    # The next unit is at least 114 days away, so its 90 days of baseline start later.
    is_calm = (moment + DAY < END - nights * DAY) & (moment < people.left_at[units.patient])
    is_calm &= (units.cut_at == units.window_end) & ~units.is_restart
    text = pl.Series(moment.astype("datetime64[m]").astype("datetime64[us]"))
    shown = text.dt.strftime(MINUTE_FORMAT)
    return pl.select(pl.when(pl.Series(is_calm)).then(shown)).to_series()
