"""Patients that were merged: under which key each one's events count.

Two numbers of one child become one, and sometimes two again. Registrations say so, each for as long
as it stands; whatever a source delivers under the old number, before or after, is the survivor's.
All of it follows from the registrations that stand, so the order of arrival cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from pipelines.base.duck import insert

#: Of each patient who was merged away: who counts instead, and whether the patient's registration
#: speaks for the survivor, who has none.
ALIAS = """
CREATE TABLE ledger.patient_alias (
    patient_key VARCHAR, survivor_key VARCHAR, is_spokesman BOOLEAN);
"""

#: Links in the order in which they count: what a patient's own registration says, then what
#: others say, each the latest first. Times of change are one scale for all sources; versions not.
_LINKS = """
SELECT patient_key, other_key FROM (
    SELECT patient_key, replaced_by_key AS other_key, true AS is_own, recorded_at, version,
           content_hash
    FROM ledger.registered WHERE replaced_by_key IS NOT NULL
    UNION ALL
    SELECT unnest(replaces_keys), patient_key, false, recorded_at, version, content_hash
    FROM ledger.registered WHERE replaces_keys IS NOT NULL)
WHERE patient_key IS NOT NULL AND other_key IS NOT NULL
ORDER BY is_own DESC, recorded_at DESC NULLS LAST, version DESC NULLS LAST,
         content_hash DESC NULLS LAST, patient_key, other_key
"""

_ANY_LINK = """
SELECT EXISTS (SELECT 1 FROM event."PatientRegistered"
               WHERE replaced_by_key IS NOT NULL OR replaces_keys IS NOT NULL)
    OR EXISTS (SELECT 1 FROM ledger.patient_alias)
"""

Alias = tuple[str, str, bool]


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Make `ledger.patient_alias` fit the registrations that stand, in the caller's transaction.

    Rows are written only where somebody was merged, or parted again, since the last time.
    """
    any_link = con.execute(_ANY_LINK).fetchone()
    if not (any_link and any_link[0]):
        return
    followed = follow(con.execute(_LINKS).fetchall())
    concerned = {*followed, *(survivor for survivor, _ in followed.values())}
    registered = {
        str(key)
        for (key,) in con.execute(
            "SELECT DISTINCT patient_key FROM ledger.registered "
            "WHERE patient_key IN (SELECT unnest($keys::VARCHAR[]))",
            {"keys": sorted(concerned)},
        ).fetchall()
    }
    wanted = set(aliases(followed, registered))
    known = set(con.execute("FROM ledger.patient_alias").fetchall())
    if wanted != known:
        con.execute("DELETE FROM ledger.patient_alias")
        insert(con, "ledger.patient_alias", sorted(wanted))


def follow(links: Iterable[Sequence[str]]) -> dict[str, tuple[str, int]]:
    """Return, of each patient who was merged away, the last survivor and how many links lead there.

    Of several links of one patient the first counts. Where links lead in a circle, the patient
    whom the first of them names as survivor is the one.

    Args:
        links: who was merged, and into whom, in the order in which they count.
    """
    next_: dict[str, str] = {}
    for one, other in links:
        if one != other:
            next_.setdefault(one, other)
    place = {one: number for number, one in enumerate(next_)}
    for circle in _circles(next_):
        first = min(circle, key=place.__getitem__)
        del next_[next_[first]]
    found: dict[str, tuple[str, int]] = {}
    for one in next_:
        way = [one]
        while way[-1] in next_ and way[-1] not in found:
            way.append(next_[way[-1]])
        survivor, n_links = found.get(way[-1], (way[-1], 0))
        for far, patient in enumerate(reversed(way[:-1]), start=n_links + 1):
            found[patient] = (survivor, far)
    return found


def _circles(next_: Mapping[str, str]) -> list[list[str]]:
    """Return the circles; each patient has one link at most, so that no two of them meet."""
    seen: set[str] = set()
    circles = []
    for start in next_:
        way: dict[str, int] = {}
        at = start
        while at in next_ and at not in seen:
            seen.add(at)
            way[at] = len(way)
            at = next_[at]
        if at in way:
            circles.append([one for one in way if way[one] >= way[at]])
    return circles


def aliases(followed: Mapping[str, tuple[str, int]], registered: set[str]) -> Iterable[Alias]:
    """Yield the rows of `ledger.patient_alias`.

    The survivor's own registration says who the survivor is. Where it was never delivered, those
    of the patients do who are the fewest links away: a number that was merged away keeps a birth
    date, a sex or an end of observation that nobody mends any more.
    """
    nearest: dict[str, int] = {}
    for patient, (survivor, far) in followed.items():
        if patient in registered:
            nearest[survivor] = min(far, nearest.get(survivor, far))
    for patient, (survivor, far) in followed.items():
        is_told = survivor in registered
        yield patient, survivor, not is_told and nearest.get(survivor) == far
