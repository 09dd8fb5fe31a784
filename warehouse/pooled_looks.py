"""Pooled looks: taken once for the packs that they saw, recorded, and told as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.ingest.recorded import Recorded, Row, fact_name
from pipelines.pooling.coordinator import PooledPairTable
from pipelines.pooling.looks import (
    NOT_WATCHED,
    OWN_BASELINE,
    PooledLook,
    next_look,
    plan_of,
    reference_of,
    seen_in,
    surveillance_hash,
)
from pipelines.pooling.packs import Pack
from warehouse.look_records import look_of, record_of
from warehouse.looks import LOOK
from warehouse.models import pooled_models

SEQUENTIAL, ALERT = "pooled.sequential", "pooled.alert"


@dataclass(frozen=True)
class Watched:
    """What became of a pair.

    Attributes:
        pair: the coordinator's.
        pair_hash: of what its looks depend on; None where no pack tells of it.
        look: the look taken now; None where there was none.
        why_not: why there can be none; empty where nothing stands in the way.
    """

    pair: PooledPairTable
    pair_hash: str | None
    look: PooledLook | None = None
    why_not: str = ""

    @property
    def name(self) -> str:
        """The pair in words."""
        parts = (self.pair.study, self.pair.outcome, self.pair.window, self.pair.watched)
        return "/".join(parts)


def take_pooled(
    recorded: Recorded, coordinator_id: str, pairs: Sequence[PooledPairTable], packs: Sequence[Pack]
) -> list[Watched]:
    """Take the looks that these packs allow and record them; the same packs again take none.

    Args:
        recorded: the coordinator's facts.
        coordinator_id: whose they are.
        pairs: what is looked at.
        packs: verified, one a site, that count the same.

    Errors:
        LogError: a recorded look is damaged.
        StorageError: a look cannot be recorded; it has not been taken then.
    """
    found, rows = [], []
    for pair in pairs:
        own = surveillance_hash(packs, pair)
        before = _of_surveillance(recorded, coordinator_id, own)
        watched = _look(pair, own, [pooled_look_of(row) for row in before], packs)
        found.append(watched)
        if watched.look is not None:
            rows.append(_record(watched, packs, before[-1] if before else None))
    shas = sorted(pack.sha256 for pack in packs)
    name = fact_name(LOOK, coordinator_id, *sorted(row["pair_hash"] for row in rows), *shas)
    if rows:
        recorded.add(LOOK, name, coordinator_id, _day_of(packs), rows)
    return found


def _look(
    pair: PooledPairTable, own: str | None, before: Sequence[PooledLook], packs: Sequence[Pack]
) -> Watched:
    seen = seen_in(packs, pair)
    if own is None or seen is None:
        return Watched(pair, own, why_not=NOT_WATCHED)
    reference = reference_of(packs, pair)
    if reference is None:
        return Watched(pair, own, why_not=OWN_BASELINE)
    if before and (gone := sorted({*before[-1].sites} - {*seen.sites})):
        # Less than was seen is no later state of the same count.
        return Watched(pair, own, why_not=f"the look before saw {', '.join(gone)}, too")
    return Watched(pair, own, next_look(plan_of(pair), reference, before, seen))


def _of_surveillance(recorded: Recorded, coordinator_id: str, own: str | None) -> list[Row]:
    found = [
        row
        for row in recorded.rows(LOOK)
        if (row["site_id"], row["pair_hash"]) == (coordinator_id, own)
    ]
    return sorted(found, key=lambda row: int(row["look_number"]))


def _day_of(packs: Sequence[Pack]) -> datetime:
    """Return the first day of the newest quarter that a pack was made in; they tell no day."""
    year, _, number = max(str(pack.facts["exported"]) for pack in packs).partition("-Q")
    return datetime(int(year), 3 * int(number) - 2, 1, tzinfo=UTC)


def _record(watched: Watched, packs: Sequence[Pack], before: Row | None) -> Row:
    pair, look = watched.pair, watched.look
    reference = reference_of(packs, pair)
    assert look is not None and reference is not None and watched.pair_hash is not None  # noqa: S101, PT018 - by the caller
    study_hash = next(
        one["study_hash"] for one in packs[0].facts["studies"] if one["study_id"] == pair.study
    )
    told = record_of(
        (pair.study, pair.outcome, pair.window, pair.watched),
        (study_hash, watched.pair_hash),
        plan_of(pair),
        reference,
        look.look,
        None if before is None else pooled_look_of(before).look,
    )
    is_exact = look.look.events == look.high
    was_exact = before is None or before["n_events_low"] == before["n_events_high"]
    return {
        **told,
        "n_events": look.look.events if is_exact else None,
        "n_events_added": told["n_events_added"] if is_exact and was_exact else None,
        "decision": look.decision,
        "sites": list(look.sites),
        "n_events_low": look.look.events,
        "n_events_high": look.high,
        "statistic_high": look.statistic_high,
    }


def pooled_look_of(row: Row) -> PooledLook:
    """Return the pooled look that a record tells."""
    look = look_of({**row, "n_events": row["n_events_low"]})
    return PooledLook(
        look,
        row["n_events_high"],
        row["statistic_high"],
        row["decision"],
        tuple(row["sites"]),
    )


# Tables -------------------------------------------------------------------------------------


def pooled_look_tables(
    recorded: Recorded, coordinator_id: str, watched: Sequence[Watched]
) -> dict[str, list[Row]]:
    """Return the rows of `pooled.sequential` and `pooled.alert`, from the records alone."""
    columns = next(one for one in pooled_models() if one.full_name == SEQUENTIAL).column_names
    records = [row for row in recorded.rows(LOOK) if row["site_id"] == coordinator_id]
    looks = [
        {
            **{name: row[name] for name in columns if name in row},
            "n_sites": len(row["sites"]),
            "is_signal": row["decision"] == "signal",
            "rate_ratio_low": row["n_events_low"] / row["expected"],
            "rate_ratio_high": row["n_events_high"] / row["expected"],
        }
        for row in records
    ]
    key = ("study_id", "outcome", "window_name", "watched", "pair_hash", "look_number")
    looks.sort(key=lambda row: tuple(row[name] for name in key))
    alerts = [_alert(one, [row for row in looks if row["pair_hash"] == one.pair_hash])
              for one in watched]  # fmt: skip
    return {
        SEQUENTIAL: looks,
        ALERT: sorted(alerts, key=lambda row: tuple(row[n] for n in key[:4])),
    }


def _alert(one: Watched, looks: Sequence[Row]) -> Row:
    """Return how a pair stands: a signal stays one, whatever is not told later."""
    last = looks[-1] if looks else None
    states = {"signal": "signal", "cannot_tell": "cannot_tell"}
    if any(row["is_signal"] for row in looks):
        state = "signal"
    else:
        state = states.get(last["decision"], "none") if last else "none"
    names = ("look_number", "n_sites", "n_events_low", "n_events_high", "expected", "threshold")
    return {
        "study_id": one.pair.study,
        "outcome": one.pair.outcome,
        "window_name": one.pair.window,
        "watched": one.pair.watched,
        "state": state,
        **{name: last[name] if last else None for name in names},
        "alpha": one.pair.alpha,
        "max_expected": one.pair.max_expected,
        "note": one.why_not or None,
    }
