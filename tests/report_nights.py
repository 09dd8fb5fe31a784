"""A warehouse as it would be after one more child: every count that the page tells, larger."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipelines.base import duck

#: Of each row of risks and counts those of one value a stratum, the largest: one child is in one.
_ROWS = """
    (outcome, window_name, stratum, stratum_value, denominator) IN (
        SELECT (outcome, window_name, stratum, max_by(stratum_value, n_units), denominator)
        FROM signals.counts GROUP BY outcome, window_name, stratum, denominator)"""
_NIGHT = (
    "UPDATE signals.risk SET n_units = n_units + {n}, n_events = n_events + {n}, "
    f"n_patients = n_patients + {{n}} WHERE {_ROWS}",
    "UPDATE signals.risk SET n_open = n_open + {n} WHERE n_open > 0",
    "UPDATE signals.counts SET n_units = n_units + {n}, n_events = n_events + {n}, "
    "n_patients = n_patients + {n}, sum_e2 = sum_e2 + {n}, sum_en = sum_en + {n}, "
    f"sum_n2 = sum_n2 + {{n}} WHERE {_ROWS}",
    "UPDATE signals.benchmark SET n_units = n_units + {n}, n_events = n_events + {n} "
    "WHERE n_units > 0",
    "UPDATE signals.laboratory SET n_patients = n_patients + {n}, median = median + 0.01",
    "UPDATE signals.effectiveness SET n_patients = n_patients + {n}, estimate = estimate + 0.01",
    "UPDATE signals.onset SET n_all_events = n_all_events + {n}, "
    "n_events = n_events + CASE WHEN bin_end = 0 THEN {n} ELSE 0 END, "
    "cumulative_incidence = least(1, cumulative_incidence + 0.001)",
    "UPDATE signals.alert SET n_serious = n_serious + {n}",
    "UPDATE linkage.attrition SET n = n + {n} WHERE step NOT LIKE '%:%'",
    "UPDATE quality.completeness SET n_rows = n_rows + {n} WHERE (source, event_type, "
    "occurred_date) IN (SELECT (source, event_type, min(occurred_date)) FROM quality.completeness "
    "GROUP BY source, event_type, date_trunc('month', occurred_date))",
    "UPDATE quality.reconciliation SET n_read = n_read + {n} "
    "WHERE rowid = (SELECT min(rowid) FROM quality.reconciliation)",
    "UPDATE reference.freshness SET complete_through_at = complete_through_at + INTERVAL 1 DAY",
    "UPDATE ops.state SET value = value || '+' WHERE name = 'state_hash'",
)


def night(warehouse: Path, out: Path, n_children: int) -> Path:
    """Write the warehouse after a night with so many more children, all with every event."""
    shutil.copy(warehouse, out)
    with duck.connect(out) as con:
        for statement in _NIGHT:
            con.execute(statement.format(n=n_children))
    return out


def told_cells(page: Path) -> dict[tuple[str, str, int], str]:
    """Every cell of the page's tables that tells a number, by figure, row and place."""
    found: dict[tuple[str, str, int], str] = {}
    text = page.read_text(encoding="utf-8")
    for figure in re.findall(r'<figure id="([^"]*)">(.*?)</figure>', text, flags=re.DOTALL):
        for key, row in re.findall(r'<tr data-key="([^"]*)">(.*?)</tr>', figure[1], re.DOTALL):
            texts = re.findall(r'<td class="n"[^>]*>([^<]*)</td>', row)
            for at, cell in enumerate(texts):
                found[figure[0], key, at] = cell
        boxes = re.findall(r"<li class=.box.><span>([^<]*)</span> <b>([^<]*)</b>", figure[1])
        for step, cell in boxes:
            found[figure[0], step, 0] = cell
    return {key: cell for key, cell in found.items() if cell[:1].isdigit() and cell != "0"}
