"""A synthetic hospital, the site that read it, and comparisons with what was planted.

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

    def rows(self, query: str, *values: str) -> list[dict[str, Any]]:
        """Rows of the published warehouse, by the names of their columns."""
        con = duckdb.connect(str(self.site.warehouse), read_only=True)
        try:
            found = con.execute(query, values)
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        finally:
            con.close()

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The same without names."""
        return [tuple(row.values()) for row in self.rows(query)]

    def linked(self, study: str) -> list[dict[str, Any]]:
        """The linked rows of a study, with the unit's index and ordinal."""
        return self.rows(LINKED, study)

    def key_of(self, patient: str) -> str:
        return str(load_key(self.site).patient(self.site.site.id, "mrn", patient))


def write_study(folder: Path, resolution: str, *, has_strata: bool) -> Path:
    """The shipped study in a resolution, with the outcomes of the worked edges."""
    shipped = study_folder("iv_bisphosphonate")
    shutil.copytree(shipped, folder)
    (folder / "published.csv").unlink()  # of strata that one of the studies lacks
    text = (shipped / "study.toml").read_text(encoding="utf-8")
    text = text.replace('id = "iv_bisphosphonate"', f'id = "by_{resolution}"', 1)
    text = text.replace('resolution = "instant"', f'resolution = "{resolution}"', 1)
    text = text.replace('label = "Chills"\npublish = false', 'label = "Chills"', 1)
    by = "" if has_strata else 'by = ["all"]'
    text = re.sub(r"^two_way = .*$", by, text, count=1, flags=re.MULTILINE)
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
    has_strata: bool = False,
) -> Planted:
    """Make a hospital and a site with both studies; nothing has arrived yet.

    Strata, where wanted, are those of the study in instants: their risks cost more than linkage.
    """
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
    studies = [
        str(write_study(root / name, name, has_strata=has_strata and name == "instant"))
        for name in RESOLUTIONS
    ]
    site = make_site(
        root / "site", root / "made", site={"studies": studies}, resources={"buckets": 1}
    )
    return Planted(root / "made", site)


def arrive(planted: Planted, *nights: int) -> None:
    deliver(planted.site, planted.hospital, *nights)
    assert not run(planted.site).held


def assert_linked_as_planted(planted: Planted, resolution: str, study: str) -> None:
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
        for row in planted.linked(study)
        if (row["outcome"], row["window_name"]) in watched
    }
    scores = {outcome: _precision_and_recall(found, true, outcome) for outcome in sorted(watched)}
    assert scores == dict.fromkeys(scores, (1.0, 1.0)), scores
    wrong = Counter(
        (key[2], key[3], status, found.get(key))
        for key, status in true.items()
        if found.get(key) != status
    )
    assert wrong == Counter(), wrong
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
        for row in planted.linked(f"by_{resolution}")
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
    assert wrong == Counter(), wrong


RISKS = """
    SELECT outcome, window_name, stratum, stratum_value,
           any_value(n_units) FILTER (denominator = 'all') AS n_units,
           any_value(n_events) FILTER (denominator = 'all') AS n_events,
           any_value(n_patients) FILTER (denominator = 'all') AS n_patients,
           any_value(n_censored) AS n_censored, any_value(n_open) AS n_open,
           any_value(n_ineligible) AS n_ineligible,
           any_value(n_units) FILTER (denominator = 'observed') AS n_observed,
           any_value(n_units) FILTER (denominator = 'tested') AS n_tested,
           any_value(n_units) FILTER (denominator = 'determined') AS n_determined
    FROM signals.risk WHERE study_id = ? GROUP BY ALL
"""
PLACE = ("outcome", "window", "stratum", "stratum_value")


def assert_risks_as_planted(planted: Planted, study: str) -> None:
    """Every count of every stratum and denominator equals the truth's."""
    found = {tuple(row.values())[:4]: row for row in planted.rows(RISKS, study)}
    truth = planted.truth("risk")
    assert truth
    for row in truth:
        key = tuple(row[name] for name in PLACE)
        # Empty where the denominator does not apply to the outcome.
        told = {name: int(n) for name, n in row.items() if name not in PLACE and n}
        assert (key, {name: found[key][name] for name in told}) == (key, told)
