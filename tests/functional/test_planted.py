"""Linkage against what the synthetic hospital planted: precision and recall of every outcome.

The truth was written from scenarios before any record existed, once for a study in instants and
once for one in days, and the worked edges of docs/windows.md are patients among the others. Both
studies are the shipped one, with two outcomes more that the worked edges speak of: anaphylaxis, and
a fever that belongs to every window that holds it (`overlap = all`).
"""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from pipelines.base.keys import load_key
from pipelines.base.site import Site
from pipelines.simulate import simulate
from pipelines.simulate.casework import CASES
from studies.load import study_folder
from tests.functional.refresh_site import deliver, make_site, run

RESOLUTIONS = {"instant": "unit_outcome", "day": "unit_outcome_day"}
EXTRA = """
[[outcome]]
name = "anaphylaxis"
label = "Anaphylaxis"
kind = "symptom"
report_concepts = ["anaphylaxis"]

[[outcome]]
name = "fever_all"
label = "Fever, in every window that holds it"
kind = "fever"
overlap = "all"
report_concepts = ["fever"]
"""
CODES = """concept,event_type,code_system,code,match,label,source
anaphylaxis,AdverseEventReported,icd10cm,T78.2,prefix,Anaphylactic shock,ICD-10-CM
"""
#: The columns of linked rows that truth speaks of, as text; absent flags are no row.
LINKED = """
    SELECT u.patient_key, strftime(c.started_at, '%Y-%m-%dT%H:%M:%SZ') AS started,
           c.ordinal_in_record, u.outcome, u.window_name, u.* EXCLUDE (patient_key, outcome,
           window_name)
    FROM linkage.unit_outcome AS u JOIN linkage.course AS c USING (study_id, unit_id)
    WHERE u.study_id = ?
"""

Key = tuple[str, str, str, str]


class Planted(NamedTuple):
    """A hospital, and the site that read it."""

    hospital: Path
    site: Site

    def truth(self, name: str) -> list[dict[str, str]]:
        with (self.hospital / "truth" / f"{name}.csv").open(newline="") as stream:
            return list(csv.DictReader(stream))

    def linked(self, resolution: str) -> list[dict[str, Any]]:
        """The rows of a study, with the patient's key and the index in place of the unit."""
        con = duckdb.connect()
        con.execute(f"ATTACH '{self.site.warehouse}' AS w (READ_ONLY)")
        con.execute("USE w")
        try:
            found = con.execute(LINKED, [f"by_{resolution}"])
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        finally:
            con.close()

    def key_of(self, patient: str) -> str:
        return str(load_key(self.site).patient(self.site.site.id, "mrn", patient))


def write_study(folder: Path, resolution: str) -> Path:
    """The shipped study in a resolution, with the outcomes of the worked edges."""
    shipped = study_folder("iv_bisphosphonate")
    shutil.copytree(shipped, folder)
    text = (shipped / "study.toml").read_text(encoding="utf-8")
    text = text.replace('id = "iv_bisphosphonate"', f'id = "by_{resolution}"', 1)
    text = text.replace('resolution = "instant"', f'resolution = "{resolution}"', 1)
    text = text.replace('label = "Chills"\npublish = false', 'label = "Chills"', 1)
    # Risks by stratum are held against the truth elsewhere, and cost more than all linkage.
    text = re.sub(r"^two_way = .*$", 'by = ["all"]', text, count=1, flags=re.MULTILINE)
    (folder / "study.toml").write_text(text + EXTRA, encoding="utf-8")
    (folder / "codelists" / "anaphylaxis.csv").write_text(CODES, encoding="utf-8")
    return folder


def make(
    root: Path,
    patients: int,
    nights: int,
    *,
    cases: int,
    silent_days: int = 0,
    seed: int = 7,
) -> Planted:
    """Make a hospital and a site with both studies; nothing has arrived yet."""
    simulate(
        patients,
        f"planted {seed}",
        nights,
        0.0,
        root / "made",
        cases=cases,
        silent_days=silent_days,
    )
    (root / "site").mkdir()
    studies = [str(write_study(root / name, name)) for name in RESOLUTIONS]
    site = make_site(
        root / "site", root / "made", site={"studies": studies}, resources={"buckets": 1}
    )
    return Planted(root / "made", site)


def arrive(planted: Planted, *nights: int) -> None:
    deliver(planted.site, planted.hospital, *nights)
    assert not run(planted.site).held


