"""Figures of the page that stay until what has changed may be told.

Risks have the rule of the packs. What else the page tells of counts is held here: a group of
numbers is told anew when each of its counts has changed by 0 or at least the threshold, and else
stays as it was last told, whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from warehouse.report import words
from warehouse.report.masking import is_small

Row = dict[str, Any]
#: In place of a figure's name: the page itself.
_PAGE = "page"


class Held:
    """What a page told last, and tells now.

    Args:
        threshold: smallest count that is shown.
        last: what was told, by name; None where no site's pages are compared: nothing stays.
        day: how far tonight's data reach; None where no source says.
    """

    def __init__(
        self, threshold: int, last: Mapping[str, Row] | None, day: date | None = None
    ) -> None:
        self._threshold = threshold
        self._day = day.isoformat() if day else ""
        self._last = last or {}
        self._is_held = last is not None
        # What is not on tonight's page was told all the same.
        self.now: dict[str, Row] = dict(self._last)
        self._keep(_PAGE, [], {})

    def has(self, name: str) -> bool:
        """Whether a group was told, or is."""
        return name in self.now

    def told(self, name: str) -> list[Row]:
        """Return the rows of a group as they were told last; none where they never were."""
        return list(self._last[name]["shown"]) if name in self._last else []

    def rows(
        self,
        name: str,
        rows: Sequence[Row],
        counts: Mapping[str, int],
        *,
        may_move: bool = True,
    ) -> list[Row]:
        """Return the rows of a group as they may be told.

        Args:
            name: of the group, the same every night.
            rows: as they would be told now; texts, numbers and None.
            counts: all that is counted in them, and what follows by subtraction.
            may_move: False where what they hang on is not told as it is now.
        """
        last = self._last.get(name)
        found = list(rows)
        if last is not None and found == last["shown"]:
            if may_move and self._is_held:
                # What follows beside figures that moved alone is known from now on.
                self._know(name, last, counts)
            return found
        if may_move and (last is None or self._may_follow(counts, last)):
            self._keep(name, found, counts)
            return found
        if last is None or last["threshold"] < self._threshold:
            return []  # never told; or told when less was small
        return list(last["shown"])

    def _know(self, name: str, last: Row, counts: Mapping[str, int]) -> None:
        """Note what follows from a group that stays, beside figures that have moved since."""
        was: dict[str, list[int]] = {one: list(old) for one, old in last.get("was", {}).items()}
        for one, count in last["counts"].items():
            if counts.get(one, count) != count and count not in was.get(one, ()):
                was[one] = [*was.get(one, ()), count]
        known = {**last.get("gone", {}), **last["counts"]}
        gone = {one: count for one, count in known.items() if one not in counts}
        told: Row = {one: last[one] for one in ("threshold", "shown", "day") if one in last}
        # Nothing where there is none: the same night drawn twice is the same state.
        more = {one: value for one, value in (("gone", gone), ("was", was)) if value}
        self.now[name] = {**told, "counts": dict(counts), **more}

    def decided(self, name: str, shown: Sequence[object], *, is_now: bool) -> None:
        """Note what is told by another rule, for `as_of`.

        What is neither what the last page told nor what is counted now was told by a pack since: a
        pack is made of the publication that the last page is of.
        """
        last, found = self._last.get(name), list(shown)
        if last is not None and found == last["shown"]:
            return
        then = str(self._last.get(_PAGE, {}).get("day", ""))
        self._keep(name, found, {}, self._day if is_now else then)

    def as_of(self, *names: str) -> str:
        """Return how far the data reached when the oldest of these was told; empty if tonight's.

        Whether a figure has changed since is not said: that would tell of a small change.
        """
        days = {str(self.now[one].get("day", "")) for one in names if one in self.now}
        older = days - {self._day, ""}
        return words.day(date.fromisoformat(min(older))) if older else ""

    def notes(self, *names: str) -> tuple[str, ...]:
        """Return the note of a figure that shows these: as of when, where that is not tonight."""
        found = words.as_of(self.as_of(*names))
        return (f"Its oldest part: {found[0].lower()}{found[1:]}",) if found else ()

    def count(self, name: str, count: int) -> int:
        """Return a count that stands alone as it may be told; a small one is told as a bound."""
        last = self._last.get(name)
        if last is not None:
            told: int = last["shown"]
            # Of one that was small then no more was told, so that none of its changes can be seen.
            is_vague = is_small(told, last["threshold"]) or (
                not told and is_small(count, self._threshold)
            )
            if not is_vague and is_small(abs(count - told), self._threshold):
                return told
        self._keep(name, count, {})
        return count

    def _may_follow(self, now: Mapping[str, int], last: Row) -> bool:
        """Whether every count has changed by nothing or by enough, and one of them has."""
        before: Mapping[str, int] = last["counts"]
        gone_before: Mapping[str, int] = last.get("gone", {})
        steps = [count - gone_before[name] for name, count in now.items() if name in gone_before]
        if any(is_small(abs(one), self._threshold) for one in steps):
            return False
        changes = [count - before[name] for name, count in now.items() if name in before]
        # Beside figures that moved alone it was known more than once since the group moved.
        older: Mapping[str, list[int]] = last.get("was", {})
        steps = [now[name] - one for name, was in older.items() if name in now for one in was]
        if any(is_small(abs(one), self._threshold) for one in steps):
            return False
        gone = [count for name, count in before.items() if name not in now]
        if any(is_small(abs(one), self._threshold) for one in [*changes, *gone]):
            return False
        # Other values of the same counts: those of other patients, or corrected ones.
        return any(changes) or any(gone) or set(now) != set(before)

    def _keep(
        self, name: str, shown: object, counts: Mapping[str, int], day: str | None = None
    ) -> None:
        if not self._is_held:
            return
        last = self._last.get(name, {})
        # Counts that are not told any more are known all the same.
        known = {**last.get("gone", {}), **last.get("counts", {})}
        gone = {one: count for one, count in known.items() if one not in counts}
        self.now[name] = {
            "threshold": self._threshold,
            "counts": dict(counts),
            "shown": shown,
            "day": self._day if day is None else day,
            **({"gone": gone} if gone else {}),
        }
