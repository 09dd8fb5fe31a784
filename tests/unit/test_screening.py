"""`signals.disproportionality` against the one-row functions and R's worked values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.signals.disproportionality import (
    Table,
    chi_square,
    ebgm,
    information_component,
    prr,
    ror,
)
from pipelines.signals.empirical_bayes import fit_prior
from pipelines.signals.screening import FEW, screening_table
from studies.load import Study, load_study
from studies.model import DrugTable
from tests.counts_kit import counts, row


def study(**classes: str) -> Study:
    """The shipped study with other drugs."""
    shipped = load_study("iv_bisphosphonate")
    drugs = [
        DrugTable(name=name, concept=name, drug_class=of, course_gap_hours=0)
        for name, of in classes.items()
    ]
    head = shipped.model.study.model_copy(update={"id": "s"})
    model = shipped.model.model_copy(update={"study": head, "drug": drugs})
    return Study(model, shipped.codelist, shipped.limits, shipped.folder)


CLASSES = {"x1": "x", "x2": "x"} | {f"y{n}": "y" if n < 3 else f"y{n}" for n in range(6)}


def of_drug(drug: str, e: int, n: int, **key: Any) -> dict[str, Any]:
    return row(e, n, stratum="drug", stratum_value=drug, **key)


def made(*rows: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    found = screening_table(counts(*rows), [study(**CLASSES)]).to_pylist()
    return {(one["outcome"], one["drug"]): one for one in found}


def test_a_drug_is_held_against_the_drugs_of_other_classes() -> None:
    rng = np.random.default_rng(5)
    units = rng.integers(40, 400, (7, 8))
    events = rng.binomial(units, 0.1)
    events[3, 2] = 0
    cells = {
        (f"o{at}", drug): (int(events[at, place]), int(units[at, place]))
        for at in range(7)
        for place, drug in enumerate(CLASSES)
    }
    rows = [of_drug(drug, *cell, outcome=outcome) for (outcome, drug), cell in cells.items()]
    # Other strata and denominators are no reports.
    found = made(*rows, row(5, 50), of_drug("x1", 9, 99, denominator="all"))
    assert found.keys() == cells.keys()
    tables = {
        (outcome, drug): Table(
            e,
            n - e,
            *np.sum(
                [
                    (f, m - f)
                    for (o, other), (f, m) in cells.items()
                    if o == outcome and CLASSES[other] != CLASSES[drug]
                ],
                axis=0,
            ).tolist(),
        )
        for (outcome, drug), (e, n) in cells.items()
    }
    ordered = [tables[key] for key in sorted(tables)]
    prior = fit_prior([one.a for one in ordered], [one.expected for one in ordered])
    for key, table in tables.items():
        one = found[key]
        n_outside = sum(other != CLASSES[key[1]] for other in CLASSES.values())
        assert one["n_comparator_drugs"] == n_outside
        for names, ratio in (
            (("prr", "prr_low", "prr_high"), prr(table)),
            (("ror", "ror_low", "ror_high"), ror(table)),
            (("ic", "ic025", "ic975"), information_component(table.a, table.expected)),
            (("ebgm", "eb05", "eb95"), ebgm(table.a, table.expected, prior)),
        ):
            told, wanted = [one[name] for name in names], [ratio.value, ratio.low, ratio.high]
            assert told == (wanted if ratio.value is None else pytest.approx(wanted, rel=1e-6))
        assert one["chi_square_pearson"] == pytest.approx(chi_square(table, yates=False))
        assert one["chi_square_yates"] == pytest.approx(chi_square(table, yates=True))
        assert one["use"] == "screening only"
    assert found["o3", "y0"]["note"] == "PRR, ROR: no event with the drug"
    assert found["o3", "y0"]["is_evans_met"] is None


def test_fewer_than_five_comparators_outside_the_class_say_nothing() -> None:
    drugs = ["x1", "x2", "y0", "y3", "y4", "y5"]
    found = made(*(of_drug(drug, 3, 30) for drug in drugs), of_drug("y1", 0, 0))
    one = found["fever", "x1"]
    assert (one["n_events"], one["n_units"], one["n_comparator_drugs"]) == (3, 30, 4)
    assert one["note"] == FEW
    assert one["drug_class"] == "x"
    for name in ("expected", "prr", "ror_low", "chi_square_yates", "ic", "ebgm", "is_evans_met"):
        assert one[name] is None
    # A drug without units is no comparator; y0 has five.
    assert found["fever", "y0"]["prr"] == pytest.approx(1)
    assert found["fever", "y1"]["note"] == "no units of the drug"


def test_an_outcome_without_events_is_null_and_few_pairs_have_no_prior() -> None:
    found = made(
        *(of_drug(drug, 0, 30, outcome="none") for drug in CLASSES),
        *(of_drug(drug, 30 if drug == "x1" else 10, 100) for drug in CLASSES),
    )
    assert found["none", "x1"]["note"] == "no event with any of the drugs"
    assert found["none", "x1"]["ic"] is None
    one = found["fever", "x1"]
    assert one["prr"] == pytest.approx(3)
    assert one["is_evans_met"]
    assert (one["ebgm"], one["note"][:5]) == (None, "EBGM:")
