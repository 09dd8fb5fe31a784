"""Linkage gives what a slow, obvious reading of the window rules gives, on patients at the edges.

One call of linkage takes hundreds of patients: they are made in bulk from a seed that Hypothesis
draws, and a patient on which the two differ is made smaller event by event.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studies.load import Study
from tests.linkage_cases import link
from tests.reference.compare import FEEDS, OPEN_FEEDS, differences, explain
from tests.reference.patients import make_patients
from tests.reference.studies import SHIPPED, STUDIES


def check(seed: int, number: int, study: Study, feeds: dict[str, datetime]) -> None:
    patients = make_patients(seed, number)
    found = differences(patients, study, feeds)
    if found:
        pytest.fail(explain(found, patients, study, feeds))


#: The others are read slowly by `make test-slow`, and drawn ones in test_linkage_settings.
FAST = ("shipped", "every kind")


@pytest.mark.parametrize(
    "name", [one if one in FAST else pytest.param(one, marks=pytest.mark.slow) for one in STUDIES]
)
def test_linkage_agrees_with_the_reference(name: str) -> None:
    check(list(STUDIES).index(name), 50, STUDIES[name], FEEDS)


@given(seed=st.integers(min_value=0, max_value=2**32))
@settings(
    max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
def test_linkage_agrees_with_the_reference_while_feeds_are_behind(seed: int) -> None:
    check(seed, 40, SHIPPED, OPEN_FEEDS)


def test_patients_at_the_edges_reach_every_status() -> None:
    # A property that no patient can break would prove nothing.
    patients = make_patients(7, 160)
    seen = {row["status"] for row in link(patients).outcomes}
    seen |= {row["status"] for row in link(patients, through=OPEN_FEEDS).outcomes}
    seen |= {row["status"] for row in link(patients, STUDIES["shipped by days"]).outcomes}
    assert seen == {
        "event", "no_event", "censored", "unobserved", "untested", "undetermined", "open",
        "open_event", "ineligible", "unplaceable", "not_at_risk", "superseded_same_day",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("part", range(10))
def test_linkage_agrees_with_the_reference_on_many_patients(name: str, part: int) -> None:
    check(1000 + 10 * list(STUDIES).index(name) + part, 400, STUDIES[name], FEEDS)
