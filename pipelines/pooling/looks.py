"""Looks at what several hospitals have seen together: one sequential test on sums that merge.

Each pack tells units at risk and first events of patients of one instant, or the fewest and the
most events that there can be. Sums over hospitals are one Poisson count against one reference, and
the test is that of one hospital (`pipelines.signals.surveillance`), with its own alpha and end.

Where events are a range, the look decides only what is so at every count inside: `signal` where the
least signals, `continue` or `end` where the most does not, else `cannot_tell`. Thresholds and the
alpha spent follow from units alone. A look that says `signal` is one at which the true count
reaches the threshold, and the chance that it ever does, at any look, is the alpha spent; so
masking cannot make more false signals, it can only cost power.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.pooling.coordinator import PooledPairTable
from pipelines.pooling.packs import Pack
from pipelines.signals.surveillance import Look, Pair, Plan, Reference, SequentialTest
from studies.surveillance import PairTable

PooledDecision = Literal["signal", "continue", "end", "cannot_tell"]

OWN_BASELINE = (
    "each site has a baseline of its own; give [[pair]] rates, or counts of others, for all of them"
)
NOT_WATCHED = (
    "no pack tells of this pair: the study does not watch it, or every site masks it "
    "(or has no [privacy] tell_watched)"
)


@dataclass(frozen=True)
class Seen:
    """What packs tell of a pair.

    Attributes:
        sites: that tell their units, in order.
        units: at risk, by ordinal.
        low, high: fewest and most patients with an event.
    """

    sites: tuple[str, ...]
    units: Pair
    low: int
    high: int


@dataclass(frozen=True)
class PooledLook:
    """A look at several hospitals.

    Attributes:
        look: as of one hospital, of the fewest events.
        high: the most events.
        statistic_high: log-likelihood ratio of these.
        decision: what holds at every count of the range.
        sites: that were looked at.
    """

    look: Look
    high: int
    statistic_high: float
    decision: PooledDecision
    sites: tuple[str, ...]

    def __str__(self) -> str:
        one, n = self.look, f"{len(self.sites)} site{'s' * (len(self.sites) != 1)}"
        events = f"{one.events}" if one.events == self.high else f"{one.events} to {self.high}"
        return (
            f"look {one.number} at {n}: {events} events, {one.expected:.2f} expected, signals from "
            f"{one.threshold} on; alpha spent {one.alpha_spent:.4f}; "
            f"{self.decision.replace('_', ' ')}"
        )


def plan_of(pair: PairTable) -> Plan:
    """Return what was fixed beforehand."""
    return Plan(pair.alpha, pair.max_expected, pair.min_events, pair.first_look_expected)


def reference_of(packs: Sequence[Pack], pair: PooledPairTable) -> Reference | None:
    """Return what is expected of every site: the coordinator's, else that of the study's pair.

    None where the study leaves it to each site's own baseline, or does not watch the pair: rates of
    different sites cannot be one rate, and a baseline of few events would have to leave its site.
    """
    known = pair if pair.reference != "baseline" else _of_study(packs, pair)
    if known is None or known.reference == "baseline":
        return None
    if known.reference_first is not None and known.reference_later is not None:
        (e_first, n_first), (e_later, n_later) = known.reference_first, known.reference_later
        return Reference.of_counts((e_first, e_later), (n_first, n_later), "published")
    return Reference((known.rate_first, known.rate_later))


def _of_study(packs: Sequence[Pack], pair: PooledPairTable) -> PairTable | None:
    for study in packs[0].facts["studies"]:
        if study["study_id"] == pair.study:
            for told in study["settings"].get("surveillance", {}).get("pair", []):
                one = PairTable.model_validate(told)
                if (one.outcome, one.window, one.watched) == _about(pair):
                    return one
    return None


def _about(pair: PairTable) -> tuple[str, str, str]:
    return pair.outcome, pair.window, pair.watched


def seen_in(packs: Sequence[Pack], pair: PooledPairTable) -> Seen | None:
    """Return what the packs tell of a pair; None where none tells its units."""
    rows = [row for row in _rows(packs, pair) if row["n_units_first"] is not None]
    if not rows:
        return None
    low = high = 0
    for row in rows:
        units = row["n_units_first"] + row["n_units_later"]
        low += row["n_events_low"] or 0
        high += units if row["n_events_high"] is None else row["n_events_high"]
    first, later = (sum(row[name] for row in rows) for name in ("n_units_first", "n_units_later"))
    return Seen(tuple(sorted(row["site_id"] for row in rows)), (first, later), low, high)


def _rows(packs: Sequence[Pack], pair: PooledPairTable) -> Iterator[dict[str, Any]]:
    wanted = (pair.study, *_about(pair))
    for pack in packs:
        for row in pack.tables[WATCHED].to_pylist():
            if (row["study_id"], row["outcome"], row["window_name"], row["watched"]) == wanted:
                yield row


def surveillance_hash(packs: Sequence[Pack], pair: PooledPairTable) -> str | None:
    """Return the SHA-256 of all that looks depend on; of another one, another surveillance.

    That is what looks at one site depend on (`studies.surveillance.pair_hash`), which each pack
    tells, and the coordinator's own pair.
    """
    hashes = sorted({row["pair_hash"] for row in _rows(packs, pair)})
    if not hashes:
        return None
    content = [hashes, pair.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def next_look(
    plan: Plan, reference: Reference, before: Sequence[PooledLook], seen: Seen
) -> PooledLook | None:
    """Take a look; None where nothing has changed, it is too early, or all is decided.

    Args:
        plan: what was fixed beforehand.
        reference: what is expected.
        before: the looks of this surveillance, in their order.
        seen: what the packs tell now; of all sites that the look before saw.

    Errors:
        ValueError: no boundary spends the plan's alpha.
    """
    test = SequentialTest(plan, reference).resume([_open(one) for one in before])
    if before and test.last is not None and before[-1].high != seen.high:
        # Of the same units and the same least, another most is something new.
        test.last = replace(test.last, events=-1)
    look = test.look(seen.units, seen.low)
    if look is None:
        return None
    decision: PooledDecision = look.decision
    if look.decision != "signal" and seen.high >= look.threshold:
        decision = "cannot_tell"
    statistic_high = round(test.ratio(seen.high, look.expected), 10)
    return PooledLook(look, seen.high, statistic_high, decision, seen.sites)


def _open(one: PooledLook) -> Look:
    """Return a look to go on from: what could not be told is not decided."""
    if one.decision == "cannot_tell":
        return replace(one.look, decision="continue")
    return one.look
