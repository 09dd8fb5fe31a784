"""A quarter's round of packs: who is in time, whose packs are used, which count the same.

Pure: of packs that were verified, and of a day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from pipelines.base.errors import PackError
from pipelines.pooling.packs import Pack, check_alike

#: `in_time`: a pack of this quarter is used; `late`: one of an earlier quarter; `missing`: none.
State = Literal["in_time", "late", "missing"]


def quarter(day: date) -> str:
    """Return the calendar quarter of a day, such as `2026-Q4`; quarters sort as they follow."""
    return f"{day.year:04d}-Q{(day.month + 2) // 3}"


def deadline(day: date, deadline_days: int) -> date:
    """Return the last day on which packs of a day's quarter are in time."""
    first = day.replace(month=day.month - (day.month - 1) % 3, day=1)
    return first + timedelta(days=deadline_days - 1)


@dataclass(frozen=True)
class Standing:
    """How a site stands in a round.

    Attributes:
        site_id: whose.
        state: see `State`; a newer pack that counts another way leaves its site late.
        pack: the one that is used; None where there is none.
        note: what is wrong with what it sent; empty where nothing is.
    """

    site_id: str
    state: State
    pack: Pack | None
    note: str = ""


def standings(
    sent: Mapping[str, Sequence[Pack]],
    period: str,
    pooled: Mapping[str, str],
    notes: Mapping[str, str],
) -> list[Standing]:
    """Return how each site stands, sites in order.

    Pooled can only be what counts the same. What most sites' newest packs count is what is pooled;
    where as many count another way, what was pooled last. Of the other sites the newest older pack
    that counts so is used.

    Args:
        sent: by site its packs, the newest first; a site without any is there, too.
        period: the quarter whose packs are due.
        pooled: SHA-256 of each site's pack in the file, by site.
        notes: what is known to be wrong, by site.

    Errors:
        PackError: it cannot be said what is to be pooled: as many sites count one way as another.
    """
    way = _way(sent, pooled)
    found = []
    for site_id, packs in sorted(sent.items()):
        used = next((one for one in packs if _alike(one) == way), None)
        state: State = "missing" if used is None else "late"
        if used is not None and str(used.facts["exported"]) >= period:
            state = "in_time"
        told = [notes.get(site_id, ""), _set_aside(packs, used, sent, way)]
        found.append(Standing(site_id, state, used, " ".join(one for one in told if one)))
    return found


_Way = tuple[object, ...]


def _alike(pack: Pack) -> _Way:
    """Return what a pack must have in common with others (see `check_alike`)."""
    facts = pack.facts
    studies = sorted((one["study_id"], one["study_hash"]) for one in facts["studies"])
    return facts["software_version"], facts["checks_hash"], facts["is_synthetic"], tuple(studies)


def _way(sent: Mapping[str, Sequence[Pack]], pooled: Mapping[str, str]) -> _Way | None:
    newest = [packs[0] for packs in sent.values() if packs]
    if not newest:
        return None
    n_newest = Counter(_alike(one) for one in newest)
    n_pooled = Counter(
        _alike(one)
        for site_id, packs in sent.items()
        for one in packs
        if one.sha256 == pooled.get(site_id)
    )
    ranked = sorted(n_newest, key=lambda one: (n_newest[one], n_pooled[one]), reverse=True)
    if len(ranked) > 1:
        first, second = ranked[:2]
        if (n_newest[first], n_pooled[first]) == (n_newest[second], n_pooled[second]):
            check_alike(newest)  # it raises, and says which differ and in what
    return ranked[0]


def _set_aside(
    packs: Sequence[Pack], used: Pack | None, sent: Mapping[str, Sequence[Pack]], way: _Way | None
) -> str:
    """Return why the newest pack of a site is not the one that is used; empty where it is."""
    if not packs or packs[0] is used:
        return ""
    other = next(one[0] for one in sent.values() if one and _alike(one[0]) == way)
    try:
        check_alike([other, packs[0]])
    except PackError as error:
        instead = f"pack {used.number} is used" if used else "none is used"
        return f"Pack {packs[0].number} is set aside, {instead}: {error.what}"
    return ""
