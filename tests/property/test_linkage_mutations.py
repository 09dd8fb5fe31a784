"""A dozen deliberate mistakes in the linkage SQL, each of which the reference must notice.

docs/validation.md lists them: a suite that lets one of them pass is not testing that rule.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from pipelines.linkage import kernel
from tests.property.test_linkage_reference import OPEN_FEEDS, STUDIES
from tests.reference.compare import FEEDS, differences
from tests.reference.patients import make_patients


@dataclass(frozen=True)
class Mutation:
    """One changed place: what it breaks, in which file, and the text before and after."""

    rule: str
    file: str
    old: str
    new: str


MUTATIONS = [
    Mutation(
        "a window does not hold its end (3)",
        "01_time.sql",
        "ELSE i_lo < until_at AND i_hi > from_at",
        "ELSE i_lo <= until_at AND i_hi > from_at",
    ),
    Mutation(
        "a day that is known only as such ends at the next local midnight (1)",
        "01_time.sql",
        "WHEN 'day' THEN local_to_utc(local_day + INTERVAL 1 DAY, zone, 0)",
        "WHEN 'day' THEN occurred_at + INTERVAL 24 HOUR",
    ),
    Mutation(
        "what happens at the start is after it (1)",
        "01_time.sql",
        "CASE WHEN i_lo < begins_at THEN 'before'",
        "CASE WHEN i_lo <= begins_at THEN 'before'",
    ),
    Mutation(
        "bags two hours apart are one administration (2)",
        "02_administration.sql",
        "started_at > max(closed_at) OVER (",
        "started_at >= max(closed_at) OVER (",
    ),
    Mutation(
        "a course goes on up to the gap itself (2)",
        "03_unit.sql",
        "started_at > max(ended_at) FILTER (WHERE NOT is_day_precision) OVER earlier",
        "started_at >= max(ended_at) FILTER (WHERE NOT is_day_precision) OVER earlier",
    ),
    Mutation(
        "a restart follows at most a day later (2)",
        "02_dose.sql",
        "AND b.started_at <= a.ended_at + to_microseconds((SELECT restart_us FROM setting))",
        "AND b.started_at < a.ended_at + to_microseconds((SELECT restart_us FROM setting))",
    ),
    Mutation(
        "equal starts: the later end, then the smaller id owns (4)",
        "04_overlap.sql",
        "ORDER BY u.started_at, u.ended_at, u.unit_id DESC",
        "ORDER BY u.started_at, u.ended_at, u.unit_id",
    ),
    Mutation(
        "windows that only touch do not merge (4)",
        "04_overlap.sql",
        "coalesce(own_lo >= max(own_hi) OVER (",
        "coalesce(own_lo > max(own_hi) OVER (",
    ),
    Mutation(
        "a feed closes a window that it just reaches (6)",
        "04_window.sql",
        "ELSE t.data_through_at >= w.closing_hi + to_microseconds(r.lag_us)",
        "ELSE t.data_through_at > w.closing_hi + to_microseconds(r.lag_us)",
    ),
    Mutation(
        "a draw half an hour after the start is baseline (7)",
        "06_draw.sql",
        "started_at + to_microseconds((SELECT grace_us FROM setting)) + INTERVAL 1 MICROSECOND;",
        "started_at + to_microseconds((SELECT grace_us FROM setting));",
    ),
    Mutation(
        "no earlier unit's window gives a baseline (7)",
        "06_laboratory.sql",
        "WHERE e.window_name IN ('risk', 'extended');",
        "WHERE e.window_name IN ('peak');",
    ),
    Mutation(
        "a grade must be above baseline (7)",
        "06_laboratory.sql",
        "AND greatest(l.grade, r.grade) > coalesce(l.baseline_grade, 0)",
        "AND greatest(l.grade, r.grade) >= coalesce(l.baseline_grade, 0)",
    ),
    Mutation(
        "an ionised result wins over the total of its specimen (7)",
        "06_draw.sql",
        "<= i.specimen_us END;",
        "< i.specimen_us END;",
    ),
    Mutation(
        "temperatures are rounded to a tenth before any cut (8)",
        "06_piece.sql",
        "round(v.value * a.to_canonical_factor + a.to_canonical_offset, 1) AS celsius",
        "round(v.value * a.to_canonical_factor + a.to_canonical_offset, 6) AS celsius",
    ),
    Mutation(
        "evidence at the gap itself is the same event (5)",
        "07_episode.sql",
        "ELSE coalesce(i_lo > last_i + to_microseconds(gap_us), true)",
        "ELSE coalesce(i_lo >= last_i + to_microseconds(gap_us), true)",
    ),
    Mutation(
        "only a higher grade makes an event worse (5)",
        "08_emergent.sql",
        "coalesce(e.grade_in > e.grade_before, false) AS is_worse_within",
        "coalesce(e.grade_in >= e.grade_before, false) AS is_worse_within",
    ),
    Mutation(
        "a clean window holds its last moment (5)",
        "08_emergent.sql",
        "ELSE s.onset_i > e.onset_i AND s.onset_i <= e.until_i",
        "ELSE s.onset_i > e.onset_i AND s.onset_i < e.until_i",
    ),
    Mutation(
        "what nobody looked at may still be true (8)",
        "09_composite.sql",
        "count(*) FILTER (WHERE is_high) >= at_least,",
        "count(*) FILTER (WHERE is_low) >= at_least,",
    ),
    Mutation(
        "a remedy given a day before the onset was not begun by it (9)",
        "11_serious.sql",
        "ELSE m.i_last >= e.onset_i - to_microseconds(s.treatment_lookback_us) END AS is_before",
        "ELSE m.i_last > e.onset_i - to_microseconds(s.treatment_lookback_us) END AS is_before",
    ),
    Mutation(
        "death never censors (6)",
        "12_result.sql",
        "WHEN w.cut_reason IN ('next_unit', 'observation_end') THEN 'censored'",
        "WHEN w.cut_reason IS NOT NULL THEN 'censored'",
    ),
]


def mutated(one: Mutation) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, text.replace(one.old, one.new) if name == one.file else text)
        for name, text in kernel.sql_files()
    )


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.rule)
def test_the_place_that_is_changed_is_there_once(one: Mutation) -> None:
    assert dict(kernel.sql_files())[one.file].count(one.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.rule)
def test_the_reference_notices_a_mistake(one: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    files = mutated(one)
    monkeypatch.setattr(kernel, "sql_files", lambda: files)
    for seed, (study, feeds) in itertools.product(
        range(3), itertools.product(STUDIES.values(), (FEEDS, OPEN_FEEDS))
    ):
        if differences(make_patients(9000 + seed, 150), study, feeds):
            return
    pytest.fail("no patient shows the difference")
