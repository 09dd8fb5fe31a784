"""What is known of two tables together: numbers at the instants at which both were true.

Of 40 events 25 were first ones; a month later of 55 there are 38. Each has risen by enough to be
told, and yet it is told that two more were later ones. So a group of numbers that moves is held
against all that it hangs together with: what lies between has changed by nothing or by enough since
it could be known last. `Known` keeps, by label, what could be known and no longer follows from what
was told last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.disclosure.release import ALL, Column, Label, Release, StudyCounts
from pipelines.disclosure.rule import Row, has_small, is_now

#: A row of `signals.counts`: column, stratum, value.
Beside = tuple[Column, str, str]


@dataclass(frozen=True)
class Told:
    """What the rule knows: counts as they are, what is told of them, and what was told before."""

    counts: StudyCounts
    release: Release
    last: Release
    threshold: int

    def row(self, column: Column, stratum: str = ALL, value: str = ALL) -> Row | None:
        """Return a row that is told and is what it is now; else None."""
        told, now = self.release.row(column, stratum, value), self.now(column, stratum, value)
        return now if told is not None and is_now(told, now) else None

    def now(self, column: Column, stratum: str = ALL, value: str = ALL) -> Row | None:
        """Return a row as it is now, told or not; None where there is none."""
        if stratum == ALL:
            return self.counts.whole.get(column)
        return self.counts.strata.get(stratum, {}).get(column, {}).get(value)

    def part(self, beside: Beside, name: str) -> int | None:
        """Return a count of a row that is told and is what it is now, whatever the others are."""
        told, now = self.release.row(*beside), self.now(*beside)
        if told is None or now is None or told[name] != now[name]:
            return None
        return now[name]


class Known:
    """Numbers by label, each as often as it was another one while it could be known.

    Args:
        was: of the last night: labels of which more could be known than what was told last.
    """

    def __init__(self, was: Mapping[Label, Sequence[int]]) -> None:
        self._was = was
        #: The same of tonight.
        self.now: dict[Label, Sequence[int]] = {}

    def was(self, label: Label, told: int | None) -> Sequence[int]:
        """Return what was known by a label, of which `told` is what was told last."""
        return self._was.get(label, () if told is None else (told,))

    def keep(self, label: Label, values: Sequence[int], told: int | None) -> None:
        """Keep what is known by a label, of which `told` is told from now on."""
        if tuple(values) != (() if told is None else (told,)):
            self.now[label] = tuple(values)


def joined(values: Sequence[int], value: int) -> Sequence[int]:
    """Return what was known, and what is now."""
    return values if value in values else (*values, value)


def moves_by_little(value: int, known: Sequence[int], threshold: int) -> bool:
    """Whether a number has changed by little since one of the instants at which it was known."""
    return has_small((value - one for one in known), threshold)
