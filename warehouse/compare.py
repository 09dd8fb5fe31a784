"""Two states of `signals.risk` side by side, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

#: What a row is about, whatever study it belongs to.
_KEY = ("outcome", "window_name", "stratum", "stratum_value", "denominator")
_NUMBERS = ("n_events", "n_units", "n_patients", "risk", "ci_low", "ci_high")

Key = tuple[str, ...]
Risks = Mapping[Key, dict[str, Any]]


@dataclass(frozen=True)
class RiskPair:
    """One row of `signals.risk` in both states.

    Attributes:
        outcome, window_name, stratum, stratum_value, denominator: what it is about.
        is_headline: whether its denominator is the one that is quoted.
        old, new: events, units, patients, risk (a proportion) and its 95 % interval; None where
            the state has no such row.
    """

    outcome: str
    window_name: str
    stratum: str
    stratum_value: str
    denominator: str
    is_headline: bool
    old: dict[str, Any] | None
    new: dict[str, Any] | None

    @property
    def differs(self) -> bool:
        """Whether anything of the row differs."""
        return self.old != self.new


def read_risks(con: duckdb.DuckDBPyConnection, study_id: str) -> Risks:
    """Return the risks of a study's published outcomes from the store in use."""
    rows = con.execute(
        f"""SELECT {", ".join((*_KEY, "is_headline", *_NUMBERS))} FROM signals.risk
        SEMI JOIN reference.outcome AS o
            ON o.study_id = risk.study_id AND o.outcome = risk.outcome AND o.is_published
        WHERE study_id = ?""",
        [study_id],
    ).fetchall()
    names = ("is_headline", *_NUMBERS)
    return {row[: len(_KEY)]: dict(zip(names, row[len(_KEY) :], strict=True)) for row in rows}


def side_by_side(old: Risks, new: Risks) -> list[RiskPair]:
    """Return every row of either state, in the order of their keys."""
    return [_pair(key, old.get(key), new.get(key)) for key in sorted({*old, *new})]


def _pair(key: Key, old: dict[str, Any] | None, new: dict[str, Any] | None) -> RiskPair:
    told: Iterable[dict[str, Any]] = (one for one in (new, old) if one is not None)
    named: dict[str, Any] = dict(zip(_KEY, key, strict=True))
    is_headline = bool(next(iter(told))["is_headline"])
    return RiskPair(**named, is_headline=is_headline, old=_numbers(old), new=_numbers(new))


def _numbers(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {name: row[name] for name in _NUMBERS}
