"""The table `signals.self_controlled`: is the rate higher after an infusion in the same patients?

A risk interval (SCRI) sets events of the risk window beside those of the control window of the same
units; whatever does not change within a patient cancels out. That holds only for an outcome that is
found as surely without an infusion: the study says of which.

Source: Glanz et al. 2006, J Clin Epidemiol 59:808.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipelines.base import duck
from pipelines.signals.columns import joined_notes, make_table, numbers, texts
from pipelines.signals.counts import COUNTS, SELF_CONTROLLED, WATCHED_STRATA
from pipelines.signals.rates import RateRatios, rate_ratios
from studies.load import Study

METHOD = "scri"

DIFFERENTIAL = "differential_ascertainment"
NO_RISK = "no_risk_window"
NO_CONTROL = "no_control_window"
NO_EVENT = "no event in a risk or control window"
NO_TIME = "no time at risk in one of the windows"
ONE_SIDE = "no event in one of the windows: no normal approximation"
UNBOUNDED = "no event in a control window: no ratio, no upper limit"
CUT_BY_NEXT = "control windows cut by the next infusion: when it is given may depend on events"
CUT_BY_END = "control windows cut by the end of observation, which may depend on events"

_DAY_US = 86_400_000_000
_ABOUT = (*SELF_CONTROLLED.keys, "method")
_WHOLE = ("n_patients", "n_risk_events", "n_control_events")
_ESTIMATES = ("rate_ratio", "ci_low", "ci_high", "wald_low", "wald_high")
_CUT = ("n_cut_by_next", "n_cut_by_end")

SELF_CONTROLLED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (*_ABOUT, "ascertainment")]
    + [(name, pa.int64()) for name in _WHOLE]
    + [(name, pa.float64()) for name in ("risk_days", "control_days", *_ESTIMATES)]
    + [(name, pa.int64()) for name in _CUT]
    + [(f"{name[2:]}_share", pa.float64()) for name in _CUT]
    + [("is_converged", pa.bool_()), ("adjusted_for", pa.string()), ("note", pa.string())]
)

_OUTCOMES_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study_id", "outcome", "ascertainment")]
    + [(name, pa.bool_()) for name in ("has_risk", "has_control")]
)

#: Each outcome and stratum that is counted at all; windows without events have no counts.
_ROWS = f"""
SELECT c.*, o.* EXCLUDE (study_id, outcome),
    {", ".join(f"coalesce(s.{name}, 0) AS {name}" for name in SELF_CONTROLLED.sums)}
FROM (
    SELECT DISTINCT {", ".join(SELF_CONTROLLED.keys)} FROM counts
    WHERE stratum IN {WATCHED_STRATA}
) AS c
JOIN outcomes AS o USING (study_id, outcome)
LEFT JOIN windows AS s USING ({", ".join(SELF_CONTROLLED.keys)})
ORDER BY {", ".join(SELF_CONTROLLED.keys)}
"""


def self_controlled_table(counts: Mapping[str, pa.Table], studies: Sequence[Study]) -> pa.Table:
    """Return `signals.self_controlled` (SELF_CONTROLLED_SCHEMA) from all tables of counts.

    Estimand: rate of first events of a unit in risk windows over that in control windows, among
    patients with an event in one of them; times are those up to the cut. Given the sum of events,
    how many lie in risk windows is binomial: exact where risk and control time have the same ratio
    in all these patients, near it where few windows were cut.
    """
    n_rows = sum(table.num_rows for table in counts.values())
    with duck.connect(threads=duck.threads_for(n_rows)) as con:
        con.register("counts", counts[COUNTS.name])
        con.register("windows", counts[SELF_CONTROLLED.name])
        con.register("outcomes", _outcomes(studies))
        rows = con.execute(_ROWS).to_arrow_table()
    risk, risk_us, control, control_us, *cut, n = numbers(
        rows, "n_risk_events", "risk_us", "n_control_events", "control_us", *_CUT, "n_patients"
    )
    is_independent = rows["ascertainment"].to_numpy(zero_copy_only=False) == "independent"
    has_risk, has_control = (
        rows[name].to_numpy(zero_copy_only=False) for name in ("has_risk", "has_control")
    )
    found = rate_ratios(risk, risk_us, control, control_us)
    is_told = is_independent & has_risk & has_control & ~np.isnan(found.low)
    made = {
        "method": texts(METHOD, risk),
        "risk_days": risk_us / _DAY_US,
        "control_days": control_us / _DAY_US,
        **{name: np.where(is_told, x, np.nan) for name, x in _columns(found).items()},
        **{
            f"{name[2:]}_share": np.where(n > 0, x / np.maximum(n, 1), np.nan)
            for name, x in zip(_CUT, cut, strict=True)
        },
        "is_converged": texts(None, risk),
        "adjusted_for": texts(None, risk),
        "note": joined_notes(
            risk,
            (~is_independent, DIFFERENTIAL),
            (~has_risk, NO_RISK),
            (~has_control, NO_CONTROL),
            (is_independent & has_risk & has_control & (n == 0), NO_EVENT),
            (is_independent & (n > 0) & np.isnan(found.low), NO_TIME),
            (is_told & (control == 0), UNBOUNDED),
            (is_told & (risk == 0), ONE_SIDE),
            (is_told & (cut[0] > 0), CUT_BY_NEXT),
            (is_told & (cut[1] > 0), CUT_BY_END),
        ),
    }
    return make_table(SELF_CONTROLLED_SCHEMA, made, rows)


def _columns(found: RateRatios) -> dict[str, np.typing.NDArray[np.float64]]:
    columns = (found.ratio, found.low, found.high, found.wald_low, found.wald_high)
    return dict(zip(_ESTIMATES, columns, strict=True))


def _outcomes(studies: Sequence[Study]) -> pa.Table:
    """Return what each outcome says of itself."""
    rows = [
        {
            "study_id": study.id,
            "outcome": one.name,
            "ascertainment": one.ascertainment,
            "has_risk": any(window.name == "risk" for window in one.window),
            "has_control": any(window.name == "control" for window in one.window),
        }
        for study in studies
        for one in study.model.outcome
    ]
    return pa.Table.from_pylist(rows, schema=_OUTCOMES_SCHEMA)
