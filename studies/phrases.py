"""Lists and lengths of time as people say them."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[str], word: str = "and") -> str:
    """Return names as a list in a sentence: `a, b and c`."""
    told = list(names)
    if len(told) < 2:
        return "".join(told)
    return f"{', '.join(told[:-1])} {word} {told[-1]}"


def hours(amount: float) -> str:
    """Return hours as people say them: minutes below one, whole days from four on."""
    if 0 < amount < 1:
        return f"{amount * 60:g} min"
    return days(amount / 24) if amount >= 96 and amount % 24 == 0 else f"{amount:g} h"


def days(amount: float) -> str:
    """Return days with their noun."""
    return f"{amount:g} {'day' if amount == 1 else 'days'}"
