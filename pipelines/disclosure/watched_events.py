"""What is said of a number of events that surveillance watches: the number, a range, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.disclosure.rule import has_small, is_small

#: Events, or the least and the most that they can be; what is not said is None.
Said = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Events:
    """What the events of a pair stand beside: whoever has the packs so far knows all of it.

    Attributes:
        units: that are watched, now.
        last: events that were told last; None if none were.
        above: events of told rows of counts that hold these, as they are now.
        sides: units and events of these rows, as they are told and as they are now.
        nested: events that are told of pairs of which one holds the other.
        steps: numbers at which what lies beside them would not have changed since it was known. One
            near to them says that it has changed by little.
        has_range: whether the range around a number is said that would give away something else.
        threshold: smallest count that may be told.
    """

    units: int
    last: int | None
    above: tuple[int, ...]
    sides: frozenset[tuple[int, int]]
    nested: tuple[int, ...]
    steps: frozenset[int]
    has_range: bool
    threshold: int

    def said(self, events: int) -> Said:
        """Return what is said where there are so many events."""
        few, hidden = self._unsaid(events)
        if 0 < len(hidden) < self._half:
            # Too few to hide among: then it is not said either that a number is none of the few.
            few, hidden = few | hidden, set()
            low, high = min(few), max(few)
        else:
            low, high = self._few(events)
        if events in few:
            return None, low, min(self.units, high)
        return self._run(events, hidden) if events in hidden else (events, events, events)

    @property
    def _half(self) -> int:
        """How many numbers must be left for what is not told."""
        return math.ceil(self.threshold / 2)

    def _few(self, events: int) -> tuple[int, int]:
        """Return the range of events that have risen, or fallen, by little since they were told.

        Half the threshold of numbers must be left. There are no more events than among all units,
        and where that leaves fewer above the last figure, it is not told on which side they are.
        """
        most, last = self.threshold - 1, self.last or 0
        room = min([self.units - last, *(e - last for e in self.above if e > last)])
        if room < self._half:
            return max(0, last - most), last + most
        return (last + 1, last + most) if events > last else (max(0, last - most), last - 1)

    def _run(self, events: int, hidden: set[int]) -> Said:
        """Return the range of unsaid numbers around one, if all that are in none are enough, too.

        Who knows the rule asks of each number what is said of it: he learns no more from the range.
        """
        if not self.has_range:
            return None, None, None
        runs: list[list[int]] = []
        for one in sorted(hidden):
            if runs and runs[-1][-1] == one - 1:
                runs[-1].append(one)
            else:
                runs.append([one])
        n_alone = sum(len(run) for run in runs if len(run) < self._half)
        [mine] = (run for run in runs if events in run)
        if len(mine) < self._half or 0 < n_alone < self._half:
            return None, None, None
        return None, mine[0], mine[-1]

    def _unsaid(self, events: int) -> tuple[set[int], set[int]]:
        """Return the numbers of events that are few, and those that would give away something else.

        Who knows the rule knows that one of the latter it is. So where these are fewer than half
        the threshold, the nearest of the numbers that might be told are hidden, too.
        """
        # No more events than among all units: only what lies on one side of that may be confused.
        most = min(self.above, default=self.units)
        every = {e for e in range(self.units + 1) if (e <= most) == (events <= most)}
        few = {e for e in every if is_small(e - (self.last or 0), self.threshold)}
        hidden = {e for e in every - few if self._tells(e)}
        if not hidden:
            return few, hidden
        free = sorted(every - few - hidden, key=lambda e: (min(abs(e - h) for h in hidden), e))
        return few, hidden | set(free[: max(0, self._half - len(hidden))])

    def _tells(self, events: int) -> bool:
        """Whether a number gives away something small beside what is told, now or before."""
        counts = [events, self.units - events]
        counts += [events - one for one in (*self.nested, *self.steps)]
        for n, e in self.sides:
            counts += [e - events, n - events, self.units - e]
        return has_small(counts, self.threshold)
