"""The table `signals.comparison`: risks that the study can set beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from pipelines.signals.columns import (
    group_numbers,
    joined_notes,
    make_table,
    numbers,
    sorted_by,
    texts,
)
from pipelines.signals.comparison import (
    FEW,
    FEWEST_EVENTS,
    NO_UNITS,
    Group,
    Measures,
    Shared,
    odds_ratios,
    risk_differences,
    risk_ratios,
)
from pipelines.signals.contrasts import ABOUT, BOTH, OTHER, SIDE, Contrasts, contrasts
from pipelines.signals.intervals import Floats, clopper_pearson
from pipelines.signals.mantel_haenszel import CellPairs, Cells, common_risk_ratios
from pipelines.signals.risk import HEADLINE

_DAY_US = 86_400_000_000

STOPPING = (
    "if 30 to 60 % stop after an event, first:later is 1.25 to 1.45 where the risk never changes"
)
SELECTED = "only patients with a second unit: those who stop after an event are missing"
BY_NOW = "by now: who was treated lately had less time to be treated again"
WINDOWS = "a longer infusion is watched for longer: see rate_ratio"

CLUSTERED = "cluster-robust over patients"
EXACT = "cluster-robust over patients; odds ratio and p exact, given discordant pairs (McNemar)"
INDEPENDENT = "one unit a patient"
COMMON = "mantel-haenszel, cluster-robust over patients"

_DISCORDANT = ("n_first_only", "n_second_only")
NO_PAIRS = "no odds ratio: no pair with an event after one unit alone"
ONE_WAY = "no odds ratio: no pair with an event after the second unit alone"

_MEASURES = ("risk_ratio", "risk_difference", "odds_ratio")
_COUNTS = ("n_events", "n_units", "n_patients")

COMPARISON_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (*ABOUT[:-1], "adjusted_for", ABOUT[-1])]
    + [("is_headline", pa.bool_())]
    + [(name, pa.int64()) for name in _COUNTS]
    + [("risk", pa.float64()), ("person_days", pa.float64())]
    + [(f"other_{name}", pa.int64()) for name in _COUNTS]
    + [("other_risk", pa.float64()), ("other_person_days", pa.float64())]
    + [("n_shared_patients", pa.int64())]
    + [(f"{name}{end}", pa.float64()) for name in _MEASURES for end in ("", "_low", "_high")]
    + [("rate_ratio", pa.float64()), ("p_value", pa.float64())]
    + [("method", pa.string()), ("note", pa.string())]
)


def comparison_table(counts: Mapping[str, pa.Table]) -> pa.Table:
    """Return `signals.comparison` (COMPARISON_SCHEMA) from all tables of counts.

    Estimand: ratio, difference and odds ratio of the proportions of units with the event on two
    sides, over the units of the denominator; intervals know that a patient has several units and
    may be on both sides (`comparison`). Over strata: Mantel and Haenszel's common ratio.
    """
    found = contrasts(counts)
    tables = [_crude_rows(found.crude), _adjusted_rows(found)]
    return sorted_by(pa.concat_tables(tables), *ABOUT, "adjusted_for").combine_chunks()


def _crude_rows(crude: pa.Table) -> pa.Table:
    one, other = Group(*numbers(crude, *SIDE)), Group(*numbers(crude, *OTHER))
    shared = Shared(*numbers(crude, *BOTH))
    contrast = crude["contrast"].to_numpy(zero_copy_only=False)
    is_paired = np.equal(contrast, "first_v_second")
    ratio, difference = risk_ratios(one, other, shared), risk_differences(one, other, shared)
    odds, p_value = _mcnemar(crude, odds_ratios(one, other, shared), is_paired)
    nothing = np.full(crude.num_rows, np.nan)
    time, other_time = numbers(crude, "person_us", "other_person_us")
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = (np.asarray(one.n_events) / time) / (np.asarray(other.n_events) / other_time)
    made = _sides(crude, one, other) | {
        "adjusted_for": texts("none", nothing),
        **_limits("risk_ratio", ratio),
        **_limits("risk_difference", difference),
        **_limits("odds_ratio", odds),
        "rate_ratio": np.where(np.isfinite(rates) & (rates > 0), rates, np.nan),
        "p_value": p_value,
        "method": np.select(
            [is_paired, np.equal(contrast, "given_again")],
            [texts(EXACT, nothing), texts(INDEPENDENT, nothing)],
            texts(CLUSTERED, nothing),
        ),
        "note": _notes(crude, one, other, (ratio, difference), odds),
    }
    return make_table(COMPARISON_SCHEMA, made, crude)


def _sides(given: pa.Table, one: Group, other: Group) -> dict[str, Any]:
    """Return what describes both sides, whatever is made of them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        risk, other_risk = one.risk, other.risk
    time, other_time = numbers(given, "person_us", "other_person_us")
    return {
        "is_headline": np.equal(given["denominator"].to_numpy(zero_copy_only=False), HEADLINE),
        "risk": risk,
        "other_risk": other_risk,
        "person_days": time / _DAY_US,
        "other_person_days": other_time / _DAY_US,
        "n_shared_patients": given["shared_patients"],
    }