def assert_linked_as_planted(planted: Planted, resolution: str) -> None:
    """Precision and recall are 1.0, and so is everything else that is said of a unit."""
    keys = {row["patient_id"]: planted.key_of(row["patient_id"]) for row in planted.truth("unit")}
    true = {
        (keys[row["patient_id"]], row["index_start_utc"], row["outcome"], row["window"]): row[
            "status"
        ]
        for row in planted.truth(RESOLUTIONS[resolution])
    }
    watched = {key[2:] for key in true}
    found = {
        (row["patient_key"], row["started"], row["outcome"], row["window_name"]): row["status"]
        for row in planted.linked(resolution)
        if (row["outcome"], row["window_name"]) in watched
    }
    scores = {outcome: _precision_and_recall(found, true, outcome) for outcome in sorted(watched)}
    assert scores == dict.fromkeys(scores, (1.0, 1.0))
    wrong = Counter(
        (key[2], key[3], status, found.get(key))
        for key, status in true.items()
        if found.get(key) != status
    )
    assert wrong == Counter()
    assert found.keys() == true.keys()


def _precision_and_recall(
    found: dict[Key, str], true: dict[Key, str], outcome: tuple[str, str]
) -> tuple[float, float]:
    said, happened = (
        {key for key, status in told.items() if key[2:] == outcome and status == "event"}
        for told in (found, true)
    )
    assert happened, outcome
    both = len(said & happened)
    return both / max(len(said), 1), both / len(happened)


def assert_cases_as_planted(planted: Planted, resolution: str) -> None:
    """Every worked edge shows what was typed of it."""
    found = {
        (row["patient_key"], row["ordinal_in_record"], row["outcome"], row["window_name"]): row
        for row in planted.linked(resolution)
    }
    wrong = Counter[tuple[str, str, str, str]]()
    told = [row for row in planted.truth("case") if row["resolution"] == resolution]
    assert {row["name"] for row in told} == {case.name for case in CASES}
    for row in told:
        key = (planted.key_of(row["patient_id"]), int(row["unit_ordinal"]))
        linked = found[*key, row["outcome"], row["window"]]
        said = linked[row["column"]]
        shown = (
            row["value"] in said if isinstance(said, list) else str(said).lower() == row["value"]
        )
        if not shown:
            wrong[row["name"], row["outcome"], row["value"], str(said)] += 1
    assert wrong == Counter()


@pytest.fixture(scope="module")
def after_one_night(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = make(tmp_path_factory.mktemp("planted"), 200, 4, cases=2, silent_days=5)
    arrive(made, 1)
    return made


@pytest.fixture(scope="module")
def tonight(after_one_night: Planted) -> dict[str, set[str]]:
    """Statuses of each case's patients after the first night."""
    names = {
        after_one_night.key_of(row["patient_id"]): row["name"]
        for row in after_one_night.truth("case")
    }
    found: dict[str, set[str]] = {}
    for row in after_one_night.linked("instant"):
        if row["patient_key"] in names:
            found.setdefault(names[row["patient_key"]], set()).add(row["status"])
    return found


@pytest.fixture(scope="module")
def planted(after_one_night: Planted, tonight: dict[str, set[str]]) -> Planted:
    assert tonight
    arrive(after_one_night, 2, 3, 4)
    return after_one_night


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_event_that_was_planted_is_linked_and_no_other(
    planted: Planted, resolution: str
) -> None:
    assert_linked_as_planted(planted, resolution)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_worked_edge_shows_what_was_typed_of_it(planted: Planted, resolution: str) -> None:
    assert_cases_as_planted(planted, resolution)


def test_a_stopped_infusion_and_its_restart_are_one_that_was_interrupted(planted: Planted) -> None:
    named = {row["patient_id"] for row in planted.truth("case") if "restarted" in row["name"]}
    con = duckdb.connect(str(planted.site.warehouse), read_only=True)
    for patient in named:
        [(n_records, flags)] = con.execute(
            """SELECT n_records, flags FROM linkage.infusion
               WHERE study_id = 'by_instant' AND patient_key = ?""",
            [planted.key_of(patient)],
        ).fetchall()
        assert n_records == 2
        assert "interrupted" in flags
    assert named


def test_a_patient_whose_record_comes_tomorrow_is_unplaceable_tonight(
    tonight: dict[str, set[str]],
) -> None:
    assert tonight["infusion tonight, its patient record tomorrow"] == {"unplaceable"}


def test_a_laboratory_silent_for_days_holds_its_windows_open_and_no_others(
    planted: Planted,
) -> None:
    # That they are the right ones is the truth's to say; here, that the silence mattered.
    n_open = Counter(
        row["outcome"]
        for row in planted.linked("instant")
        if row["status"] in {"open", "open_event"} and row["window_name"] == "risk"
    )
    assert 0 < n_open["fever"] < n_open["hypophosphataemia"] == n_open["hypocalcaemia"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_precision_and_recall_are_one_over_ten_seeds_and_20000_patients(
    seed: int, tmp_path: Path
) -> None:
    made = make(tmp_path, 2000, 4, cases=10, seed=seed)
    arrive(made, 1, 2, 3, 4)
    for resolution in RESOLUTIONS:
        assert_linked_as_planted(made, resolution)
        assert_cases_as_planted(made, resolution)
