"""Looks of sequential surveillance: counted from the store, and recorded in the log.

A look is taken once for a study and the batches that linkage was made from, and is a fact from
then on (docs/decisions/130).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from pipelines.ingest.recorded import Recorded, Row, fact_name
from pipelines.signals.surveillance import Look, Pair, Plan, Reference, SequentialTest
from studies.load import Study
from studies.surveillance import ALL, PairTable, pair_hash
from warehouse.guard import one_row
from warehouse.layout import LINKED_BATCHES
from warehouse.look_records import look_of, record_of, reference_of
from warehouse.watched import Counts, count_pair

LOOK = "LookTaken"


@dataclass(frozen=True)
class Taken:
    """What became of a pair tonight.

    Attributes:
        study_id, outcome, window_name, watched: the pair.
        look: the look taken; None where there was none.
        why_not: why there can be none; empty where nothing stands in the way.
        is_anew: whether there were looks at this pair under another definition.
    """

    study_id: str
    outcome: str
    window_name: str
    watched: str
    look: Look | None
    why_not: str = ""
    is_anew: bool = False

    @property
    def name(self) -> str:
        """The pair as one word, as in an alert's key."""
        return alert_key(self.study_id, self.outcome, self.window_name, self.watched)


def alert_key(study_id: str, outcome: str, window_name: str, watched: str = ALL) -> str:
    """Return the key of the alert of a pair within its site."""
    parts = (study_id, outcome, window_name, *([] if watched == ALL else [watched]))
    return "/".join(parts)


def take(
    con: duckdb.DuckDBPyConnection,
    recorded: Recorded,
    site_id: str,
    studies: Sequence[Study],
    through: Mapping[str, datetime],
) -> list[Taken]:
    """Take tonight's looks and record them, unless these batches have been looked at.

    Args:
        con: the store in use, with linkage loaded.
        recorded: the log's facts.
        site_id: whose.
        studies: in force.
        through: per event type, the naive UTC instant up to which windows take it as complete.

    Errors:
        LogError: a recorded look is damaged.
        StorageError: a look cannot be recorded; it has not been taken then.
    """
    batches, at = _linked(con)
    if recorded.is_past or at is None:
        return []
    known, found = recorded.rows(LOOK), []
    for study in studies:
        pairs = study.model.surveillance.pair
        # Of another revision that changes nothing for any pair, these looks have been taken.
        hashes = [pair_hash(study, pair) for pair in pairs]
        name = fact_name(LOOK, site_id, study.id, *hashes, *batches)
        if not pairs or recorded.has(LOOK, name):
            continue
        taken = [
            _look(con, study, pair, [row for row in known if _is_of(row, study, pair)])
            for pair in pairs
        ]
        rows = [
            {**row, "data_through_at": _through(study, row["outcome"], through)}
            for _, row in taken
            if row
        ]
        if rows:
            recorded.add(LOOK, name, site_id, at, rows)
        found += [one for one, _ in taken]
    return found


def _linked(con: duckdb.DuckDBPyConnection) -> tuple[list[str], datetime | None]:
    """Return the batches that linkage was made from, and the newest export among them."""
    row = con.execute("SELECT value FROM ops.state WHERE name = ?", [LINKED_BATCHES]).fetchone()
    batches: list[str] = sorted(json.loads(row[0])) if row else []
    (at,) = one_row(
        con.execute(
            "SELECT max(exported_at) FROM ops.batch WHERE list_contains(?::VARCHAR[], batch_id)",
            [batches],
        )
    )
    return batches, None if at is None else at.replace(tzinfo=UTC)


def _is_of(row: Row, study: Study, pair: PairTable) -> bool:
    """Whether a record is a look at this pair, under any revision of the study."""
    told = (row["study_id"], row["outcome"], row["window_name"], row["watched"])
    return told == (study.id, pair.outcome, pair.window, pair.watched)


def _through(study: Study, outcome: str, through: Mapping[str, datetime]) -> datetime | None:
    """Return up to when all that an outcome reads is complete."""
    reads = study.reads(study.outcome(outcome))
    return min((through[name] for name in reads if name in through), default=None)


def _look(
    con: duckdb.DuckDBPyConnection, study: Study, pair: PairTable, known: Sequence[Row]
) -> tuple[Taken, Row | None]:
    own = pair_hash(study, pair)
    earlier = _earlier(known, own, study.study_hash)
    seen, baseline = count_pair(con, study, pair)
    reference = reference_of(earlier[0]) if earlier else _new_reference(pair, baseline)
    units, events = (seen[0][0], seen[1][0]), seen[0][1] + seen[1][1]
    plan = Plan(pair.alpha, pair.max_expected, pair.min_events, pair.first_look_expected)
    looks = [look_of(row) for row in earlier]
    found, why_not = None, _why_not(reference, units)
    if not why_not:
        test = SequentialTest(plan, reference).resume(looks)
        found = test.look(units, events)
    head = (study.id, pair.outcome, pair.window, pair.watched)
    is_anew = bool(known) and not earlier and found is not None
    taken = Taken(*head, found, why_not, is_anew)
    if found is None:
        return taken, None
    before = looks[-1] if looks else None
    hashes = (study.study_hash, own)
    return taken, record_of(head, hashes, plan, reference, found, before)


def _earlier(known: Sequence[Row], own: str, study_hash: str) -> list[Row]:
    """Return the looks of this surveillance, in their order.

    A look from before there were hashes of pairs belongs to it where its study is that of one that
    does, or the one in force.
    """
    studies = {study_hash, *(row["study_hash"] for row in known if row["pair_hash"] == own)}
    found = [
        row
        for row in known
        if row["pair_hash"] == own or (row["pair_hash"] is None and row["study_hash"] in studies)
    ]
    return sorted(found, key=lambda row: int(row["look_number"]))


def _why_not(reference: Reference, units: Pair) -> str:
    if reference.events is not None and not sum(reference.events):
        return "the baseline has no event"
    if reference.expected(units) is None:
        return "the baseline has no unit of an ordinal that is watched"
    return ""


def _new_reference(pair: PairTable, baseline: Counts) -> Reference:
    if pair.reference_first is not None and pair.reference_later is not None:
        (e_first, n_first), (e_later, n_later) = pair.reference_first, pair.reference_later
    elif pair.reference == "fixed":
        return Reference((pair.rate_first, pair.rate_later))
    else:
        (n_first, e_first), (n_later, e_later) = baseline
    return Reference.of_counts((e_first, e_later), (n_first, n_later), pair.reference)
