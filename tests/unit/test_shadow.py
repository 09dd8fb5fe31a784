"""What is told of a study beside the running one: numbers of invented patients, names of others."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.reply import UsageError
from flows.shadow import Shadow, counterpart
from flows.shadow_page import as_csv, console_parts, page
from pipelines.ingest.rescope import LeftOut
from studies.diff import Change, RowChange, StudyDiff
from studies.load import ConceptRow, Study, load_study
from tests.unit.store_batches import make_site
from warehouse.compare import RiskPair, side_by_side

NOTHING = StudyDiff((), (), RowChange("codelists", (), ()), 0, ())


def numbers(n_events: int, n_units: int) -> dict[str, Any]:
    return {
        "n_events": n_events,
        "n_units": n_units,
        "n_patients": n_units,
        "risk": n_events / n_units if n_units else None,
        "ci_low": 0.0,
        "ci_high": 1.0,
    }


def pair(value: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> RiskPair:
    stratum = "all" if value == "all" else "drug"
    return RiskPair("fever", "risk", stratum, value, "complete", True, old, new)


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("iv_bisphosphonate")


@pytest.fixture
def found(tmp_path: Path, study: Study) -> Shadow:
    """At a real site whose smallest cell is 11; every count is one that no other text holds."""
    return Shadow(
        site=make_site(tmp_path),
        running=study,
        new=study,
        as_of=None,
        n_batches=3,
        definitions=replace(
            NOTHING, settings=(Change("eligibility.max_age_years", "changed", 21.0, 12.0),)
        ),
        left_out=LeftOut((ConceptRow("LabResulted", "loinc", "1-8", "exact", "x"),), 4242, ("b",)),
        steps=(("units", 7717, 7718),),
        signals=(
            pair("all", numbers(1717, 7717), numbers(1718, 7718)),
            pair("pamidronate", numbers(616, 717), numbers(616, 717)),
            pair("zoledronic acid", numbers(1, 10), numbers(1, 11)),
            pair("ibandronate", None, numbers(505, 515)),
        ),
    )


def test_a_real_site_is_told_no_number_and_no_signal_of_a_few_units(found: Shadow) -> None:
    told = found.to_json()["signals"]
    assert (told["n_compared"], told["n_different"]) == (4, 3)
    assert [one["stratum_value"] for one in told["different"]] == ["all"]
    known = {"running", "new"}  # hashes may hold any digits
    whole = json.dumps({name: one for name, one in found.to_json().items() if name not in known})
    for text in (whole, str(list(console_parts(found)))):
        assert "eligibility.max_age_years" in text
        assert not [one for one in ("17", "18", "505", "515") if one in text]


def test_a_synthetic_site_and_every_page_are_told_the_numbers(found: Shadow) -> None:
    site = found.site
    invented = site.model_copy(update={"site": site.site.model_copy(update={"synthetic": True})})
    shown = replace(found, site=invented)
    assert len(shown.to_json()["signals"]["different"]) == 3
    assert "1,717/7,717 = 22.2 %" in str(list(console_parts(shown)))
    for one in (found, shown):
        told = page(one)
        assert "| fever | risk | all | 1,717/7,717 = 22.2 % | 1,718/7,718 = 22.3 % |" in told
        assert "| fever | risk | drug=ibandronate | - | 505/515 = 98.1 % |" in told
        assert "pamidronate" not in told
        assert "4,242" in told
        rows = list(csv.DictReader(io.StringIO(as_csv(one))))
        assert [row["new_n_events"] for row in rows] == ["1718", "616", "1", "505"]
        assert rows[3]["running_n_units"] == ""


def test_a_row_that_only_one_state_has_is_a_difference() -> None:
    key = ("fever", "risk", "all", "all", "complete")
    row = {"is_headline": True, **numbers(1, 2)}
    assert [one.differs for one in side_by_side({key: row}, {key: dict(row)})] == [False]
    assert [one.differs for one in side_by_side({key: row}, {})] == [True]
    assert [one.old for one in side_by_side({}, {key: row})] == [None]


def test_a_study_is_held_against_the_one_of_its_name_or_the_only_one(study: Study) -> None:
    other = cast("Study", SimpleNamespace(id="other"))
    assert counterpart([study, other], study) is study
    assert counterpart([other], study) is other
    with pytest.raises(UsageError, match="cannot be told"):
        counterpart([other, other], study)