def _limits(name: str, found: Measures) -> dict[str, Floats]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _mcnemar(
    crude: pa.Table, odds: Measures, is_paired: NDArray[np.bool_]
) -> tuple[Measures, Floats]:
    """Return odds ratios, those of pairs by their discordant ones, and the exact two-sided p.

    Source: McNemar 1947, Psychometrika 12:153; given their number, discordant pairs are binomial.
    """
    first, second = (np.nan_to_num(x) for x in numbers(crude, *_DISCORDANT))
    discordant = first + second
    has_odds = is_paired & (discordant > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(has_odds & (second > 0), first / second, np.nan)
        low, high = (limit / (1 - limit) for limit in clopper_pearson(first, discordant))
    p = np.minimum(1.0, 2 * special.bdtr(np.minimum(first, second), discordant.astype(int), 0.5))
    told = Measures(
        np.where(is_paired, value, odds.value),
        np.where(is_paired, np.where(np.isnan(value), np.nan, low), odds.low),
        np.where(is_paired, np.where(np.isnan(value), np.nan, high), odds.high),
        np.where(is_paired, texts(None, value), odds.note),
    )
    return told, np.where(has_odds, p, np.nan)


def _notes(
    crude: pa.Table,
    one: Group,
    other: Group,
    found: tuple[Measures, Measures],
    odds: Measures | None = None,
) -> NDArray[np.object_]:
    contrast = crude["contrast"].to_numpy(zero_copy_only=False)
    stratum = crude["stratum"].to_numpy(zero_copy_only=False)
    ratio, difference = found
    # What both lack for the same reason is said once.
    reasons = [
        (np.equal(ratio.note, why) | np.equal(difference.note, why), why)
        for why in sorted({why for why in (*ratio.note, *difference.note) if why})
    ]
    if odds is not None:
        reasons += [
            (
                np.equal(odds.note, why)
                & ~np.equal(ratio.note, why)
                & ~np.equal(difference.note, why),
                f"odds ratio: {why}",
            )
            for why in sorted({why for why in odds.note if why})
        ]
    first, second = (np.nan_to_num(x, nan=1.0) for x in numbers(crude, *_DISCORDANT))
    fewest = np.minimum(one.n_events, other.n_events)
    return joined_notes(
        ratio.value,
        *reasons,
        ((second == 0) & (first == 0), NO_PAIRS),
        ((second == 0) & (first > 0), ONE_WAY),
        (~np.isnan(ratio.low) & (fewest < FEWEST_EVENTS), FEW),
        (np.equal(contrast, "first_v_later"), STOPPING),
        (np.equal(contrast, "first_v_second"), SELECTED),
        (np.equal(contrast, "given_again"), BY_NOW),
        (np.equal(stratum, "drug") & ~np.equal(ratio.note, NO_UNITS), WINDOWS),
    )


def _adjusted_rows(found: Contrasts) -> pa.Table:
    """Return a row for each comparison and what it is adjusted for; counts are the crude ones."""
    cells, pairs = found.cells, found.pairs
    number = group_numbers(cells, "comparison", "adjusted_for")
    _, first = np.unique(number, return_index=True)
    head = cells.take(first)
    crude = found.crude.take(head["comparison"])
    one, other = Group(*numbers(crude, *SIDE)), Group(*numbers(crude, *OTHER))
    [shared] = numbers(crude, "shared_patients")
    ratio = common_risk_ratios(
        Cells(
            number,
            group_numbers(cells, "comparison", "adjusted_for", "held"),
            cells["is_other"].to_numpy(zero_copy_only=False),
            Group(*numbers(cells, *SIDE)),
        ),
        CellPairs(
            pairs["cell"].to_numpy(),
            pairs["other_cell"].to_numpy(),
            Shared(0, *numbers(pairs, "sum_ee", "sum_en", "sum_ne", "sum_nn")),
        ),
        np.asarray(one.n_patients + other.n_patients - shared),
    )
    nothing = np.full(len(first), np.nan)
    no_measure = Measures(nothing, nothing, nothing, ratio.note)
    made = _sides(crude, one, other) | {
        "adjusted_for": head["adjusted_for"],
        **_limits("risk_ratio", ratio),
        **_limits("risk_difference", no_measure),
        **_limits("odds_ratio", no_measure),
        "rate_ratio": nothing,
        "p_value": nothing,
        "method": texts(COMMON, nothing),
        "note": _notes(crude, one, other, (ratio, no_measure)),
    }
    return make_table(COMPARISON_SCHEMA, made, crude)
