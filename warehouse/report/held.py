"""Figures of the page that stay until what has changed may be told.

Risks have the rule of the packs. What else the page tells of counts is held here: a group of
numbers is told anew when each of its counts has changed by 0 or at least the threshold, and else
stays as it was last told, whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warehouse.report.masking import is_small

Row = dict[str, Any]


class Held:
    """What a page told last, and tells now.

    Args:
        threshold: smallest count that is shown.
        last: what was told, by name; None where no site's pages are compared: nothing stays.
    """

    def __init__(self, threshold: int, last: Mapping[str, Row] | None) -> None:
        self._threshold = threshold
        self._last = last or {}
        self._is_held = last is not None
        # What is not on tonight's page was told all the same.
        self.now: dict[str, Row] = dict(self._last)

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
            return found
        if may_move and (last is None or self._may_follow(counts, last["counts"])):
            self._keep(name, found, counts)
            return found
        if last is None or last["threshold"] < self._threshold:
            return []  # never told; or told when less was small
        return list(last["shown"])

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

    def _may_follow(self, now: Mapping[str, int], before: Mapping[str, int]) -> bool:
        """Whether every count has changed by nothing or by enough, and one of them has."""
        changes = [count - before[name] for name, count in now.items() if name in before]
        gone = [count for name, count in before.items() if name not in now]
        if any(is_small(abs(one), self._threshold) for one in [*changes, *gone]):
            return False
        # Other values of the same counts: those of other patients, or corrected ones.
        return any(changes) or any(gone) or set(now) != set(before)

    def _keep(self, name: str, shown: object, counts: Mapping[str, int]) -> None:
        if self._is_held:
            self.now[name] = {
                "threshold": self._threshold,
                "counts": dict(counts),
                "shown": shown,
            }
