"""Deliberate mistakes in the linkage SQL, and the spec case that turns red for each.

docs/validation.md lists them (`make docs`): a suite that lets one pass is not testing that rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.linkage import kernel
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "validation.md"


@dataclass(frozen=True)
class Mutation:
    """One changed place.

    Attributes:
        rule: what it breaks, and the section of docs/windows.md.
        sql: the file, and the text before and after.
        spec, case: the case of `tests/spec` that shows the difference.
        is_rare: patients drawn at random do not meet it; the case alone shows it.
    """

    rule: str
    sql: str
    old: str
    new: str
    spec: str
    case: str
    is_rare: bool = False


MUTATIONS = [
    Mutation(
        "a window does not hold its end (3)",
        "01_time.sql",
        "ELSE i_lo < until_at AND i_hi > from_at",
        "ELSE i_lo <= until_at AND i_hi > from_at",
        "8_vital_signs",
        "as the window ends",
    ),
    Mutation(
        "a day that is known only as such ends at the next local midnight (1)",
        "01_time.sql",
        "WHEN 'day' THEN local_to_utc(local_day + INTERVAL 1 DAY, zone, 0)",
        "WHEN 'day' THEN occurred_at + INTERVAL 24 HOUR",
        "1_time",
        "a day of 25 hours, of which the infusion leaves half of one",
        is_rare=True,
    ),
    Mutation(
        "what happens at the start is after it (1)",
        "01_time.sql",
        "CASE WHEN i_lo < begins_at THEN 'before'",
        "CASE WHEN i_lo <= begins_at THEN 'before'",
        "1_time",
        "at the start of the window",
    ),
    Mutation(
        "bags two hours apart are one administration (2)",
        "02_administration.sql",
        "started_at > max(closed_at) OVER (",
        "started_at >= max(closed_at) OVER (",
        "2_administration",
        "bags 2 h apart",
    ),
    Mutation(
        "a course goes on up to the gap itself (2)",
        "03_unit.sql",
        "started_at > max(ended_at) FILTER (WHERE NOT is_day_precision) OVER earlier",
        "started_at >= max(ended_at) FILTER (WHERE NOT is_day_precision) OVER earlier",
        "2_administration",
        "96 h after the end",
    ),
    Mutation(
        "a restart follows at most a day later (2)",
        "02_dose.sql",
        "AND b.started_at <= a.ended_at + to_microseconds((SELECT restart_us FROM setting))",
        "AND b.started_at < a.ended_at + to_microseconds((SELECT restart_us FROM setting))",
        "2_administration",
        "24 h later",
    ),
    Mutation(
        "equal starts: the later end, then the smaller id owns (4)",
        "04_overlap.sql",
        "ORDER BY started_at, ended_at, unit_id DESC",
        "ORDER BY started_at, ended_at, unit_id",
        "4_overlap",
        "equal ends too: the first of the two records owns",
    ),
    Mutation(
        "windows that only touch do not merge (4)",
        "04_overlap.sql",
        "coalesce(own_lo >= max(own_hi) OVER (",
        "coalesce(own_lo > max(own_hi) OVER (",
        "4_overlap",
        "windows that touch",
        is_rare=True,
    ),
    Mutation(
        "a feed closes a window that it just reaches (6)",
        "04_window.sql",
        "ELSE t.data_through_at >= w.closing_hi + to_microseconds(r.lag_us)",
        "ELSE t.data_through_at > w.closing_hi + to_microseconds(r.lag_us)",
        "6_follow_up",
        "complete to the window's end",
    ),
    Mutation(
        "a draw half an hour after the start is baseline (7)",
        "06_draw.sql",
        "started_at + to_microseconds((SELECT grace_us FROM setting)) + INTERVAL 1 MICROSECOND;",
        "started_at + to_microseconds((SELECT grace_us FROM setting));",
        "7_laboratory",
        "30 min after the start",
    ),
    Mutation(
        "no earlier unit's window gives a baseline (7)",
        "06_laboratory.sql",
        "WHERE e.window_name IN ('risk', 'extended');",
        "WHERE e.window_name IN ('peak');",
        "7_laboratory",
        "a nadir after an earlier unit is none",
    ),
    Mutation(
        "a grade must be above baseline (7)",
        "06_laboratory.sql",
        "AND greatest(l.grade, r.grade) > coalesce(l.baseline_grade, 0)",
        "AND greatest(l.grade, r.grade) >= coalesce(l.baseline_grade, 0)",
        "7_laboratory",
        "grade 1 before, 1 after",
    ),
    Mutation(
        "an ionised result wins over the total of its specimen (7)",
        "06_draw.sql",
        "<= i.specimen_us END;",
        "< i.specimen_us END;",
        "7_laboratory",
        "an hour apart",
    ),
    Mutation(
        "temperatures are rounded to a tenth before any cut (8)",
        "06_piece.sql",
        "round(v.value * a.to_canonical_factor + a.to_canonical_offset, 1) AS celsius",
        "round(v.value * a.to_canonical_factor + a.to_canonical_offset, 6) AS celsius",
        "8_vital_signs",
        "37.95 is 38.0",
    ),
    Mutation(
        "evidence at the gap itself is the same event (5)",
        "07_episode.sql",
        "ELSE coalesce(i_lo > last_i + to_microseconds(gap_us), true)",
        "ELSE coalesce(i_lo >= last_i + to_microseconds(gap_us), true)",
        "5_episodes",
        "72 h apart: one, begun before",
    ),
    Mutation(
        "only a higher grade makes an event worse (5)",
        "08_emergent.sql",
        "coalesce(e.grade_in > e.grade_before, false) AS is_worse_within",
        "coalesce(e.grade_in >= e.grade_before, false) AS is_worse_within",
        "5_episodes",
        "grade 2, then 2",
    ),
    Mutation(
        "a clean window holds its last moment (5)",
        "08_emergent.sql",
        "ELSE s.onset_i > e.onset_i AND s.onset_i <= e.until_i",
        "ELSE s.onset_i > e.onset_i AND s.onset_i < e.until_i",
        "5_episodes",
        "just as it ends: not incident",
        is_rare=True,
    ),
    Mutation(
        "what nobody looked at may still be true (8)",
        "09_composite.sql",
        "count(*) FILTER (WHERE is_high) >= at_least,",
        "count(*) FILTER (WHERE is_low) >= at_least,",
        "8_vital_signs",
        "one known, one unknown, of two",
    ),
    Mutation(
        "a remedy given a day before the onset was not begun by it (9)",
        "11_serious.sql",
        "ELSE m.i_last >= e.onset_i - to_microseconds(s.treatment_lookback_us) END AS is_before",
        "ELSE m.i_last > e.onset_i - to_microseconds(s.treatment_lookback_us) END AS is_before",
        "9_seriousness",
        "24 h before the onset",
        is_rare=True,
    ),
    Mutation(
        "death never censors (6)",
        "12_result.sql",
        "WHEN w.cut_reason IN ('next_unit', 'observation_end') THEN 'censored'",
        "WHEN w.cut_reason IS NOT NULL THEN 'censored'",
        "6_follow_up",
        "death never censors",
    ),
]


def mutated(one: Mutation) -> tuple[tuple[str, str], ...]:
    """The SQL files, with one place changed."""
    return tuple(
        (name, text.replace(one.old, one.new) if name == one.sql else text)
        for name, text in kernel.sql_files()
    )


def rendered(page: str) -> str:
    """Return the page with the list between its markers."""
    lines = ["| rule (section) | file | is | becomes | case |", "|---|---|---|---|---|"]
    for one in MUTATIONS:
        rule = f"{one.rule} \\*" if one.is_rare else one.rule
        cells = [rule, f"`{one.sql}`", f"`{one.old}`", f"`{one.new}`"]
        lines.append(f"| {' | '.join(cells)} | {one.spec}: {one.case} |")
    table = "\n".join(["<!-- mutations -->", *lines, "<!-- /mutations -->"])
    return re.sub(
        r"<!-- mutations -->.*<!-- /mutations -->", lambda _: table, page, flags=re.DOTALL
    )
